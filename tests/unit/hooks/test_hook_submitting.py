# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The paid call: what is sent again, and what never is."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock

from airflow_provider_vidgen.errors import (
    BadCredentials,
    ContentRefused,
    InsufficientFunds,
    InvalidRequest,
    NotSent,
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

#: Without idempotency keys there is no way to tell whether an open request was taken.
KEYLESS = ("apimodels", "apixo", "apixgo")
OPEN = {
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
@pytest.mark.parametrize("case", OPEN)
def test_an_open_outcome_is_reported_and_sent_once(
    vendor: str, case: str, make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [OPEN[case], {"json": create_body(vendor)}])
        with pytest.raises(SubmitOutcomeUnknown) as caught:
            submit(make_hook, vendor)
    assert [sent.method for sent in web.request_history] == ["POST"]
    assert clock.slept == []
    assert "Money may have been spent." in str(caught.value)
    assert caught.value.ends_retries


@pytest.mark.parametrize("case", OPEN)
def test_apimart_is_sent_the_same_request_under_the_same_key(case: str, make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [OPEN[case], {"json": create_body("apimart")}])
        assert submit(make_hook, "apimart").job.task_id == "task_1"
    first, second = web.request_history
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == "key-1"
    assert first.body == second.body


@pytest.mark.parametrize("case", ["read timeout", "500"])
def test_apimart_is_not_asked_for_ever(case: str, make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], **OPEN[case])
        with pytest.raises(SubmitOutcomeUnknown):
            submit(make_hook, "apimart")
    assert len(web.request_history) == 4
    assert {sent.headers["Idempotency-Key"] for sent in web.request_history} == {"key-1"}


def test_apimart_still_at_work_on_the_key_is_asked_again_and_then_unknown(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], status_code=409, json={"error": {"code": 409, "message": "in flight"}})
        with pytest.raises(SubmitOutcomeUnknown, match="in flight"):
            submit(make_hook, "apimart")
    assert len(web.request_history) == 4


def test_apimart_409_then_the_job(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"status_code": 409, "json": {}}, {"json": create_body("apimart")}])
        assert submit(make_hook, "apimart").job.task_id == "task_1"


def test_a_refusal_after_an_open_sending_does_not_tell_that_nothing_was_taken(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, {"status_code": 401, "json": {}}])
        with pytest.raises(SubmitOutcomeUnknown):
            submit(make_hook, "apimart")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_connection_that_never_came_about_is_tried_again(
    vendor: str, make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [{"exc": requests.ConnectTimeout}] * 2 + [{"json": create_body(vendor)}])
        assert submit(make_hook, vendor).job.task_id == "task_1"
    assert len(web.request_history) == 3
    assert len(clock.slept) == 2


def test_a_vendor_that_cannot_be_reached_is_given_up_with_nothing_spent(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], exc=requests.ConnectTimeout)
        with pytest.raises(NotSent) as caught:
            submit(make_hook, "apixo")
    assert len(web.request_history) == 4
    assert "Nothing was spent." in str(caught.value)
    assert not caught.value.ends_retries


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "full",
    [
        {"status_code": 429, "json": {}, "headers": {"Retry-After": "23"}},
        {"status_code": 429, "text": "", "headers": {"Retry-After": "Fri, 20 Nov 2026 12:00:23 GMT"}},
        {"status_code": 200, "json": {"code": 429, "message": "slow"}, "headers": {"Retry-After": "23"}},
        {"status_code": 425, "text": "", "headers": {"retry-after-ms": "23000"}},
    ],
)
def test_a_full_vendor_is_asked_again_when_it_says(
    vendor: str, full: dict[str, Any], make_hook: MakeHook, clock: Clock
) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [full, {"json": create_body(vendor)}])
        assert submit(make_hook, vendor).job.task_id == "task_1"
    assert clock.slept == [23]


def test_a_vendor_that_stays_full_is_given_up_and_a_retry_may_help(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], status_code=429, json={"code": 429})
        with pytest.raises(RateLimited) as caught:
            submit(make_hook, "apixo")
    assert len(web.request_history) == 4
    assert not caught.value.ends_retries


def test_a_503_that_says_it_took_nothing_is_tried_again(make_hook: MakeHook) -> None:
    body = {"error": {"code": "", "message": "No available channel for model x"}}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], status_code=503, json=body)
        with pytest.raises(VendorUnavailable):
            submit(make_hook, "apixgo")
    assert len(web.request_history) == 4


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize(
    ("code", "words", "error"),
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
def test_a_refusal_is_final_and_costs_nothing(
    vendor: str, in_body: bool, code: int, words: str, error: type[SubmitError], make_hook: MakeHook
) -> None:
    body = {"code": code, "message": words, "data": None}
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], status_code=200 if in_body else code, json=body)
        with pytest.raises(error) as caught:
            submit(make_hook, vendor)
    assert type(caught.value) is error
    assert caught.value.ends_retries
    assert "Nothing was spent." in str(caught.value)
    assert len(web.request_history) == 1


def test_what_cannot_be_right_is_not_sent(make_hook: MakeHook) -> None:
    wrong = VideoRequest(prompt=" ", model="grok-video", duration="6.5", resolution="8k", aspect_ratio="wide")
    with requests_mock.Mocker() as web, pytest.raises(InvalidRequest) as caught:
        make_hook("apixo").submit(wrong)
    assert web.request_history == []
    assert {problem.field for problem in caught.value.problems} >= {
        "prompt",
        "duration",
        "resolution",
        "aspect_ratio",
    }


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_that_repeats_key_prompt_and_link_is_not_quoted(vendor: str, make_hook: MakeHook) -> None:
    words = f"key {KEY} may not make '{PROMPT}', see https://x.example/a?sig=s3cret"
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], status_code=400, json={"code": 400, "message": words})
        with pytest.raises(SubmitRefused) as caught:
            submit(make_hook, vendor)
    for secret in (KEY, PROMPT, "s3cret"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)


def test_an_unknown_key_form_is_masked_in_a_reply_too(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], status_code=401, json={"code": 401, "message": "no such key: plainword99"})
        with pytest.raises(BadCredentials) as caught:
            submit(make_hook, "apixo", password="plainword99")
    assert "plainword99" not in str(caught.value)
    assert "***" in str(caught.value)
