# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The meaning of each reply to a status call: a failed check is not a failed job."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import NOW, VENDORS, read_status, reply, vendor_job

from airflow_provider_vidgen.errors import (
    BadCredentials,
    Billing,
    StatusRateLimited,
    StatusRefused,
    StatusUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.models import JobState, JobStatus
from tests.support.vendor_replies import LINK, error_body, status_body, video_data

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)
_QUEUED = ("pending", "queued", "submitted", "NOT_START", "SUBMITTED", "QUEUED", "waiting", "queuing")
_RUNNING = (
    "processing",
    "processing_r2",
    "IN_PROGRESS",
    "in progress",
    "in-progress",
    "running",
    "generating",
)
_SUCCEEDED = ("completed", "complete", "succeeded", "success", "done", "SUCCESS", "Completed")
_FAILED = ("failed", "failure", "FAILURE", "error", "expired", "Failed")
_CANCELLED = ("cancelled", "canceled", "CANCELLED")


def _status(vendor: str, state_word: Any, **data: Any) -> JobStatus:
    result = read_status(vendor, reply(200, status_body(vendor, state_word, **data)))
    assert isinstance(result, JobStatus), result
    return result


def _error(vendor: str, status: int, body: Any = b"", **headers: str) -> VidgenError:
    result = read_status(vendor, reply(status, body, **headers))
    assert isinstance(result, VidgenError), result
    assert result.job == vendor_job(vendor)
    assert result.billing is Billing.JOB_CONTINUES
    return result


# --- checks that failed ---------------------------------------------------------------------------------


@_every_vendor
@pytest.mark.parametrize(
    "code", [301, 302, 400, 402, 405, 408, 409, 422, 425, 429, 500, 502, 503, 504, 520, 524]
)
def test_a_failed_check_is_retryable(vendor: str, code: int) -> None:
    for body in (b"", b"<html>", error_body(vendor, code, "busy")):
        error = _error(vendor, code, body, retry_after="9")
        kind = StatusRateLimited if code == 429 else StatusUnavailable
        assert (type(error), error.fatal, error.retry_after) == (kind, False, 9.0)


@_every_vendor
@pytest.mark.parametrize("code", [400, 402, 429, 500, 503])
def test_an_error_code_under_http_200_is_a_failed_check(vendor: str, code: int) -> None:
    for spelling in (code, str(code)):
        kind = StatusRateLimited if code == 429 else StatusUnavailable
        assert type(_error(vendor, 200, error_body(vendor, spelling, "busy"))) is kind


@_every_vendor
def test_an_error_code_next_to_a_terminal_state_does_not_end_the_job(vendor: str) -> None:
    for state_word in ("failed", "completed", "FAILURE", "SUCCESS"):
        body = {**status_body(vendor, state_word, **video_data(vendor)), "code": 500}
        assert type(_error(vendor, 200, body)) is StatusUnavailable
        for status in (302, 503):
            assert type(_error(vendor, status, status_body(vendor, state_word))) is StatusUnavailable


@_every_vendor
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"<html>Maintenance</html>",
        b'{"code": 200, "data": {"sta',
        {"code": 200, "data": None},
        {"code": 200, "message": "success", "data": {}},
        {"code": 200, "data": []},
        {"code": 200, "data": "completed"},
        {"code": "success", "data": {"status": "", "state": " "}},
        {"code": "success", "data": {"status": None, "state": None}},
        {"code": "success", "data": {"status": ["SUCCESS"], "state": {"a": 1}}},
    ],
)
def test_a_reply_without_a_state_is_a_failed_check(vendor: str, body: Any) -> None:
    assert type(_error(vendor, 200, body)) is StatusUnavailable


@_every_vendor
@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_reported_and_the_job_goes_on(vendor: str, code: int) -> None:
    for status, body in (
        (code, b""),
        (code, error_body(vendor, code, "no")),
        (200, error_body(vendor, code, "no")),
    ):
        error = _error(vendor, status, body)
        assert (type(error), error.fatal) == (StatusRefused, False)


# --- states ---------------------------------------------------------------------------------------------


