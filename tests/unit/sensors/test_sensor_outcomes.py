# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Sensors that end without a video: the same errors in each mode, none of which promises a submission."""

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
Run = Callable[..., Any]
NOT_FOUND = {"status_code": 404, "json": {"code": 404, "message": "Task not found"}}
UNAVAILABLE = {"exc": requests.ConnectTimeout}
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


def with_reply(reply: Any, act: Callable[[], Any]) -> Any:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [reply if "exc" in reply or "status_code" in reply else {"json": reply}])
        return act()


def poke(reply: Any, task: Any = None, **fields: Any) -> Any:
    return with_reply(reply, lambda: sensor(deferrable=False, **fields).execute(task or context()))


def defer(reply: Any, task: Any = None, **fields: Any) -> Any:
    return with_reply(reply, lambda: sensor(deferrable=True, **fields).execute(task or context()))


def resume(reply: Any, task: Any = None, *, event: Any = None, **fields: Any) -> Any:
    """Resume as Airflow's task runner does."""
    kwargs = {
        "event": event,
        "job": job("apixo").to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=600)).isoformat(),
    }
    operator = sensor(deferrable=True, **fields)
    return with_reply(reply, lambda: operator.resume_execution("execute_complete", kwargs, task or context()))


EACH_MODE = pytest.mark.parametrize("run", [poke, defer, resume])


@pytest.fixture(autouse=True)
def _connected(vidgen: Connect) -> None:
    vidgen("apixo")


@EACH_MODE
@pytest.mark.parametrize("reply", FATAL.values(), ids=FATAL)
def test_a_job_that_ended_without_a_video_fails_or_skips_the_sensor(run: Run, reply: Any) -> None:
    with pytest.raises(AirflowFailException):
        run(reply)
    for skip_option in ("soft_fail", "never_fail"):
        with pytest.raises(AirflowSkipException):
            run(reply, **{skip_option: True})


@EACH_MODE
def test_an_invalid_connection_fails_or_skips_the_sensor(run: Run, vidgen: Connect) -> None:
    vidgen("apixo", password="")
    with pytest.raises(AirflowFailException, match="InvalidConnection"):
        run(running("apixo"))
    with pytest.raises(AirflowSkipException):
        run(running("apixo"), soft_fail=True)


@EACH_MODE
def test_an_execution_timeout_fails_or_skips_the_sensor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*_: Any) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(VideoGenHook, "get_status", time_out)
    with pytest.raises(AirflowTaskTimeout):
        run(running("apixo"))
    for skip_option in ("soft_fail", "never_fail"):
        with pytest.raises(AirflowSkipException):
            run(running("apixo"), **{skip_option: True})


@pytest.mark.parametrize(
    "reply", [running("apixo"), NOT_FOUND, UNAVAILABLE], ids=["running", "unknown", "down"]
)
def test_a_deferred_sensor_times_out_as_other_sensors_do(reply: Any, clock: Clock) -> None:
    clock.sleep(601)
    with pytest.raises(AirflowSensorTimeout, match=r"task_1.*clear it to wait for the same job again"):
        resume(reply)
    with pytest.raises(AirflowSkipException):
        resume(reply, soft_fail=True)


def test_the_reason_for_a_skip_is_logged(logged: Callable[[], str]) -> None:
    for run in (poke, defer, resume):
        with pytest.raises(AirflowSkipException):
            run(FATAL["content"], soft_fail=True)
        assert "ContentRejected" in logged()


def test_the_generation_operators_deadline_stays_retryable(clock: Clock) -> None:
    operator = VideoGenerationOperator(task_id="t", prompt="a red panda")
    clock.sleep(601)
    kwargs = {"submitted_at": NOW.isoformat(), "deadline": (NOW + timedelta(seconds=600)).isoformat()}
    with pytest.raises(AirflowException, match="DeadlineExceeded") as failure:
        with_reply(
            running("apixo"),
            lambda: operator.execute_complete(context(), event=None, job=job("apixo").to_dict(), **kwargs),
        )
    assert type(failure.value) is AirflowException


