# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Every fault of the paid call: how often it was sent, and what was billed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.errors import (
    BadCredentials,
    InsufficientFunds,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
    VidgenError,
    WrongEndpoint,
)
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import PROMPT, VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import KEYLESS, MakeAccount, billed, posts, submit

SHORT_TIMEOUT = {"timeout": 0.4}
#: Faults after which it is unknown whether the vendor accepted the job.
UNKNOWN_OUTCOME: dict[str, dict[str, Any]] = {
    "reset": {"kind": "reset"},
    "closed": {"kind": "close"},
    "no answer": {"kind": "hang"},
    "slow header": {"kind": "slow_headers", "seconds": 1.0},
    "cut JSON": {"kind": "truncated"},
    "cut chunk": {"kind": "chunked_truncated"},
    "too short": {"kind": "content_length_too_long"},
    "empty": {"kind": "empty_body"},
    "HTML": {"kind": "html"},
    "408": {"kind": "status", "status": 408},
    "500": {"kind": "status", "status": 500, "body": {"code": 500, "message": "internal"}},
    "502": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "503 of a proxy": {"kind": "status", "status": 503, "body": "<html>Unavailable</html>"},
    "504": {"kind": "status", "status": 504},
    "520": {"kind": "status", "status": 520},
    "500 in the body": {"kind": "status", "status": 200, "body": {"code": 500, "message": "internal"}},
    "no id": {"kind": "status", "status": 200, "body": {"code": 200, "data": {}}},
    "a list": {"kind": "status", "status": 200, "body": []},
    "redirect": {"kind": "redirect", "status": 307},
}


