# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One try of the generation operator, from the request to the result or to the deferral."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from fakes import (
    CREATE,
    LINK,
    MODEL,
    MP4,
    NOW,
    PROMPT,
    STATUS,
    VENDORS,
    Clock,
    context,
    created,
    failed,
    finished,
    job,
    running,
    status,
)

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger

Connect = Callable[..., None]
RESULT_KEYS = {
    "vendor",
    "model",
    "task_id",
    "state",
    "result_urls",
    "thumbnail_url",
    "duration_seconds",
    "created_at",
    "completed_at",
    "expires_at",
    "cost",
    "files",
}


def operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, **fields})


def posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_blocking_task_brings_the_result_the_design_promises(
    vendor: str, vidgen: Connect, clock: Clock
) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=created(vendor))
        web.get(STATUS[vendor], [{"json": running(vendor)}, {"json": finished(vendor)}])
        result = operator(deferrable=False).execute(task)
    assert set(result) == RESULT_KEYS
    assert json.loads(json.dumps(result)) == result
    assert (result["vendor"], result["model"], result["task_id"]) == (vendor, MODEL[vendor], "task_1")
    assert (result["state"], result["result_urls"], result["files"]) == ("succeeded", [LINK], [])
    assert result["expires_at"].endswith("+00:00")
    assert task["ti"].xcom["task_id"] == "task_1"
    assert task["ti"].xcom["result_urls"] == [LINK]
    assert task["ti"].xcom["progress"]["state"] == "succeeded"
    assert posts(web) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferrable_task_leaves_the_worker_for_the_trigger(vendor: str, vidgen: Connect) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=created(vendor))
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True, timeout=900, poll_interval=7).execute(task)
    left = deferred.value
    assert isinstance(left.trigger, VideoTaskTrigger)
    assert left.method_name == "resume"
    assert left.kwargs == {
        "job": job(vendor).to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=900)).isoformat(),
    }
    assert {name: getattr(left.trigger, name) for name in left.kwargs} == left.kwargs
    assert left.trigger.vidgen_conn_id == "vidgen_default"
    assert left.trigger.poll_interval == 7
    assert left.trigger.not_before == (NOW + timedelta(seconds=10)).isoformat()
    # Airflow's own end of the deferral comes later than ours, which keeps the job.
    assert isinstance(left.timeout, timedelta)
    assert left.timeout > timedelta(seconds=900)
    assert task["ti"].pushed == [("task_id", "task_1")]
    assert posts(web) == 1


def test_a_re_attached_task_whose_deadline_is_near_is_given_time_to_end(
    vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], json=running("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(task)
        clock.sleep(3600)
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True).execute(task)
    assert deferred.value.timeout > timedelta(minutes=9)
    assert deferred.value.kwargs["deadline"] == (NOW + timedelta(seconds=1800)).isoformat()


def test_a_retry_asks_about_the_job_and_does_not_defer_on_a_finished_one(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(task)
        result = operator(deferrable=True).execute({**context(), "task_state_store": task["task_state_store"]})
    assert result["result_urls"] == [LINK]
    assert posts(web) == 1


def test_a_retry_whose_vendor_is_down_waits_on_for_the_job(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], exc=requests.ConnectTimeout)
        for _ in range(2):
            with pytest.raises(TaskDeferred) as deferred:
                operator(deferrable=True).execute(task)
    assert deferred.value.kwargs["job"]["task_id"] == "task_1"
    assert posts(web) == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_synchronous_endpoint_returns_without_waiting(
    deferrable: bool, vidgen: Connect, clock: Clock
) -> None:
    vidgen("apimodels")
    task = context()
    with requests_mock.Mocker() as web:
        reply = {"code": 200, "data": {"state": "completed", "resultUrls": [LINK]}}
        web.post("https://apimodels.app/api/v1/video/p-video", json=reply)
        result = operator(model="p-video", deferrable=deferrable).execute(task)
        again = operator(model="p-video", deferrable=deferrable).execute(task)
    assert set(result) == RESULT_KEYS
    assert result["result_urls"] == again["result_urls"] == [LINK]
    assert posts(web) == 1
    assert clock.slept == []


