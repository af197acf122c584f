# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a task reports to the Videos tab, and that a report never disturbs the task."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    TaskDeferred,
)

from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor
from airflow_provider_vidgen.triggers.events import Reason, make_event
from airflow_provider_vidgen.video_status import VideoState, VideoStatus
from tests.support.accounts import PROMPT, VENDORS, job
from tests.support.clock import NOW, Clock
from tests.support.task_instance import context
from tests.support.vendor_replies import (
    AT_CAPACITY,
    CREATE,
    LINK,
    STATUS,
    create_body,
    failed,
    finished,
    running,
)

Connect = Callable[..., None]
FILE = {"path": "s3://b/v.mp4", "bytes": 7, "sha256": "0" * 64, "content_type": "video/mp4", "poster": None}


def generation(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, "deferrable": True, **fields})


def shown(task: dict[str, Any]) -> VideoStatus:
    """Return what the tab reads."""
    status = VideoStatus.from_json(json.loads(json.dumps(task["ti"].xcom["video"])))
    assert status is not None
    return status


def defer(vendor: str, task: dict[str, Any], **fields: Any) -> TaskDeferred:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        web.get(STATUS[vendor], json=running(vendor))
        with pytest.raises(TaskDeferred) as deferred:
            generation(**fields).execute(task)
    return deferred.value


def resume(vendor: str, task: dict[str, Any], deferral: TaskDeferred, reply: Any, **fields: Any) -> Any:
    assert deferral.kwargs is not None
    with requests_mock.Mocker() as web:
        web.get(STATUS[vendor], json=reply)
        return generation(**fields).execute_complete(
            task, make_event(Reason.ENDED, job(vendor)), **deferral.kwargs
        )


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_submitted_job_is_shown_with_its_request(vendor: str, vidgen: Connect) -> None:
    vidgen(vendor)
    task = context()
    defer(vendor, task)
    status = shown(task)
    assert (status.state, status.vendor, status.job_id) == (VideoState.RENDERING, vendor, "task_1")
    assert status.vendor_name
    assert status.console_url == ""  # none of the four documents one
    assert status.model == job(vendor).model
    assert status.prompt == PROMPT
    assert status.since == status.submitted_at == NOW.isoformat()


def test_the_estimated_cost_is_shown_before_the_video_is_there_and_after_a_failure(vidgen: Connect) -> None:
    vidgen("apimodels")
    task = context()
    estimate = {"amount": 0.08, "currency": "USD", "basis": "estimated", "as_of": "2026-11-20"}
    deferral = defer("apimodels", task)
    assert shown(task).cost == estimate
    with pytest.raises(AirflowException):
        resume("apimodels", task, deferral, failed("apimodels", "GPU lost"))
    assert shown(task).cost == estimate


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_finished_job_is_shown_with_its_result(vendor: str, vidgen: Connect) -> None:
    vidgen(vendor)
    task = context()
    result = resume(vendor, task, defer(vendor, task), finished(vendor))
    status = shown(task)
    assert (status.state, status.job_id) == (VideoState.MADE, "task_1")
    assert status.result_urls == tuple(result["result_urls"]) == (LINK,)
    assert status.expires_at == result["expires_at"]
    assert status.submitted_at == NOW.isoformat()
    assert status.files == ()


def test_a_landed_file_is_shown(vidgen: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    vidgen("apixo")
    monkeypatch.setattr(Landing, "land", lambda *_, **__: [dict(FILE)])
    task = context()
    resume("apixo", task, defer("apixo", task), finished("apixo"), output_path="file:///tmp/videos/")
    status = shown(task)
    assert status.state is VideoState.LANDED
    assert status.files == ({"path": "s3://b/v.mp4", "bytes": 7, "content_type": "video/mp4"},)


def test_a_failed_job_is_shown_with_the_money_and_the_next_step(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    deferral = defer("apixo", task)
    with pytest.raises(AirflowException):
        resume("apixo", task, deferral, failed("apixo", "too violent", "CONTENT_VIOLATION"))
    status = shown(task)
    assert (status.state, status.code, status.job_id) == (VideoState.FAILED, "CONTENT_VIOLATION", "task_1")
    assert status.error == "ContentRejected"
    assert "CONTENT_VIOLATION" in status.summary
    assert status.billing == "The vendor decides whether a failed job is billed."
    assert status.next_step
    assert status.since == NOW.isoformat()


def test_a_submission_of_unknown_outcome_is_shown_with_the_command_that_adopts(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], status_code=502)
        with pytest.raises(AirflowFailException):
            generation().execute(task)
    status = shown(task)
    assert (status.state, status.billing) == (VideoState.UNKNOWN, "Money may have been spent.")
    assert "airflow vidgen adopt d r t" in status.next_step
    assert status.vendor == "apixo"


def test_a_lost_job_is_shown_as_lost(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    deferral = defer("apixo", task)
    assert deferral.kwargs is not None
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], json={"code": 404, "message": "task not found", "data": None})
        with pytest.raises(AirflowException):
            generation().execute_complete(task, make_event(Reason.JOB_LOST, job("apixo")), **deferral.kwargs)
    assert shown(task).state is VideoState.LOST