@pytest.mark.parametrize("vendor", KEYLESS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", UNKNOWN_OUTCOME)
def test_an_unknown_outcome_is_one_request_and_billed_at_most_once(
    case: str, when: str, vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    vendors.fault(**UNKNOWN_OUTCOME[case], when=when, vendor=vendor, route="create", times=None)
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account(vendor, extra=SHORT_TIMEOUT))
    assert posts(vendors) == len(vendors.requests()) == 1
    assert billed(vendors) == (1 if when == "after" else 0)
    assert clock.slept == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", UNKNOWN_OUTCOME)
def test_apimart_bills_a_resent_request_once(
    case: str, when: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendors.fault(**UNKNOWN_OUTCOME[case], when=when, vendor="apimart", route="create")
    submission = submit(account("apimart", extra=SHORT_TIMEOUT))
    (entry,) = vendors.ledger().entries
    assert entry.task_id == submission.job.task_id
    sent = vendors.requests()
    assert len(sent) == 2
    assert (
        len({visit.body for visit in sent}) == len({visit.headers["Idempotency-Key"] for visit in sent}) == 1
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_apimart_without_a_reply_is_an_unknown_outcome_after_four_requests(
    when: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendors.fault("reset", when=when, vendor="apimart", route="create", times=None)
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account("apimart"))
    assert posts(vendors) == 4
    assert billed(vendors) == (1 if when == "after" else 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_apimarts_idempotency_key_in_use_ends_in_its_job(
    when: str, vendors: Simulator, account: MakeAccount
) -> None:
    body = {"error": {"code": 409, "message": "in flight"}}
    vendors.fault("status", status=409, body=body, when=when, vendor="apimart", route="create", times=2)
    submit(account("apimart"))
    assert billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "fault", [{"kind": "slow_body", "seconds": 1.2}, {"kind": "gzip"}, {"kind": "wrong_content_type"}]
)
def test_a_complete_reply_counts_however_it_was_sent(
    fault: dict[str, Any], vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    # The slow reply takes longer than the timeout, but no single byte of it does.
    vendors.fault(**fault, when="after", vendor=vendor, route="create")
    submission = submit(account(vendor, extra=SHORT_TIMEOUT))
    assert submission.job.task_id == vendors.ledger().entries[0].task_id
    assert posts(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "rate_limit",
    [
        {"status": 429, "headers": {"Retry-After": "23"}},
        {"status": 429, "headers": {"Retry-After": "23"}, "body": "<html>slow down</html>"},
        {"status": 425, "headers": {"Retry-After": "23"}},
        {"status": 200, "headers": {"Retry-After": "23"}, "body": {"code": 429, "message": "slow"}},
    ],
)
def test_a_rate_limited_submission_is_retried_after_retry_after_and_billed_once(
    rate_limit: dict[str, Any], vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    vendors.fault("status", **rate_limit, vendor=vendor, route="create", times=2)
    submit(account(vendor))
    assert posts(vendors) == 3
    assert billed(vendors) == 1
    assert clock.slept == [23, 23]


@pytest.mark.parametrize("retry_after", ["none", "seconds", "date"])
def test_a_submission_beyond_apixos_concurrency_limit_is_retried(
    retry_after: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendors.options(retry_after=retry_after, concurrent_jobs={"apixo": 1}, job_seconds=5)
    hook = account("apixo")
    submit(hook)
    submit(hook, "another cat")
    assert billed(vendors) == 2


def test_a_vendor_that_stays_at_capacity_bills_nothing(vendors: Simulator, account: MakeAccount) -> None:
    vendors.fault("status", status=429, vendor="apixo", route="create", times=None)
    with pytest.raises(RateLimited):
        submit(account("apixo"))
    assert posts(vendors) == 4
    assert billed(vendors) == 0


@pytest.mark.parametrize("code", ["", "no_available_channel"])
def test_a_503_that_means_not_accepted_is_retried(
    code: str, vendors: Simulator, account: MakeAccount
) -> None:
    body = {"error": {"code": code, "message": "No available channel for model"}}
    vendors.fault("status", status=503, body=body, vendor="apixgo", route="create", times=2)
    submit(account("apixgo"))
    assert posts(vendors) == 3
    assert billed(vendors) == 1


def test_a_lasting_503_that_means_not_accepted_costs_nothing(
    vendors: Simulator, account: MakeAccount
) -> None:
    body = {"error": {"code": "", "message": "当前分组 default 下对于模型 x 无可用渠道"}}
    vendors.fault("status", status=503, body=body, vendor="apixgo", route="create", times=None)
    with pytest.raises(VendorUnavailable, match="Nothing was spent"):
        submit(account("apixgo"))


def test_an_unknown_model_is_one_request_and_not_billed(vendors: Simulator, account: MakeAccount) -> None:
    body = {"error": {"code": "model_not_found", "message": "No available channel for model"}}
    vendors.fault("status", status=503, body=body, vendor="apixgo", route="create", times=None)
    with pytest.raises(SubmitRefused, match="Correct the model 'grok-image-video'"):
        submit(account("apixgo"))
    assert posts(vendors) == 1
    assert billed(vendors) == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_wrong_host_is_one_request_and_not_billed(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    vendors.fault("status", status=404, body="<html>nginx</html>", vendor=vendor, route="create", times=None)
    with pytest.raises(WrongEndpoint, match="host"):
        submit(account(vendor))
    assert posts(vendors) == 1
    assert billed(vendors) == 0


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize(
    ("code", "message", "error_class"),
    [
        (400, "bad field", SubmitRefused),
        (400, "Insufficient credits", InsufficientFunds),
        (401, "bad key", BadCredentials),
        (402, "no credit", InsufficientFunds),
        (403, "group not allowed", PermissionDenied),
        (404, "no such model", SubmitRefused),
        (422, "bad value", SubmitRefused),
    ],
)
def test_a_refusal_is_one_request_and_not_billed(
    in_body: bool,
    code: int,
    message: str,
    error_class: type[VidgenError],
    vendor: str,
    vendors: Simulator,
    account: MakeAccount,
) -> None:
    body = {"code": code, "message": message, "data": None}
    fault = {"status": 200 if in_body else code, "body": body}
    vendors.fault("status", **fault, vendor=vendor, route="create", times=None)
    with pytest.raises(error_class) as refusal:
        submit(account(vendor))
    assert type(refusal.value) is error_class
    assert posts(vendors) == 1
    assert billed(vendors) == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_own_refusals_are_recognised(
    vendor: str, vendors: Simulator, account: MakeAccount
) -> None:
    with pytest.raises(InsufficientFunds):
        submit(account(vendor, password="sim-nofunds"))
    with pytest.raises(BadCredentials):
        submit(account(vendor, password="wrong-key"))
    assert billed(vendors) == 0


def test_apixos_refusals_at_http_200_are_refusals(vendors: Simulator, account: MakeAccount) -> None:
    vendors.options(apixo_errors_with_http_200=True)
    with pytest.raises(InsufficientFunds):
        submit(account("apixo", password="sim-nofunds"))
    assert posts(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_invalid_request_is_not_sent(vendor: str, vendors: Simulator, account: MakeAccount) -> None:
    with pytest.raises(InvalidRequest):
        submit(account(vendor), duration=99, resolution="8k")
    assert vendors.requests() == []


@pytest.mark.parametrize("case", ["reset", "no answer", "504", "cut JSON"])
def test_the_synchronous_endpoint_is_never_called_twice(
    case: str, vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.vendors.apimodels._P_VIDEO_READ_TIMEOUT", 0.4)
    vendors.fault(**UNKNOWN_OUTCOME[case], when="after", vendor="apimodels", route="p-video", times=None)
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account("apimodels", extra=SHORT_TIMEOUT), f"{PROMPT} [sim:fast]", model="p-video")
    assert posts(vendors) == billed(vendors) == 1