def test_an_invalid_request_fails_for_good_with_all_its_problems_and_no_post(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator(prompt="", duration=99, aspect_ratio="wide", resolution="4k").execute(task)
    text = str(failure.value)
    assert all(field in text for field in ("prompt", "duration", "aspect_ratio", "resolution"))
    assert "Nothing was spent." in text
    assert web.request_history == []
    assert task["task_state_store"] == {}


def test_a_connection_that_cannot_be_used_fails_for_good_before_anything_is_sent(vidgen: Connect) -> None:
    vidgen("apixo", password="")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="password"):
        operator().execute(context())
    assert web.request_history == []


def test_doubts_are_logged_and_the_request_goes_out(vidgen: Connect, logged: Callable[[], str]) -> None:
    vidgen("apimodels")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimodels"], json=created("apimodels"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True, aspect_ratio="2:3").execute(context())
    assert "aspect_ratio" in logged()


@pytest.mark.parametrize(
    ("reply", "kind", "name"),
    [
        ({"status_code": 400, "json": {"code": 400}}, AirflowFailException, "SubmitRefused"),
        ({"status_code": 401, "json": {"code": 401}}, AirflowFailException, "BadCredentials"),
        ({"status_code": 402, "json": {"code": 402}}, AirflowFailException, "InsufficientFunds"),
        ({"status_code": 403, "json": {"code": 403}}, AirflowFailException, "PermissionDenied"),
        ({"exc": requests.ReadTimeout}, AirflowFailException, "SubmitOutcomeUnknown"),
        ({"status_code": 500}, AirflowFailException, "SubmitOutcomeUnknown"),
        ({"exc": requests.ConnectTimeout}, AirflowException, "NotSent"),
        ({"status_code": 429, "json": {"code": 429}}, AirflowException, "RateLimited"),
    ],
)
def test_each_failed_submission_ends_retries_or_does_not(
    reply: dict[str, Any], kind: type[Exception], name: str, vidgen: Connect
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], **reply)
        with pytest.raises(AirflowException) as failure:
            operator().execute(context())
    assert type(failure.value) is kind
    assert str(failure.value).startswith(name)


def test_an_unknown_submission_is_not_repeated_by_a_retry(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{"exc": requests.ReadTimeout}, {"json": created("apixo")}])
        for _ in range(3):
            with pytest.raises(AirflowFailException, match="Money may have been spent"):
                operator().execute(task)
    assert posts(web) == 1


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("unsafe", "CONTENT_VIOLATION", AirflowFailException),
        ("cannot fetch", "INVALID_IMAGE_URL", AirflowFailException),
        ("Insufficient credits", "", AirflowFailException),
        ("internal error", "GENERATION_FAILED", AirflowException),
        ("no capacity", "MODEL_UNAVAILABLE", AirflowException),
    ],
)
def test_a_job_that_failed_ends_retries_only_if_the_same_request_would_fail_again(
    words: str, code: str, kind: type[Exception], deferrable: bool, vidgen: Connect
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], json=failed("apixo", words, code))
        with pytest.raises(AirflowException) as failure:
            if deferrable:
                with pytest.raises(TaskDeferred):
                    operator(deferrable=True).execute(task)
            operator(deferrable=deferrable).execute(task)
    assert type(failure.value) is kind
    assert "apixo job task_1" in str(failure.value)
    assert words in str(failure.value)
    assert json.loads(task["task_state_store"]["vidgen"])["phase"] == "failed"


def test_the_try_after_a_failed_job_submits_afresh_and_says_so(
    vidgen: Connect, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], [{"json": failed("apixo", "oops")}, {"json": finished("apixo")}])
        with pytest.raises(AirflowException, match="may cost again"):
            operator(deferrable=False).execute(task)
        assert operator(deferrable=False).execute(task)["state"] == "succeeded"
    assert posts(web) == 2
    assert "a video; a new one may cost again" in logged()


def test_a_lost_job_is_reported_again_by_a_retry_and_not_paid_twice(vidgen: Connect) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=created("apixgo"))
        web.get(STATUS["apixgo"], status_code=404, json={})
        for _ in range(2):
            with pytest.raises(AirflowFailException, match="JobLost"):
                operator(deferrable=False).execute(task)
    assert posts(web) == 1


