# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The meaning of each reply to the paid call: was it accepted, may it be retried, was money spent."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import NOW, VENDORS, read_submit, reply, request_for

from airflow_provider_vidgen.errors import (
    BadCredentials,
    Billing,
    InsufficientFunds,
    PermissionDenied,
    RateLimited,
    SubmitError,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    SubmitRefused,
    TaskRef,
    VidgenError,
)
from airflow_provider_vidgen.models import JobState, Submission
from tests.support.vendor_replies import create_body, error_body

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)

_REFUSED: dict[int, type[VidgenError]] = {
    400: SubmitRefused,
    401: BadCredentials,
    402: InsufficientFunds,
    403: PermissionDenied,
    404: SubmitRefused,
    405: SubmitRefused,
    413: SubmitRefused,
    415: SubmitRefused,
    422: SubmitRefused,
}
_UNKNOWN_OUTCOME = (
    300,
    301,
    302,
    303,
    307,
    308,
    406,
    408,
    409,
    410,
    418,
    500,
    501,
    502,
    503,
    504,
    520,
    521,
    522,
    523,
    524,
)


def _error(vendor: str, status: int, body: Any = b"", **headers: str) -> VidgenError:
    result = read_submit(vendor, reply(status, body, **headers))
    assert isinstance(result, SubmitError), result
    return result


def _assert_error(error: VidgenError, kind: type[VidgenError], fatal: bool, billing: Billing) -> None:
    assert type(error) is kind
    assert (error.fatal, error.billing) == (fatal, billing)
    assert str(billing) in str(error)
    task_id = error.job.task_id if error.job else ""
    assert TaskRef().fill_in(error.next_step, task_id) in str(error)


@_every_vendor
@pytest.mark.parametrize(("code", "kind"), _REFUSED.items())
def test_a_refusal_is_never_retried_and_costs_nothing(
    vendor: str, code: int, kind: type[VidgenError]
) -> None:
    _assert_error(_error(vendor, code, error_body(vendor, code, "no")), kind, True, Billing.NOT_SPENT)
    for body in (b"", b"<html>no</html>"):
        error = _error(vendor, code, body)
        assert isinstance(error, kind)
        _assert_error(error, type(error), True, Billing.NOT_SPENT)


@_every_vendor
@pytest.mark.parametrize(("code", "kind"), _REFUSED.items())
def test_a_refusal_in_the_body_under_http_200_is_a_refusal(
    vendor: str, code: int, kind: type[VidgenError]
) -> None:
    for spelling in (code, str(code)):
        error = _error(vendor, 200, error_body(vendor, spelling, "no"))
        _assert_error(error, kind, True, Billing.NOT_SPENT)
        assert (error.vendor_code, error.vendor_message) == (str(code), "no")


@_every_vendor
@pytest.mark.parametrize("code", [425, 429])
def test_a_rate_limit_means_not_accepted_and_retryable(vendor: str, code: int) -> None:
    for status, body in (
        (code, b""),
        (code, error_body(vendor, code, "slow")),
        (200, error_body(vendor, code, "")),
    ):
        _assert_error(_error(vendor, status, body), RateLimited, False, Billing.NOT_SPENT)


@_every_vendor
@pytest.mark.parametrize("code", _UNKNOWN_OUTCOME)
def test_an_unknown_outcome_is_never_submitted_again(vendor: str, code: int) -> None:
    if code == 409 and VENDORS[vendor].idempotency_window:
        return
    for body in (b"", b"<html>Bad gateway</html>", error_body(vendor, code, "upstream failed")):
        _assert_error(_error(vendor, code, body), SubmitOutcomeUnknown, True, Billing.MAYBE)
    if code >= 400:
        in_body = _error(vendor, 200, error_body(vendor, code, "upstream failed"))
        _assert_error(in_body, SubmitOutcomeUnknown, True, Billing.MAYBE)


