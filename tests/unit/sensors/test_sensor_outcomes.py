# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""How a sensor ends without a video: alike whether it pokes or is deferred, and in words of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor
from tests.support.accounts import job
from tests.support.clock import NOW, Clock
from tests.support.state_store import FakeStateStore
from tests.support.task_instance import context
from tests.support.vendor_replies import STATUS, failed, running, status_body

Connect = Callable[..., None]
Way = Callable[..., Any]
UNKNOWN = {"status_code": 404, "json": {"code": 404, "message": "Task not found"}}
DOWN = {"exc": requests.ConnectTimeout}
#: Each is fatal for a sensor that pokes.
FATAL = {
    "content": failed("apixo", "no", "CONTENT_VIOLATION"),
    "failed": failed("apixo", "no", "GENERATION_FAILED"),
    "input": failed("apixo", "no", "INVALID_PARAMETER"),
    "funds": failed("apixo", "insufficient credit", "NO_FUNDS"),
    "cancelled": status_body("apixo", "cancelled"),
}


def sensor(**fields: Any) -> VideoTaskSensor:
    return VideoTaskSensor(**{"task_id": "t", "job_id": "task_1", **fields})


def answered(reply: Any, act: Callable[[], Any]) -> Any:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [reply if "exc" in reply or "status_code" in reply else {"json": reply}])
        return act()


def poke(reply: Any, task: Any = None, **fields: Any) -> Any:
    return answered(reply, lambda: sensor(deferrable=False, **fields).execute(task or context()))


def defer(reply: Any, task: Any = None, **fields: Any) -> Any:
    return answered(reply, lambda: sensor(deferrable=True, **fields).execute(task or context()))


def resume(reply: Any, task: Any = None, *, event: Any = None, **fields: Any) -> Any:
    """As Airflow's task runner does."""
    kwargs = {
        "event": event,
        "job": job("apixo").to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=600)).isoformat(),
    }
    waiting = sensor(deferrable=True, **fields)
    return answered(reply, lambda: waiting.resume_execution("execute_complete", kwargs, task or context()))


WAYS = pytest.mark.parametrize("way", [poke, defer, resume])


@pytest.fixture(autouse=True)
def _connected(vidgen: Connect) -> None:
    vidgen("apixo")


@WAYS
@pytest.mark.parametrize("reply", FATAL.values(), ids=FATAL)
def test_a_job_that_ended_without_a_video_fails_or_skips_the_sensor(way: Way, reply: Any) -> None:
    with pytest.raises(AirflowFailException):
        way(reply)
    for skips in ("soft_fail", "never_fail"):
        with pytest.raises(AirflowSkipException):
            way(reply, **{skips: True})


@WAYS
def test_an_invalid_connection_fails_or_skips_the_sensor(way: Way, vidgen: Connect) -> None:
    vidgen("apixo", password="")
    with pytest.raises(AirflowFailException, match="InvalidConnection"):
        way(running("apixo"))
    with pytest.raises(AirflowSkipException):
        way(running("apixo"), soft_fail=True)


