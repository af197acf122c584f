# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Wait for a job on a worker, with time that passes only by sleeping."""

from __future__ import annotations

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
from airflow_provider_vidgen.models import FailureCategory, JobStatus
from tests.support.accounts import VENDORS, MakeHook, job
from tests.support.clock import NOW, Clock
from tests.support.vendor_replies import STATUS, failed, finished, running, status_body

FIRST = {"apimodels": 10, "apixo": 30, "apixgo": 5, "apimart": 10}


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_first_check_comes_when_the_vendor_advises_and_the_last_brings_the_video(
    vendor: str, make_hook: MakeHook, clock: Clock
) -> None:
    seen: list[JobStatus] = []
    with requests_mock.Mocker() as web:
        replies = [running(vendor), running(vendor), finished(vendor)]
        web.get(STATUS[vendor], [{"json": reply} for reply in replies])
        last = make_hook(vendor).wait(job(vendor), submitted_at=NOW, on_news=seen.append)
    assert last.has_video
    assert FIRST[vendor] <= clock.slept[0] <= 1.1 * FIRST[vendor]
    assert len(clock.slept) == 3
    # The two looks that found it running the same way are one piece of news.
    assert len(seen) == 2
    assert {sent.method for sent in web.request_history} == {"GET"}


def test_a_poll_interval_of_ones_own_is_kept(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [{"json": running("apixo")}, {"json": finished("apixo")}])
        make_hook("apixo").wait(job("apixo"), submitted_at=NOW, poll_interval=2)
    assert 2 <= clock.slept[0] <= 2.2
    assert 1.7 <= clock.slept[1] <= 2.3


def test_a_failed_job_ends_the_wait_with_its_reason(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], json=failed("apixo", "no", "CONTENT_VIOLATION"))
        last = make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert last.failure is not None
    assert last.failure.category is FailureCategory.CONTENT_POLICY


def test_the_wait_ends_at_the_deadline_counted_from_submission(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], json=running("apixgo"))
        with pytest.raises(DeadlineExceeded) as caught:
            make_hook("apixgo").wait(job(), submitted_at=NOW, timeout=60)
    assert (clock.now() - NOW).total_seconds() == 60
    assert "apixgo job task_1" in str(caught.value)


def test_failed_checks_do_not_lose_the_job(make_hook: MakeHook) -> None:
    bad = [
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
        web.get(STATUS["apixo"], [*bad, {"json": finished("apixo")}])
        assert make_hook("apixo").wait(job("apixo"), submitted_at=NOW).has_video
    assert len(web.request_history) == len(bad) + 1
    assert {sent.hostname for sent in web.request_history} == {"api.apixo.ai"}


def test_the_vendors_wait_is_honoured_between_checks(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        busy = {"status_code": 429, "headers": {"Retry-After": "41"}}
        web.get(STATUS["apixo"], [busy, {"json": finished("apixo")}])
        make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert clock.slept[1:] == [41]


def test_a_vendor_out_of_reach_ends_the_try_and_not_the_job(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], exc=requests.ConnectTimeout)
        with pytest.raises(StatusUnavailable) as caught:
            make_hook("apixo").wait(job("apixo"), submitted_at=NOW, timeout=86_400)
    assert len(web.request_history) == 20
    assert not caught.value.ends_retries
    assert "Job: apixo job task_1" in str(caught.value)


def test_a_job_the_vendor_never_knows_is_lost_only_after_a_minute(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], status_code=400, json={"code": "task_not_exist"})
        with pytest.raises(JobLost):
            make_hook("apixgo").wait(job(), submitted_at=NOW)
    assert (clock.now() - NOW).total_seconds() >= 60


def test_a_key_refused_twice_ends_the_wait(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], status_code=403, json={"code": 403})
        with pytest.raises(StatusRefused):
            make_hook("apixo").wait(job("apixo"), submitted_at=NOW)
    assert len(web.request_history) == 2


def test_success_without_a_link_is_no_success(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], json=status_body("apixgo", "SUCCESS", result_url="", progress="100%"))
        with pytest.raises(ResultMissing):
            make_hook("apixgo").wait(job(), submitted_at=NOW)
    assert len(web.request_history) == 6


def test_a_single_check_is_repeated_and_the_error_names_the_job(make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], exc=requests.ConnectionError)
        with pytest.raises(StatusUnavailable, match="Job: apixo job task_1"):
            make_hook("apixo").get_status(job("apixo"))
    assert len(web.request_history) == 4
    assert len(clock.slept) == 3


def test_another_vendors_job_is_not_asked_about(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web, pytest.raises(InvalidConnection, match="must be apixo"):
        make_hook("apixgo").get_status(job("apixo"))
    assert web.request_history == []


def test_an_unknown_state_is_waited_on_with_one_warning(
    make_hook: MakeHook, logged: Callable[[], str]
) -> None:
    with requests_mock.Mocker() as web:
        odd = {"json": status_body("apixo", "daydreaming")}
        web.get(STATUS["apixo"], [odd, odd, odd, {"json": finished("apixo")}])
        assert make_hook("apixo").wait(job("apixo"), submitted_at=NOW).has_video
    assert logged().count("unknown state 'daydreaming'") == 1