# --- a job that the vendor does not know ----------------------------------------------------------------


def pokes(task: Any, clock: Clock, *, seconds: float, same_process: bool, replies: Any) -> int:
    """Poke until the sensor fails, and return how often that was."""
    operator = sensor(deferrable=False)
    for number, reply in enumerate(replies, start=1):
        if not same_process:
            operator = sensor(deferrable=False)
        try:
            with_reply(reply, lambda: operator.poke(task))  # noqa: B023
        except AirflowFailException as error:
            return number if "JobLost" in str(error) else -number
        clock.sleep(seconds)
    return 0


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize(("seconds", "checks"), [(1, 61), (25, 4), (60, 3), (3600, 3)])
def test_an_unknown_job_is_lost_after_three_replies_and_a_minute(
    same_process: bool, seconds: float, checks: int, clock: Clock
) -> None:
    not_found = [NOT_FOUND] * 500
    assert pokes(context(), clock, seconds=seconds, same_process=same_process, replies=not_found) == checks


def test_a_lost_job_skips_a_sensor_with_soft_fail(clock: Clock) -> None:
    task = context()
    assert pokes(task, clock, seconds=60, same_process=False, replies=[NOT_FOUND] * 2) == 0
    with pytest.raises(AirflowSkipException):
        poke(NOT_FOUND, task, soft_fail=True)


def test_a_job_that_is_found_in_between_is_not_lost(clock: Clock) -> None:
    replies = [NOT_FOUND, NOT_FOUND, running("apixo")] * 20
    assert pokes(context(), clock, seconds=60, same_process=False, replies=replies) == 0


def test_an_unavailable_vendor_does_not_reset_the_count_of_unknown_replies(clock: Clock) -> None:
    replies = [NOT_FOUND, UNAVAILABLE, NOT_FOUND, UNAVAILABLE, NOT_FOUND, NOT_FOUND]
    assert pokes(context(), clock, seconds=60, same_process=False, replies=replies) == 5


def test_another_try_restarts_the_count_of_unknown_replies(clock: Clock) -> None:
    task = context()
    assert pokes(task, clock, seconds=60, same_process=False, replies=[NOT_FOUND] * 2) == 0
    task["ti"].try_number = 2
    assert pokes(task, clock, seconds=60, same_process=False, replies=[NOT_FOUND] * 5) == 3


def test_without_a_state_store_an_unknown_job_is_never_lost(clock: Clock) -> None:
    class UnreachableStore(FakeStateStore):
        def get(self, key: str, default: Any = None) -> Any:
            raise ConnectionError

    for store in ({}, {"task_state_store": UnreachableStore()}):
        task = {"ti": context()["ti"], **store}
        assert (
            pokes(task, clock, seconds=60, same_process=False, replies=[NOT_FOUND, running("apixo")] * 9) == 0
        )


# --- error messages -------------------------------------------------------------------------------------


@EACH_MODE
@pytest.mark.parametrize("reply", FATAL.values(), ids=FATAL)
def test_no_error_of_the_sensor_promises_a_submission(run: Run, reply: Any) -> None:
    with pytest.raises(AirflowFailException) as failure:
        run(reply)
    message = str(failure.value)
    assert "This sensor submits nothing" in message
    for promise in ("retry submits", "Clear the task to submit", "then clear the task", "next clear"):
        assert promise not in message


def test_the_error_about_a_lost_job_promises_no_submission(clock: Clock) -> None:
    task = context()
    pokes(task, clock, seconds=60, same_process=True, replies=[NOT_FOUND] * 2)
    event = {"v": 1, "reason": "job_lost", "task_id": "task_1"}
    for report_lost_job in (lambda: poke(NOT_FOUND, task), lambda: resume(NOT_FOUND, event=event)):
        with pytest.raises(AirflowFailException, match=r"JobLost.*This sensor submits nothing") as failure:
            report_lost_job()
        assert "new, paid job" not in str(failure.value)
