# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Waiting for a job on a worker, with a clock that only sleeping advances."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests
import requests_mock

from airflow_provider_vidgen.errors import (
    DeadlineExceeded,
    InvalidConnection,
    JobLost,
    ResultMissing,
    StatusRefused,
    StatusUnavailable,
)
from airflow_provider_vidgen.models import FailureCategory
from airflow_provider_vidgen.polling import Progress
from tests.support.accounts import VENDORS, MakeHook, job
from tests.support.clock import NOW, Clock
from tests.support.vendor_replies import STATUS, failed, finished, running, status_body

FIRST_DELAY = {"apimodels": 10, "apixo": 30, "apixgo": 5, "apimart": 10}


@pytest.mark.parametrize("vendor", VENDORS)
def test_wait_polls_from_the_vendors_first_delay_until_the_video_is_there(
    vendor: str, make_hook: MakeHook, clock: Clock
) -> None:
    changes: list[Progress] = []
    with requests_mock.Mocker() as web:
        replies = [running(vendor), running(vendor), finished(vendor)]
        web.get(STATUS[vendor], [{"json": reply} for reply in replies])
        last = make_hook(vendor).wait(job(vendor), submitted_at=NOW, on_progress=changes.append)
    assert last.has_video
    assert FIRST_DELAY[vendor] <= clock.slept[0] <= 1.1 * FIRST_DELAY[vendor]
    assert len(clock.slept) == 3
    # Two checks with the same result are one change.
    assert len(changes) == 2
    assert {sent.method for sent in web.request_history} == {"GET"}


def test_poll_interval_replaces_the_vendors_schedule(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [{"json": running("apixo")}, {"json": finished("apixo")}])
        make_hook("apixo").wait(job("apixo"), submitted_at=NOW, poll_interval=2)
    assert 2 <= clock.slept[0] <= 2.2
    assert 1.7 <= clock.slept[1] <= 2.3


def test_wait_returns_the_failure_of_a_failed_job(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], json=failed("apixo", "no", "CONTENT_VIOLATION"))
        last = make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert last.failure is not None
    assert last.failure.category is FailureCategory.CONTENT_POLICY


def test_wait_ends_at_the_deadline_counted_from_submission(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], json=running("apixgo"))
        with pytest.raises(DeadlineExceeded) as caught:
            make_hook("apixgo").wait(job(), submitted_at=NOW, timeout=60)
    assert (clock.now() - NOW).total_seconds() == 60
    assert "apixgo job task_1" in str(caught.value)


def test_wait_continues_after_single_failed_checks(make_hook: MakeHook) -> None:
    failing = [
        {"exc": requests.ConnectTimeout},
        {"exc": requests.ReadTimeout},
        {"exc": requests.exceptions.ChunkedEncodingError},
        {"status_code": 502, "text": "<html>"},
        {"status_code": 200, "text": "<html>"},
        {"status_code": 200, "text": '{"code":'},
        {"status_code": 429, "headers": {"Retry-After": "40"}},
        {"status_code": 200, "json": {"code": 200, "data": None}},
        {"status_code": 302, "headers": {"Location": "https://elsewhere.example/"}},
        {"status_code": 404, "json": {"code": 404}},
        {"status_code": 401, "json": {"code": 401}},
    ]
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [*failing, {"json": finished("apixo")}])
        assert make_hook("apixo").wait(job("apixo"), submitted_at=NOW).has_video
    assert len(web.request_history) == len(failing) + 1
    assert {sent.hostname for sent in web.request_history} == {"api.apixo.ai"}


def test_retry_after_is_honoured_between_checks(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        rate_limited = {"status_code": 429, "headers": {"Retry-After": "41"}}
        web.get(STATUS["apixo"], [rate_limited, {"json": finished("apixo")}])
        make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert clock.slept[1:] == [41]


def test_an_outage_is_logged_and_shown_until_the_vendor_answers_again(
    make_hook: MakeHook, logged: Callable[[], str]
) -> None:
    shown: list[Progress] = []
    with requests_mock.Mocker() as web:
        web.get(
            STATUS["apixo"],
            [{"json": running("apixo")}, *[{"status_code": 503}] * 3, {"json": finished("apixo")}],
        )
        make_hook("apixo").wait(job("apixo"), submitted_at=NOW, on_progress=shown.append)
    assert [bool(progress.not_answering_since) for progress in shown] == [False, True, False]
    log = logged()
    assert log.count("not answered since 12:00:") == 2
    assert re.search(r"apixo job task_1 is succeeded .*; the vendor answers again after \d+ s", log)


def test_wait_ends_after_twenty_failed_checks_with_a_retryable_error(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], exc=requests.ConnectTimeout)
        with pytest.raises(StatusUnavailable) as caught:
            make_hook("apixo").wait(job("apixo"), submitted_at=NOW, timeout=86_400)
    assert len(web.request_history) == 20
    assert not caught.value.fatal
    assert "Job: apixo job task_1" in str(caught.value)


def test_an_unknown_job_is_lost_only_after_a_minute(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], status_code=400, json={"code": "task_not_exist"})
        with pytest.raises(JobLost):
            make_hook("apixgo").wait(job(), submitted_at=NOW)
    assert (clock.now() - NOW).total_seconds() >= 60


def test_wait_ends_after_two_refused_checks(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], status_code=403, json={"code": 403})
        with pytest.raises(StatusRefused):
            make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert len(web.request_history) == 2


def test_success_without_a_link_raises_result_missing(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], json=status_body("apixgo", "SUCCESS", result_url="", progress="100%"))
        with pytest.raises(ResultMissing):
            make_hook("apixgo").wait(job(), submitted_at=NOW)
    assert len(web.request_history) == 6


def test_get_status_retries_a_failed_check_and_its_error_names_the_job(
    make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], exc=requests.ConnectionError)
        with pytest.raises(StatusUnavailable, match="Job: apixo job task_1"):
            make_hook("apixo").get_status(job("apixo"))
    assert len(web.request_history) == 4
    assert len(clock.slept) == 3


def test_a_job_of_another_vendor_is_not_polled(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web, pytest.raises(InvalidConnection, match="must be apixo"):
        make_hook("apixgo").get_status(job("apixo"))
    assert web.request_history == []


def test_an_unknown_state_is_warned_about_once_and_counts_as_running(
    make_hook: MakeHook, logged: Callable[[], str]
) -> None:
    with requests_mock.Mocker() as web:
        unknown = {"json": status_body("apixo", "daydreaming")}
        web.get(STATUS["apixo"], [unknown, unknown, unknown, {"json": finished("apixo")}])
        assert make_hook("apixo").wait(job("apixo"), submitted_at=NOW).has_video
    assert logged().count("unknown state 'daydreaming'") == 1
