# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The outcomes of a job for its task, and what the next try does."""

from __future__ import annotations

from collections.abc import Callable
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

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT
from tests.support.clock import Clock
from tests.support.task_instance import context, record_of
from tests.support.vendor_replies import (
    CREATE,
    LINK,
    MP4,
    STATUS,
    create_body,
    failed,
    finished,
    running,
    status_body,
    unknown,
)

Connect = Callable[..., None]


def operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, **fields})


def posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("vendor_message", "code", "exception_type"),
    [
        ("unsafe", "CONTENT_VIOLATION", AirflowFailException),
        ("cannot fetch", "INVALID_IMAGE_URL", AirflowFailException),
        ("Insufficient credits", "", AirflowFailException),
        ("internal error", "GENERATION_FAILED", AirflowException),
        ("no capacity", "MODEL_UNAVAILABLE", AirflowException),
    ],
)
def test_a_failed_job_is_fatal_only_if_the_same_request_would_fail_again(
    vendor_message: str, code: str, exception_type: type[Exception], deferrable: bool, vidgen: Connect
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=failed("apixo", vendor_message, code))
        if deferrable:
            with pytest.raises(TaskDeferred):
                operator(deferrable=True).execute(task)
        with pytest.raises(AirflowException) as failure:
            operator(deferrable=deferrable).execute(task)
    assert type(failure.value) is exception_type
    assert "apixo job task_1" in str(failure.value)
    assert vendor_message in str(failure.value)
    assert record_of(task)["phase"] == "failed"


def test_a_retry_after_a_failed_job_submits_a_new_job_and_logs_it(
    vidgen: Connect, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], [{"json": failed("apixo", "oops")}, {"json": finished("apixo")}])
        with pytest.raises(AirflowException, match="may be billed again"):
            operator(deferrable=False).execute(task)
        assert operator(deferrable=False).execute(task)["state"] == "succeeded"
    assert posts(web) == 2
    assert "without a video; a new job is submitted and may be billed" in logged()


def test_a_lost_job_is_reported_again_by_a_retry_and_not_paid_twice(vidgen: Connect) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        web.get(STATUS["apixgo"], **unknown("apixgo"))
        for _ in range(2):
            with pytest.raises(AirflowFailException, match="JobLost"):
                operator(deferrable=False).execute(task)
    assert posts(web) == 1


def test_the_deadline_leaves_the_job_attached(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        web.get(STATUS["apixgo"], json=running("apixgo"))
        with pytest.raises(AirflowException, match=r"DeadlineExceeded.*2026-11-20T12:01:00") as failure:
            operator(deferrable=False, timeout=60).execute(task)
        assert not isinstance(failure.value, AirflowFailException)
        web.get(STATUS["apixgo"], json=finished("apixgo"))
        assert operator(deferrable=False, timeout=60).execute(task)["task_id"] == "task_1"
    assert posts(web) == 1


def test_a_success_without_a_link_is_polled_and_then_reported_as_paid(vidgen: Connect) -> None:
    vidgen("apixgo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        web.get(STATUS["apixgo"], json=status_body("apixgo", "SUCCESS", result_url=""))
        with pytest.raises(AirflowFailException, match="The video was paid for"):
            operator(deferrable=False).execute(context())


def test_an_unreadable_record_submits_nothing_and_is_retryable(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()

    def fail(*_: Any) -> Any:
        raise ConnectionError("no API server")

    task["task_state_store"].get = fail
    with requests_mock.Mocker() as web, pytest.raises(AirflowException, match="LedgerUnreadable") as failure:
        operator().execute(task)
    assert not isinstance(failure.value, AirflowFailException)
    assert web.request_history == []


@pytest.mark.parametrize("has_link_at_last", [True, False])
def test_a_blocking_task_without_a_link_checks_once_more_before_it_fails(
    has_link_at_last: bool, vidgen: Connect
) -> None:
    vidgen("apixo")
    task, no_link = context(), status_body("apixo", "success")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        last = finished("apixo") if has_link_at_last else no_link
        web.get(STATUS["apixo"], [*[{"json": no_link}] * 6, {"json": last}])
        if has_link_at_last:
            assert operator(deferrable=False).execute(task)["result_urls"] == [LINK]
        else:
            with pytest.raises(AirflowFailException, match=r"ResultMissing.*task_1"):
                operator(deferrable=False).execute(task)
            # The expiry of its links is recorded, for a later clear.
            assert record_of(task)["expires_at"]
        assert sum(sent.method == "GET" for sent in web.request_history) == 7


def test_a_blocking_task_uses_its_poll_interval(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], [{"json": running("apixo")}, {"json": finished("apixo")}])
        operator(deferrable=False, poll_interval=90).execute(context())
    assert len(clock.slept) == 2
    assert all(81 <= slept <= 99 for slept in clock.slept)


def test_a_blocking_task_pushes_its_progress_to_xcom(vidgen: Connect) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        half = running("apixgo", progress="50%")
        web.get(STATUS["apixgo"], [{"json": half}, {"json": finished("apixgo")}])
        operator(deferrable=False).execute(task)
    assert ("progress", {"state": "running", "percent": 50}) in task["ti"].pushed


def test_a_blocking_task_lands_a_link_that_is_reported_late(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        no_link = {"json": status_body("apixo", "success")}
        web.get(STATUS["apixo"], [*[no_link] * 6, {"json": finished("apixo")}])
        web.get(LINK, content=MP4)
        operator(deferrable=False, output_path=f"file://{tmp_path}/v.mp4").execute(context())
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_blocking_task_reports_job_not_found_with_another_api_key_as_a_changed_account(
    vidgen: Connect,
) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(task)
        vidgen("apixgo", password="sk-of-another-account")
        web.get(STATUS["apixgo"], [unknown("apixgo")])
        with pytest.raises(AirflowException, match="AccountChanged"):
            operator(deferrable=False).execute(task)
    assert record_of(task)["phase"] == "submitted"
    assert posts(web) == 1


@pytest.mark.parametrize("at_capacity", [True, False])
def test_with_a_state_store_backend_records_and_tickets_stay_in_airflows_own_rows(
    at_capacity: bool, vidgen: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    rows: dict[tuple[Any, str], Any] = {}
    monkeypatch.setattr(airflow_internals, "has_state_store_backend", lambda: True)
    monkeypatch.setattr(airflow_internals, "get_state_row", lambda ti_id, key: rows.get((ti_id, key)))
    monkeypatch.setattr(
        airflow_internals, "set_state_row", lambda ti_id, key, value: rows.update({(ti_id, key): value})
    )
    task = context()
    with requests_mock.Mocker() as web:
        reply = {"status_code": 429, "json": {"code": 429}} if at_capacity else {"json": create_body("apixo")}
        web.post(CREATE["apixo"], **reply)
        with pytest.raises((AirflowRescheduleException, TaskDeferred)):
            operator(deferrable=True).execute(task)
    assert {ti_id for ti_id, _ in rows} == {task["ti"].id}
    assert (("ti-1", "vidgen_queue_ticket") in rows) is at_capacity
    assert len(task["task_state_store"]) == 0
