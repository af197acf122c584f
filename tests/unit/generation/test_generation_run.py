# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One try of the generation operator, from the request to the result or to the deferral."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_vidgen import submission
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from airflow_provider_vidgen.vendors import get_vendor
from tests.support.accounts import MODEL, PROMPT, VENDORS, job
from tests.support.clock import NOW, Clock
from tests.support.task_instance import RESULT_KEYS, context
from tests.support.vendor_replies import CREATE, LINK, STATUS, create_body, finished, running

Connect = Callable[..., None]


def operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, **fields})


def posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_blocking_task_returns_the_documented_result(vendor: str, vidgen: Connect, clock: Clock) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        web.get(STATUS[vendor], [{"json": running(vendor)}, {"json": finished(vendor)}])
        result = operator(deferrable=False).execute(task)
    assert set(result) == set(RESULT_KEYS)
    assert json.loads(json.dumps(result)) == result
    assert (result["vendor"], result["model"], result["task_id"]) == (vendor, MODEL[vendor], "task_1")
    assert (result["state"], result["result_urls"], result["files"]) == ("succeeded", [LINK], [])
    assert result["expires_at"].endswith("+00:00")
    assert task["ti"].xcom["task_id"] == "task_1"
    assert task["ti"].xcom["result_urls"] == [LINK]
    assert task["ti"].xcom["progress"]["state"] == "succeeded"
    assert posts(web) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferrable_task_defers_to_the_trigger(vendor: str, vidgen: Connect) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True, timeout=900, poll_interval=7).execute(task)
    deferral = deferred.value
    assert isinstance(deferral.trigger, VideoTaskTrigger)
    assert deferral.method_name == "execute_complete"
    assert deferral.kwargs == {
        "job": job(vendor).to_dict(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + timedelta(seconds=900)).isoformat(),
    }
    assert {name: getattr(deferral.trigger, name) for name in deferral.kwargs} == deferral.kwargs
    assert deferral.trigger.vidgen_conn_id == "vidgen_default"
    assert deferral.trigger.poll_interval == 7
    assert deferral.trigger.not_before == (NOW + timedelta(seconds=10)).isoformat()
    # Airflow's timeout of the deferral is later than the deadline, which keeps the job attached.
    # A plain timedelta: Airflow's supervisor accepts no other type.
    assert type(deferral.timeout) is timedelta
    assert deferral.timeout > timedelta(seconds=900)
    assert [key for key, _ in task["ti"].pushed] == ["task_id", "video"]
    assert posts(web) == 1


@pytest.mark.parametrize(("heartbeat", "seconds"), [("", 10), ("1", 10), ("5", 10), ("20", 25)])
def test_the_trigger_fires_no_earlier_than_the_minimum_deferral(
    heartbeat: str, seconds: int, vidgen: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    if heartbeat:
        monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", heartbeat)
    vidgen("apixo")
    earliest = (NOW + timedelta(seconds=seconds)).isoformat()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True).execute(context())
    assert deferred.value.trigger.not_before == earliest


def test_a_task_re_attached_after_its_deadline_keeps_the_deferral_margin(
    vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=running("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(task)
        clock.sleep(3600)
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True).execute(task)
    assert deferred.value.timeout > timedelta(minutes=9)
    assert deferred.value.kwargs["deadline"] == (NOW + timedelta(seconds=1800)).isoformat()


def test_a_retry_returns_a_finished_job_without_deferring(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(task)
        result = operator(deferrable=True).execute(
            {**context(), "task_state_store": task["task_state_store"]}
        )
    assert result["result_urls"] == [LINK]
    assert posts(web) == 1


def test_a_retry_defers_again_while_the_vendor_is_unavailable(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
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
    assert set(result) == set(RESULT_KEYS)
    assert result["result_urls"] == again["result_urls"] == [LINK]
    assert posts(web) == 1
    assert clock.slept == []


def test_an_invalid_request_is_fatal_with_all_its_problems_and_no_request(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator(prompt="", duration=99, aspect_ratio="wide", resolution="4k").execute(task)
    text = str(failure.value)
    assert all(field in text for field in ("prompt", "duration", "aspect_ratio", "resolution"))
    assert "Nothing was spent." in text
    assert web.request_history == []
    assert task["task_state_store"] == {}


def test_an_invalid_connection_is_fatal_before_any_request(vidgen: Connect) -> None:
    vidgen("apixo", password="")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="password"):
        operator().execute(context())
    assert web.request_history == []


def test_warnings_are_logged_and_the_request_is_sent(vidgen: Connect, logged: Callable[[], str]) -> None:
    vidgen("apimodels")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimodels"], json=create_body("apimodels"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True, aspect_ratio="2:3").execute(context())
    log = logged()
    assert "aspect_ratio=2:3: the document clearly confirms only 16:9, 1:1, 9:16" in log
    assert "The vendor accepted apimodels job task_1" in log


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration", 10),
        ("aspect_ratio", "9:16"),
        ("resolution", "720p"),
        ("image_urls", ["https://example.com/a.png"]),
        ("continue_from", {"task_id": "task_0", "index": 1}),
        ("style", "anime"),
        ("routing", "value"),
        ("extra", {"seed": 7}),
    ],
)
def test_each_field_of_the_request_reaches_the_vendor(field: str, value: Any, vidgen: Connect) -> None:
    vidgen("apixo")
    arguments = {"duration": 6, "prompt": PROMPT, field: value}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True, **arguments).execute(context())
        body = web.last_request.json()
    expected = get_vendor("apixo").submit_call(VideoRequest(model=MODEL["apixo"], **arguments))
    assert body == expected.body