def test_the_deadline_leaves_the_job_attached(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=created("apixgo"))
        web.get(STATUS["apixgo"], json=running("apixgo"))
        with pytest.raises(AirflowException, match="DeadlineExceeded") as failure:
            operator(deferrable=False, timeout=60).execute(task)
        assert not isinstance(failure.value, AirflowFailException)
        web.get(STATUS["apixgo"], json=finished("apixgo"))
        assert operator(deferrable=False, timeout=60).execute(task)["task_id"] == "task_1"
    assert posts(web) == 1


def test_success_without_a_link_is_waited_on_and_then_reported_as_paid(vidgen: Connect) -> None:
    vidgen("apixgo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=created("apixgo"))
        web.get(STATUS["apixgo"], json=status("apixgo", "SUCCESS", result_url=""))
        with pytest.raises(AirflowFailException, match="The video was paid for"):
            operator(deferrable=False).execute(context())


def test_an_unreadable_record_submits_nothing_and_a_retry_may_help(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()

    def broken(*_: Any) -> Any:
        raise ConnectionError("no API server")

    task["task_state_store"].get = broken
    with requests_mock.Mocker() as web, pytest.raises(AirflowException, match="LedgerUnreadable") as failure:
        operator().execute(task)
    assert not isinstance(failure.value, AirflowFailException)
    assert web.request_history == []


def test_an_occupied_output_path_is_found_before_anything_is_paid(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo")
    taken = tmp_path / "v.mp4"
    taken.write_bytes(MP4)
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator(output_path=f"file://{taken}").execute(context())
    assert "Nothing was spent." in str(failure.value)
    assert "v.mp4" in str(failure.value)
    assert web.request_history == []


def test_an_output_path_of_no_known_storage_is_found_before_anything_is_paid(vidgen: Connect) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="output_path"):
        operator(output_path="nostorage://bucket/{task_id}.mp4").execute(context())
    assert web.request_history == []


def test_the_file_lands_in_the_same_task(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        result = operator(deferrable=False, output_path=f"file://{tmp_path}/").execute(context())
    (file,) = result["files"]
    assert set(file) == {"path", "bytes", "sha256", "content_type", "task_id"}
    assert (tmp_path / "task_1-0.mp4").read_bytes() == MP4
    assert file["task_id"] == "task_1"


def test_a_download_that_fails_leaves_the_job_attached(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    task = context()
    landing = operator(deferrable=False, output_path=f"file://{tmp_path}/v.mp4")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, status_code=500)
        with pytest.raises(AirflowException, match="DownloadFailed") as failure:
            landing.execute(task)
        assert "apixo job task_1" in str(failure.value)
        assert list(tmp_path.iterdir()) == []
        web.get(LINK, content=MP4)
        assert landing.execute(task)["files"][0]["bytes"] == len(MP4)
    assert posts(web) == 1


def test_the_synchronous_endpoints_dead_link_is_not_refreshed_from_a_job_that_has_no_id(
    vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apimodels", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        reply = {"code": 200, "data": {"state": "completed", "resultUrls": [LINK]}}
        web.post("https://apimodels.app/api/v1/video/p-video", json=reply)
        web.get(LINK, status_code=403)
        with pytest.raises(AirflowFailException, match="ResultExpired"):
            operator(model="p-video", output_path=f"file://{tmp_path}/").execute(context())
    assert all("p-video" in sent.url or sent.url == LINK for sent in web.request_history)


def test_a_callback_needs_a_place_to_call(vidgen: Connect) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="callback_base_url"):
        operator(use_callback=True).execute(context())
    assert web.request_history == []


def test_a_callback_is_asked_for_at_the_place_of_the_connection(vidgen: Connect) -> None:
    vidgen("apixo", extra={"callback_base_url": "https://airflow.example.com/vidgen"})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        with pytest.raises(TaskDeferred):
            operator(use_callback=True, deferrable=True).execute(context())
    body = web.request_history[0].json()
    assert body["request_type"] == "callback"
    assert body["callback_url"].startswith("https://airflow.example.com/vidgen")


def test_a_vendor_without_callbacks_refuses_to_be_asked_for_one(vidgen: Connect) -> None:
    vidgen("apixgo", extra={"callback_base_url": "https://airflow.example.com/vidgen"})
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="callback"):
        operator(use_callback=True).execute(context())
    assert web.request_history == []


def test_a_kill_says_that_the_job_goes_on(logged: Callable[[], str]) -> None:
    operator().on_kill()
    assert "goes on at the vendor" in logged()