def test_only_apimarts_409_means_an_idempotency_key_in_use() -> None:
    error = _error("apimart", 409, error_body("apimart", 409, "request in progress"))
    _assert_error(error, SubmitInFlight, False, Billing.MAYBE)
    for vendor in ("apimodels", "apixo", "apixgo"):
        assert type(_error(vendor, 409)) is SubmitOutcomeUnknown


@_every_vendor
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"task_1"',
        b"{}",
        b"<!doctype html><title>Welcome</title>",
        b'{"code": 200, "data": {"taskI',
        b"\xff\xfe\x00",
        b'{"code": 200, "data": null}',
        b'{"code": 200, "data": {}}',
        b'{"code": 200, "data": []}',
        b'{"code": 200, "data": {"taskId": "", "task_id": " ", "id": null}}',
        b'{"code": 200, "data": {"taskId": {"a": 1}, "task_id": [1], "id": true}}',
        b'{"code": 200, "data": {"taskId": "a\\nb", "task_id": "a\\nb", "id": "a\\nb"}}',
        b'{"code": 200, "data": {"taskId": "\\ud800", "task_id": "\\ud800", "id": "\\ud800"}}',
        b'{"code": "success", "message": "", "data": ""}',
        b'{"status": "error", "message": "upstream timed out"}',
        b'{"success": false, "message": "upstream timed out"}',
        b'{"code": 200, "data": {"state": "failed", "status": "failed"}}',
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_without_a_job_id_leaves_the_outcome_unknown(vendor: str, status: int, body: bytes) -> None:
    error = _error(vendor, status, body)
    _assert_error(error, SubmitOutcomeUnknown, True, Billing.MAYBE)
    assert str(status) in str(error)


@_every_vendor
def test_an_accepted_job_has_the_id_of_the_reply(vendor: str) -> None:
    for status in (200, 201, 202):
        result = read_submit(vendor, reply(status, create_body(vendor, "task_77")))
        assert isinstance(result, Submission)
        assert result.job.task_id == "task_77"
        assert result.job.model == request_for(vendor).model
        assert result.status.state is JobState.QUEUED
    numeric = read_submit(vendor, reply(200, create_body(vendor, 77)))
    assert isinstance(numeric, Submission)
    assert numeric.job.task_id == "77"


@_every_vendor
@pytest.mark.parametrize("code", [301, 307, 400, 401, 402, 403, 404, 422, 425, 429, 500, 503, 504])
def test_an_error_with_a_job_id_is_an_unknown_outcome_that_keeps_the_id(vendor: str, code: int) -> None:
    error = _error(vendor, code, create_body(vendor, "task_77"))
    _assert_error(error, SubmitOutcomeUnknown, True, Billing.MAYBE)
    assert error.job is not None
    assert "task_77" in str(error)


def test_a_code_of_zero_or_success_is_no_error() -> None:
    for code in (0, "0", 200, "200", 201, "success", "", None, True, [], {}):
        body = {"code": code, "data": {"taskId": "t", "state": "pending"}}
        assert isinstance(read_submit("apimodels", reply(200, body)), Submission), code


@_every_vendor
def test_an_undocumented_code_is_an_unknown_outcome_that_keeps_the_id(vendor: str) -> None:
    error = _error(vendor, 200, {**create_body(vendor, "task_77"), "code": 1001})
    _assert_error(error, SubmitOutcomeUnknown, True, Billing.MAYBE)
    assert error.job is not None
    assert error.job.task_id == "task_77"


# --- p-video --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 524, 302])
def test_an_interrupted_synchronous_call_is_an_unknown_outcome(status: int) -> None:
    result = read_submit("apimodels", reply(status, b"<html>"), model="p-video")
    assert type(result) is SubmitOutcomeUnknown


def test_a_failed_synchronous_call_is_a_failed_job_without_an_id() -> None:
    body = {"code": 200, "data": {"state": "failed", "failMsg": "Content policy violation"}}
    result = VENDORS["apimodels"].read_submit(
        request_for("apimodels", model="p-video"), "https://x", reply(200, body), now=NOW
    )
    assert result.job.task_id == ""
    assert result.status.state is JobState.FAILED
