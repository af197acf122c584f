# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Submitting: which paid requests are retried, and which never are."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock

from airflow_provider_vidgen.errors import (
    BadCredentials,
    ConnectionFailed,
    ContentRefused,
    InsufficientFunds,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    SubmitError,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
)
from airflow_provider_vidgen.models import Submission, VideoRequest
from tests.support.accounts import KEY, MODEL, PROMPT, VENDORS, MakeHook
from tests.support.clock import Clock
from tests.support.vendor_replies import CREATE, create_body

#: Without idempotency keys it cannot be found out whether a request of unknown outcome was accepted.
KEYLESS = ("apimodels", "apixo", "apixgo")
UNKNOWN_OUTCOMES = {
    "read timeout": {"exc": requests.ReadTimeout},
    "connection reset": {"exc": requests.ConnectionError},
    "reply cut off": {"exc": requests.exceptions.ChunkedEncodingError},
    "garbled encoding": {"exc": requests.exceptions.ContentDecodingError},
    "a redirect": {"status_code": 302, "headers": {"Location": "https://elsewhere.example/"}},
    "a lasting redirect": {"status_code": 308, "headers": {"Location": "https://elsewhere.example/"}},
    "408": {"status_code": 408},
    "500": {"status_code": 500, "json": {"code": 500}},
    "502": {"status_code": 502, "text": "<html>Bad Gateway</html>"},
    "503 of a proxy": {"status_code": 503, "text": "<html>Unavailable</html>"},
    "504": {"status_code": 504},
    "HTML": {"text": "<html>hello</html>"},
    "cut JSON": {"text": '{"code":200,"data":{"tas'},
    "no id": {"json": {"code": 200, "data": {}}},
    "nothing": {"text": ""},
    "500 in the body": {"json": {"code": 500, "message": "internal"}},
}


def submit(make_hook: MakeHook, vendor: str, **fields: Any) -> Submission:
    request = VideoRequest(prompt=PROMPT, model=MODEL[vendor])
    return make_hook(vendor, **fields).submit(request, idempotency_key="key-1")


@pytest.mark.parametrize("vendor", KEYLESS)
@pytest.mark.parametrize("case", UNKNOWN_OUTCOMES)
def test_a_submission_with_unknown_outcome_is_sent_once_and_raises(
    vendor: str, case: str, make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [UNKNOWN_OUTCOMES[case], {"json": create_body(vendor)}])
        with pytest.raises(SubmitOutcomeUnknown) as caught:
            submit(make_hook, vendor)
    assert [sent.method for sent in web.request_history] == ["POST"]
    assert clock.slept == []
    assert "Money may have been spent." in str(caught.value)
    assert caught.value.fatal


@pytest.mark.parametrize("case", UNKNOWN_OUTCOMES)
def test_apimart_gets_the_same_request_again_with_the_same_idempotency_key(
    case: str, make_hook: MakeHook
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [UNKNOWN_OUTCOMES[case], {"json": create_body("apimart")}])
        assert submit(make_hook, "apimart").job.task_id == "task_1"
    first, second = web.request_history
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == "key-1"
    assert first.body == second.body


@pytest.mark.parametrize("case", ["read timeout", "500"])
def test_apimart_gets_at_most_four_requests(case: str, make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], **UNKNOWN_OUTCOMES[case])
        with pytest.raises(SubmitOutcomeUnknown):
            submit(make_hook, "apimart")
    assert len(web.request_history) == 4
    assert {sent.headers["Idempotency-Key"] for sent in web.request_history} == {"key-1"}


def test_a_409_of_apimart_is_retried_and_then_the_outcome_is_unknown(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], status_code=409, json={"error": {"code": 409, "message": "in flight"}})
        with pytest.raises(SubmitOutcomeUnknown, match="in flight"):
            submit(make_hook, "apimart")
    assert len(web.request_history) == 4


def test_a_409_of_apimart_followed_by_the_job_is_a_success(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"status_code": 409, "json": {}}, {"json": create_body("apimart")}])
        assert submit(make_hook, "apimart").job.task_id == "task_1"


def test_the_outcome_stays_unknown_if_a_retry_after_a_read_timeout_is_refused(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, {"status_code": 401, "json": {}}])
        with pytest.raises(SubmitOutcomeUnknown):
            submit(make_hook, "apimart")