@_every_vendor
def test_every_spelling_of_a_state_is_known_for_every_vendor(vendor: str) -> None:
    for state, state_words in (
        (JobState.QUEUED, _QUEUED),
        (JobState.RUNNING, _RUNNING),
        (JobState.SUCCEEDED, _SUCCEEDED),
        (JobState.FAILED, _FAILED),
        (JobState.CANCELLED, _CANCELLED),
    ):
        for state_word in state_words:
            status = _status(vendor, state_word, **video_data(vendor))
            assert (status.state, status.raw_state, status.state_is_known) == (state, state_word, True), (
                state_word
            )
            assert status.has_video == (state is JobState.SUCCEEDED)
            assert (status.failure is not None) == (state in (JobState.FAILED, JobState.CANCELLED))


@_every_vendor
@pytest.mark.parametrize("state_word", ["UNKNOWN", "moderating", "finalizing", "完成", "success!", 7])
def test_an_unknown_state_counts_as_running(vendor: str, state_word: Any) -> None:
    status = _status(vendor, state_word, **video_data(vendor))
    assert (status.state, status.state_is_known, status.raw_state) == (
        JobState.RUNNING,
        False,
        str(state_word),
    )
    assert (status.result_urls, status.failure, status.has_video) == ((), None, False)


@_every_vendor
def test_an_unknown_state_is_redacted(vendor: str) -> None:
    status = _status(vendor, "see https://a.example/x?sig=s3cret or token=s3cret")
    assert (status.state_is_known, status.raw_state) == (False, "see https://a.example/*** or token=***")


@_every_vendor
def test_full_progress_does_not_mean_success(vendor: str) -> None:
    status = _status(vendor, "processing", progress="100%", **video_data(vendor))
    assert (status.state, status.has_video) == (JobState.RUNNING, False)


@pytest.mark.parametrize("vendor", ["apixgo", "apimart"])
@pytest.mark.parametrize(
    ("sent", "percent"),
    [
        (30, 30.0),
        ("30%", 30.0),
        ("30", 30.0),
        (" 30 % ", 30.0),
        (30.5, 30.5),
        (0, 0.0),
        (-5, 0.0),
        (250, 100.0),
        (0.3, 0.3),
        ("", None),
        (None, None),
        ("almost", None),
        (True, None),
        ([30], None),
        ("nan", None),
        (10**400, None),
    ],
)
def test_progress_is_parsed_in_every_form(vendor: str, sent: Any, percent: float | None) -> None:
    assert _status(vendor, "processing", progress=sent).progress == percent


# --- the model list -------------------------------------------------------------------------------------


def test_a_model_list_may_hold_objects_or_names() -> None:
    body = {"object": "list", "data": [{"id": "a"}, {"id": ""}, "b", 3, None, {"name": "x"}, ["y"]]}
    assert VENDORS["apixgo"].read_models(reply(200, body)) == ["a", "b", "3"]
    assert VENDORS["apixgo"].read_models(reply(200, {"data": []})) == []


@pytest.mark.parametrize("body", [b"", b"<html>", {}, {"data": None}, {"data": {"id": "a"}}])
def test_anything_but_a_model_list_is_an_error(body: Any) -> None:
    with pytest.raises(VidgenError, match="model list"):
        VENDORS["apixgo"].read_models(reply(200, body))


def test_a_model_list_refused_with_401_means_bad_credentials() -> None:
    for answer in (reply(401), reply(200, {"code": 401, "data": [{"id": "a"}]})):
        with pytest.raises(BadCredentials):
            VENDORS["apixgo"].read_models(answer)
    with pytest.raises(VidgenError):
        VENDORS["apixgo"].read_models(reply(500, {"data": [{"id": "a"}]}))


def test_links_expire_after_the_reported_completion_time() -> None:
    status = _status("apixgo", "SUCCESS", result_url=LINK, submit_time=1780000000, finish_time=1780000100)
    assert status.completed_at is not None
    assert status.expires_at is not None
    assert (status.expires_at - status.completed_at).total_seconds() == 3600
    assert status.expires_at < NOW


def test_a_completion_time_at_the_end_of_the_calendar_has_no_expiry() -> None:
    status = _status("apixo", "success", completeTime=253402300799000, **video_data("apixo"))
    assert status.completed_at is not None
    assert status.completed_at.year == 9999
    assert (status.expires_at, status.expires_basis) == (None, "unknown")