def test_resubmit_repeats_a_submission_of_unknown_outcome(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    resubmitting = operator(deferrable=True, on_unknown_submit="resubmit")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{"exc": requests.ReadTimeout}, {"json": create_body("apixo")}])
        with pytest.raises(AirflowException, match="UnknownSubmitWillResubmit"):
            resubmitting.execute(task)
        with pytest.raises(TaskDeferred):
            resubmitting.execute(task)
    assert posts(web) == 2


def test_a_delivery_that_cannot_be_recorded_still_succeeds(
    vidgen: Connect, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    task = context()
    store = task["task_state_store"]
    write = store.set

    def fail_on_delivered(key: str, value: Any, **options: Any) -> None:
        if value.get("phase") == "delivered":
            raise ConnectionError("the API server is unreachable")
        write(key, value, **options)

    store.set = fail_on_delivered
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        assert operator(deferrable=False).execute(task)["task_id"] == "task_1"
    assert re.search(r"The delivery could not be recorded \(\w*Error\w*\)", logged())


@pytest.mark.parametrize(
    ("reply", "exception_type", "name"),
    [
        ({"status_code": 400, "json": {"code": 400}}, AirflowFailException, "SubmitRefused"),
        ({"status_code": 401, "json": {"code": 401}}, AirflowFailException, "BadCredentials"),
        ({"status_code": 402, "json": {"code": 402}}, AirflowFailException, "InsufficientFunds"),
        ({"status_code": 403, "json": {"code": 403}}, AirflowFailException, "PermissionDenied"),
        ({"exc": requests.ReadTimeout}, AirflowFailException, "SubmitOutcomeUnknown"),
        ({"status_code": 500}, AirflowFailException, "SubmitOutcomeUnknown"),
        ({"exc": requests.ConnectTimeout}, AirflowException, "ConnectionFailed"),
    ],
)
def test_a_failed_submission_is_fatal_or_retryable_by_its_class(
    reply: dict[str, Any], exception_type: type[Exception], name: str, vidgen: Connect
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], **reply)
        with pytest.raises(AirflowException) as failure:
            operator().execute(context())
    assert type(failure.value) is exception_type
    assert str(failure.value).startswith(name)


def test_a_retry_does_not_repeat_a_submission_of_unknown_outcome(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{"exc": requests.ReadTimeout}, {"json": create_body("apixo")}])
        for _ in range(3):
            with pytest.raises(AirflowFailException, match="Money may have been spent"):
                operator().execute(task)
    assert posts(web) == 1


@pytest.mark.parametrize(("map_index", "argument"), [(-1, ""), (3, " --map-index 3")])
def test_the_error_about_an_unknown_submission_has_the_adopt_command_of_this_task(
    map_index: int, argument: str, vidgen: Connect
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], exc=requests.ReadTimeout)
        with pytest.raises(AirflowFailException) as failure:
            operator().execute(
                context(dag_id="the_dag", run_id="the run", task_id="make", map_index=map_index)
            )
    command = f"`airflow vidgen adopt the_dag 'the run' make{argument} --job-id JOB_ID`"
    assert command in str(failure.value)


def test_the_error_about_a_job_that_cannot_be_recorded_has_its_id_in_the_adopt_command(
    vidgen: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    monkeypatch.setattr(submission, "_WRITE_ATTEMPTS", 1)
    task = context(map_index=0)
    store = task["task_state_store"]
    write = store.set

    def fail_on_submitted(key: str, value: Any, **options: Any) -> None:
        if value.get("phase") == "submitted":
            raise ConnectionError("the API server is unreachable")
        write(key, value, **options)

    store.set = fail_on_submitted
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(AirflowFailException, match="JobNotRecorded") as failure:
            operator().execute(task)
    assert "`airflow vidgen adopt d r t --map-index 0 --job-id task_1`" in str(failure.value)
