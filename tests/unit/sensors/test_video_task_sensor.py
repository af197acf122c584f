# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor: it waits for a job that another task or system submitted, and submits nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor
from tests.support.accounts import VENDORS, job
from tests.support.clock import NOW, Clock
from tests.support.task_instance import context
from tests.support.vendor_replies import LINK, STATUS, failed, finished, running, status_body, unknown

Connect = Callable[..., None]
UNAVAILABLE = {"exc": requests.ConnectTimeout}


def sensor(**fields: Any) -> VideoTaskSensor:
    return VideoTaskSensor(**{"task_id": "t", "job_id": "task_1", **fields})


def poke(vendor: str, reply: Any, task: dict[str, Any] | None = None, **fields: Any) -> Any:
    return with_reply(vendor, reply, lambda: sensor(**fields).poke(task or context()))


def with_reply(vendor: str, reply: dict[str, Any], act: Callable[[], Any]) -> Any:
    with requests_mock.Mocker() as web:
        web.get(STATUS[vendor], [reply if "exc" in reply or "status_code" in reply else {"json": reply}])
        result = act()
    assert {sent.method for sent in web.request_history} == {"GET"}
    return result


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_poke_returns_a_finished_job_with_the_generations_result(vendor: str, vidgen: Connect) -> None:
    vidgen(vendor)
    task = context()
    result = poke(vendor, finished(vendor), task)
    assert isinstance(result, PokeReturnValue)
    assert result.is_done
    assert result.xcom_value["task_id"] == "task_1"
    assert result.xcom_value["result_urls"] == [LINK]
    assert task["ti"].xcom["task_id"] == "task_1"
    assert task["ti"].xcom["result_urls"] == [LINK]
    assert task["ti"].xcom["video"]["state"] == "made"


@pytest.mark.parametrize(
    "reply",
    [
        running("apixo"),
        status_body("apixo", "no_such_state"),
        status_body("apixo", "success"),
        UNAVAILABLE,
        {"status_code": 404, "json": {}},
        unknown("apixo"),
        {"status_code": 200, "text": "<html>"},
    ],
)
def test_a_poke_of_an_unfinished_job_continues(reply: Any, vidgen: Connect) -> None:
    vidgen("apixo")
    assert poke("apixo", reply) is False


@pytest.mark.parametrize("code", ["CONTENT_VIOLATION", "GENERATION_FAILED"])
def test_a_failed_job_is_fatal_for_the_sensor(code: str, vidgen: Connect) -> None:
    """Another try would check the same job, which has ended."""
    vidgen("apixo")
    with pytest.raises(AirflowFailException, match="apixo job task_1"):
        poke("apixo", failed("apixo", "no", code))


def test_a_refused_api_key_fails_the_try_and_is_retryable(vidgen: Connect) -> None:
    vidgen("apixo")
    with pytest.raises(AirflowException, match="StatusRefused") as failure:
        poke("apixo", {"status_code": 401, "json": {}})
    assert not isinstance(failure.value, AirflowFailException)


@pytest.mark.parametrize("job_id", [None, "", "  ", 7])
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_without_a_job_id_is_fatal_and_sends_no_request(
    job_id: Any, deferrable: bool, vidgen: Connect
) -> None:
    vidgen("apixo")
    operator = sensor(job_id=job_id, deferrable=deferrable)
    act = operator.execute if deferrable else operator.poke
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="job_id"):
        act(context())
    assert web.request_history == []


def test_the_model_is_taken_from_the_task_the_connection_or_the_vendors_default(vidgen: Connect) -> None:
    url = "https://api.apixo.ai/api/v1/statusTask/{}?taskId=task_1"
    for argument, in_connection, expected in (
        ("other", "grok-video", "other"),
        (None, "mine", "mine"),
        (None, "", "grok-video"),
    ):
        vidgen("apixo", extra={"model": in_connection})
        with requests_mock.Mocker() as web:
            web.get(url.format(expected), json=running("apixo"))
            assert sensor(model=argument).poke(context()) is False


def test_a_deferrable_sensor_returns_at_once_for_a_finished_job(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    result = with_reply("apixo", finished("apixo"), lambda: sensor(deferrable=True).execute(task))
    assert result["result_urls"] == [LINK]
    assert task["ti"].xcom["task_id"] == "task_1"
    assert task["ti"].xcom["result_urls"] == [LINK]
    assert task["ti"].xcom["video"]["state"] == "made"


@pytest.mark.parametrize("reply", [running("apixo"), UNAVAILABLE])
def test_a_deferrable_sensor_defers_with_a_deadline_from_its_start(reply: Any, vidgen: Connect) -> None:
    vidgen("apixo")
    operator = sensor(deferrable=True, timeout=600, poll_interval=3)
    with pytest.raises(TaskDeferred) as deferred:
        with_reply("apixo", reply, lambda: operator.execute(context()))
    deferral = deferred.value
    assert deferral.method_name == "execute_complete"
    assert deferral.kwargs == {
        "job": job("apixo").to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=600)).isoformat(),
    }
    assert deferral.timeout > timedelta(seconds=600)  # type: ignore[operator]
    # Another task submitted the job: a sensor that is marked failed must not cancel it.
    assert deferral.trigger.cancel_on_kill is False


def resumed(vidgen: Connect, reply: Any, event: Any) -> Any:
    vidgen("apixo")
    kwargs = {
        "job": job("apixo").to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=600)).isoformat(),
    }
    operator = sensor(deferrable=True)
    return with_reply("apixo", reply, lambda: operator.execute_complete(context(), event=event, **kwargs))


def test_a_resumed_sensor_checks_the_job_and_returns_the_video(vidgen: Connect, clock: Clock) -> None:
    assert resumed(vidgen, finished("apixo"), None)["result_urls"] == [LINK]


def test_a_resumed_sensor_with_a_running_job_defers_again_whatever_the_event_reports(
    vidgen: Connect, clock: Clock
) -> None:
    with pytest.raises(TaskDeferred):
        resumed(vidgen, running("apixo"), {"v": 1, "reason": "ended", "task_id": "task_1"})


def test_a_resumed_sensor_times_out_at_its_deadline(vidgen: Connect, clock: Clock) -> None:
    clock.sleep(601)
    with pytest.raises(AirflowSensorTimeout, match="DeadlineExceeded"):
        resumed(vidgen, running("apixo"), None)


def test_a_resumed_sensor_reports_a_lost_job(vidgen: Connect, clock: Clock) -> None:
    event = {"v": 1, "reason": "job_lost", "task_id": "task_1"}
    with pytest.raises(AirflowFailException, match="JobLost"):
        resumed(vidgen, {"status_code": 404, "json": {"code": 404, "message": "not found"}}, event)


def test_a_blocking_sensor_runs_in_airflows_own_poke_loop(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    result = with_reply("apixo", finished("apixo"), lambda: sensor(deferrable=False).execute(task))
    assert result["result_urls"] == [LINK]


def test_the_fields_of_a_dag_author_are_templated() -> None:
    assert set(VideoTaskSensor.template_fields) >= {"job_id", "model", "vidgen_conn_id"}