def test_the_wait_for_capacity_is_shown_with_its_next_check(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context(map_index=12, states={f"t_{index}": "deferred" for index in range(60)})
    with pytest.raises(AirflowRescheduleException) as wait:
        generation().execute(task)
    status = shown(task)
    assert (status.state, status.ahead, status.limit) == (VideoState.WAITING, 3, 10)
    assert status.reason.startswith("Number 3 in line for capacity: 12 instances of this task come first")
    assert (status.since, status.next_check_at) == (NOW.isoformat(), wait.value.reschedule_date.isoformat())
    assert (status.prompt, status.vendor) == (PROMPT, "apixo")


def test_a_refusal_for_lack_of_capacity_is_shown_as_waiting(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        with pytest.raises(AirflowRescheduleException):
            generation().execute(task)
    status = shown(task)
    assert (status.state, status.ahead) == (VideoState.WAITING, None)
    assert "HTTP 429" in status.reason


@pytest.mark.parametrize("prompt", [None, 7, {"a": 1}, "x" * 9000])
def test_any_value_of_an_argument_can_be_shown(prompt: Any, vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with pytest.raises(AirflowException):
        generation(prompt=prompt, duration="soon").execute(task)
    status = shown(task)
    assert status.state is VideoState.FAILED
    assert len(status.prompt) <= 5000
    assert "duration" in status.summary


def test_a_report_that_fails_changes_nothing(vidgen: Connect, logged: Callable[[], str]) -> None:
    vidgen("apixo")
    task = context()
    push = task["ti"].xcom_push

    def fail_for_the_report(key: str, value: Any) -> None:
        if key == "video":
            raise RuntimeError(PROMPT)
        push(key, value)

    task["ti"].xcom_push = fail_for_the_report
    assert defer("apixo", task).trigger
    assert task["ti"].xcom["task_id"] == "task_1"
    log = logged()
    assert "cannot show that the video is rendering (RuntimeError); nothing else is affected" in log
    assert PROMPT not in log


@pytest.mark.parametrize(
    "video", [None, {"vendor": "apixo", "model": "m", "task_id": "j", "result_urls": [LINK]}]
)
def test_a_download_is_shown_as_landed(
    video: dict[str, Any] | None, vidgen: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vidgen("apixo")
    monkeypatch.setattr(Landing, "land", lambda *_, **__: [dict(FILE)])
    task = context()
    source = {"url": LINK} if video is None else {"video": video}
    operator = VideoDownloadOperator(task_id="t", output_path=tmp_path.as_uri() + "/", **source)
    assert operator.execute(task) == [FILE]
    status = shown(task)
    assert (status.state, status.job_id) == (VideoState.LANDED, "" if video is None else "j")
    assert status.files[0]["path"] == "s3://b/v.mp4"


def test_a_failed_download_is_shown(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with pytest.raises(AirflowException):
        VideoDownloadOperator(task_id="t", output_path="file:///tmp/", url=[]).execute(task)
    assert shown(task).summary.startswith("There is nothing to download")


def test_a_sensor_shows_the_job_it_waits_for(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], json=running("apixo"))
        with pytest.raises(TaskDeferred):
            VideoTaskSensor(task_id="t", job_id="task_1", deferrable=True).execute(task)
    assert (shown(task).state, shown(task).job_id) == (VideoState.RENDERING, "task_1")


def test_the_message_of_a_failure_is_logged_again_after_the_traceback(
    vidgen: Connect, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    operator = generation(duration=3)
    with pytest.raises(AirflowException) as failure:
        operator.execute(context())
    logged()
    for callbacks in (operator.on_failure_callback, operator.on_retry_callback):
        for callback in callbacks:
            callback({})  # type: ignore[arg-type]
        assert [line for line in str(failure.value).splitlines() if line.strip()[2:] not in logged()]


def test_the_callbacks_of_the_dag_are_kept(vidgen: Connect) -> None:
    def own(context: Any) -> None: ...

    vidgen("apixo")
    operator = generation(duration=3, on_failure_callback=own)
    with pytest.raises(AirflowException):
        operator.execute(context())
    assert operator.on_failure_callback[0] is own
    assert len(operator.on_failure_callback) == 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        [],
        {},
        {"v": 2, "state": "made"},
        {"v": 1},
        {"v": 1, "state": "dreaming"},
        {"v": 1, "state": []},
    ],
)
def test_a_value_that_is_no_status_is_ignored(value: Any) -> None:
    assert VideoStatus.from_json(value) is None


def test_fields_of_another_type_are_dropped() -> None:
    status = VideoStatus.from_json(
        {
            "v": 1,
            "state": "made",
            "prompt": ["x"],
            "files": [1],
            "result_urls": "x",
            "duration": True,
            "limit": 1.5,
            "cost": [],
            "since": 4,
            "other": 1,
        }
    )
    assert status == VideoStatus(state=VideoState.MADE, since="")


def test_a_status_survives_json() -> None:
    status = VideoStatus(
        state=VideoState.LANDED,
        since=NOW.isoformat(),
        ahead=0,
        duration=6.0,
        cost={"amount": 0.1, "currency": "USD", "basis": "reported"},
        result_urls=(LINK,),
        files=({"path": "s3://b/v.mp4"},),
        expires_at=(NOW + timedelta(hours=1)).isoformat(),
    )
    assert VideoStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