def test_an_unknown_outcome_keeps_the_capacity_flag_and_retry_after_of_the_last_attempt(
    make_hook: MakeHook,
) -> None:
    rate_limited = {"status_code": 429, "json": {}, "headers": {"Retry-After": "23"}}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, rate_limited])
        with pytest.raises(SubmitOutcomeUnknown) as caught:
            submit(make_hook, "apimart")
    assert caught.value.at_capacity
    assert caught.value.retry_after == 23
    assert not SubmitOutcomeUnknown.at_capacity


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_failed_connection_is_retried(vendor: str, make_hook: MakeHook, clock: Clock) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [{"exc": requests.ConnectTimeout}] * 2 + [{"json": create_body(vendor)}])
        assert submit(make_hook, vendor).job.task_id == "task_1"
    assert len(web.request_history) == 3
    assert len(clock.slept) == 2


def test_nothing_is_spent_if_the_vendor_cannot_be_reached(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], exc=requests.ConnectTimeout)
        with pytest.raises(ConnectionFailed) as caught:
            submit(make_hook, "apixo")
    assert len(web.request_history) == 4
    assert "Nothing was spent." in str(caught.value)
    assert not caught.value.fatal


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "rate_limited",
    [
        {"status_code": 429, "json": {}, "headers": {"Retry-After": "23"}},
        {"status_code": 429, "text": "", "headers": {"Retry-After": "Fri, 20 Nov 2026 12:00:23 GMT"}},
        {"status_code": 200, "json": {"code": 429, "message": "slow"}, "headers": {"Retry-After": "23"}},
        {"status_code": 425, "text": "", "headers": {"retry-after-ms": "23000"}},
    ],
)
def test_a_submission_is_retried_after_the_vendors_retry_after(
    vendor: str, rate_limited: dict[str, Any], make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [rate_limited, {"json": create_body(vendor)}])
        assert submit(make_hook, vendor).job.task_id == "task_1"
    assert clock.slept == [23]


def test_a_lasting_429_raises_a_retryable_error(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], status_code=429, json={"code": 429})
        with pytest.raises(RateLimited) as caught:
            submit(make_hook, "apixo")
    assert len(web.request_history) == 4
    assert not caught.value.fatal


def test_a_503_that_means_not_accepted_is_retried(make_hook: MakeHook) -> None:
    body = {"error": {"code": "", "message": "No available channel for model x"}}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], status_code=503, json=body)
        with pytest.raises(VendorUnavailable):
            submit(make_hook, "apixgo")
    assert len(web.request_history) == 4


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        (400, "bad field", SubmitRefused),
        (401, "bad key", BadCredentials),
        (402, "no credit", InsufficientFunds),
        (400, "Insufficient credits", InsufficientFunds),
        (403, "not allowed", PermissionDenied),
        (403, "insufficient quota", InsufficientFunds),
        (404, "no such model", SubmitRefused),
        (400, "content policy violation", ContentRefused),
        (413, "too large", SubmitRefused),
        (422, "bad value", SubmitRefused),
    ],
)
def test_a_refusal_is_fatal_and_nothing_is_spent(
    vendor: str, in_body: bool, code: int, message: str, error: type[SubmitError], make_hook: MakeHook
) -> None:
    body = {"code": code, "message": message, "data": None}
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], status_code=200 if in_body else code, json=body)
        with pytest.raises(error) as caught:
            submit(make_hook, vendor)
    assert type(caught.value) is error
    assert caught.value.fatal
    assert "Nothing was spent." in str(caught.value)
    assert len(web.request_history) == 1


def test_an_invalid_request_is_not_sent(make_hook: MakeHook) -> None:
    invalid = VideoRequest(
        prompt=" ", model="grok-video", duration="6.5", resolution="8k", aspect_ratio="wide"
    )
    with requests_mock.Mocker() as web, pytest.raises(InvalidRequest) as caught:
        make_hook("apixo").submit(invalid)
    assert web.request_history == []
    assert {problem.field for problem in caught.value.problems} >= {
        "prompt",
        "duration",
        "resolution",
        "aspect_ratio",
    }


@pytest.mark.parametrize("vendor", VENDORS)
def test_api_key_prompt_and_link_in_the_vendors_message_are_redacted(
    vendor: str, make_hook: MakeHook
) -> None:
    message = f"key {KEY} may not make '{PROMPT}', see https://x.example/a?sig=s3cret"
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], status_code=400, json={"code": 400, "message": message})
        with pytest.raises(SubmitRefused) as caught:
            submit(make_hook, vendor)
    for secret in (KEY, PROMPT, "s3cret"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)


def test_an_api_key_of_unusual_form_is_redacted_too(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], status_code=401, json={"code": 401, "message": "no such key: plainword99"})
        with pytest.raises(BadCredentials) as caught:
            submit(make_hook, "apixo", password="plainword99")
    assert "plainword99" not in str(caught.value)
    assert "***" in str(caught.value)