@WAYS
def test_an_execution_timeout_fails_or_skips_the_sensor(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(VideoGenHook, "get_status", slow)
    with pytest.raises(AirflowTaskTimeout):
        way(running("apixo"))
    for skips in ("soft_fail", "never_fail"):
        with pytest.raises(AirflowSkipException):
            way(running("apixo"), **{skips: True})


@pytest.mark.parametrize("reply", [running("apixo"), UNKNOWN, DOWN], ids=["running", "unknown", "down"])
def test_a_deferred_sensor_times_out_as_other_sensors_do(reply: Any, clock: Clock) -> None:
    clock.sleep(601)
    with pytest.raises(AirflowSensorTimeout, match=r"task_1.*clear it to wait for the same job again"):
        resume(reply)
    with pytest.raises(AirflowSkipException):
        resume(reply, soft_fail=True)


def test_the_reason_for_a_skip_is_logged(logged: Callable[[], str]) -> None:
    for way in (poke, defer, resume):
        with pytest.raises(AirflowSkipException):
            way(FATAL["content"], soft_fail=True)
        assert "ContentRejected" in logged()


def test_the_generation_operators_deadline_stays_retryable(clock: Clock) -> None:
    operator = VideoGenerationOperator(task_id="t", prompt="a red panda")
    clock.sleep(601)
    kwargs = {"submitted_at": NOW.isoformat(), "deadline": (NOW + timedelta(seconds=600)).isoformat()}
    with pytest.raises(AirflowException, match="DeadlineExceeded") as failure:
        answered(
            running("apixo"),
            lambda: operator.execute_complete(context(), event=None, job=job("apixo").to_dict(), **kwargs),
        )
    assert type(failure.value) is AirflowException


# --- a job that the vendor does not know ----------------------------------------------------------------


def pokes(task: Any, clock: Clock, *, seconds: float, same_process: bool, replies: Any) -> int:
    """Poke until the sensor fails, and return how often that was."""
    waiting = sensor(deferrable=False)
    for number, reply in enumerate(replies, start=1):
        if not same_process:
            waiting = sensor(deferrable=False)
        try:
            answered(reply, lambda: waiting.poke(task))  # noqa: B023
        except AirflowFailException as error:
            return number if "JobLost" in str(error) else -number
        clock.sleep(seconds)
    return 0


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize(("seconds", "asked"), [(1, 61), (25, 4), (60, 3), (3600, 3)])
def test_an_unknown_job_is_lost_after_three_replies_and_a_minute(
    same_process: bool, seconds: float, asked: int, clock: Clock
) -> None:
    many = [UNKNOWN] * 500
    assert pokes(context(), clock, seconds=seconds, same_process=same_process, replies=many) == asked


def test_a_lost_job_skips_a_sensor_with_soft_fail(clock: Clock) -> None:
    task = context()
    assert pokes(task, clock, seconds=60, same_process=False, replies=[UNKNOWN] * 2) == 0
    with pytest.raises(AirflowSkipException):
        poke(UNKNOWN, task, soft_fail=True)


def test_a_job_that_is_found_in_between_is_not_lost(clock: Clock) -> None:
    replies = [UNKNOWN, UNKNOWN, running("apixo")] * 20
    assert pokes(context(), clock, seconds=60, same_process=False, replies=replies) == 0


def test_an_unavailable_vendor_does_not_reset_the_count_of_unknown_replies(clock: Clock) -> None:
    replies = [UNKNOWN, DOWN, UNKNOWN, DOWN, UNKNOWN, UNKNOWN]
    assert pokes(context(), clock, seconds=60, same_process=False, replies=replies) == 5


def test_another_try_restarts_the_count_of_unknown_replies(clock: Clock) -> None:
    task = context()
    assert pokes(task, clock, seconds=60, same_process=False, replies=[UNKNOWN] * 2) == 0
    task["ti"].try_number = 2
    assert pokes(task, clock, seconds=60, same_process=False, replies=[UNKNOWN] * 5) == 3


def test_without_a_state_store_an_unknown_job_is_never_lost(clock: Clock) -> None:
    class Broken(FakeStateStore):
        def get(self, key: str, default: Any = None) -> Any:
            raise ConnectionError

    for store in ({}, {"task_state_store": Broken()}):
        task = {"ti": context()["ti"], **store}
        assert (
            pokes(task, clock, seconds=60, same_process=False, replies=[UNKNOWN, running("apixo")] * 9) == 0
        )


# --- what it says ---------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("reply", FATAL.values(), ids=FATAL)
def test_no_error_of_the_sensor_promises_a_submission(way: Way, reply: Any) -> None:
    with pytest.raises(AirflowFailException) as failure:
        way(reply)
    said = str(failure.value)
    assert "This sensor submits nothing" in said
    for promise in ("retry submits", "Clear the task to submit", "then clear the task", "next clear"):
        assert promise not in said


def test_the_error_about_a_lost_job_promises_no_submission(clock: Clock) -> None:
    task = context()
    pokes(task, clock, seconds=60, same_process=True, replies=[UNKNOWN] * 2)
    event = {"v": 1, "reason": "job_lost", "task_id": "task_1"}
    for lost in (lambda: poke(UNKNOWN, task), lambda: resume(UNKNOWN, event=event)):
        with pytest.raises(AirflowFailException, match=r"JobLost.*This sensor submits nothing") as failure:
            lost()
        assert "new, paid job" not in str(failure.value)
