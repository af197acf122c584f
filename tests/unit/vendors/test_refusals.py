# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The cause of a refused submission, from the vendor's code and message: funds, content, capacity."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import PROMPT, VENDORS, read_submit, reply

from airflow_provider_vidgen.errors import (
    BadCredentials,
    Billing,
    ContentRefused,
    InsufficientFunds,
    PermissionDenied,
    SubmitError,
    SubmitOutcomeUnknown,
    VendorUnavailable,
    VidgenError,
)
from tests.support.vendor_replies import error_body

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _error(vendor: str, status: int, body: Any = b"", **headers: str) -> VidgenError:
    result = read_submit(vendor, reply(status, body, **headers))
    assert isinstance(result, SubmitError), result
    return result


def _assert_error(error: VidgenError, kind: type[VidgenError], fatal: bool, billing: Billing) -> None:
    assert type(error) is kind
    assert (error.fatal, error.billing) == (fatal, billing)


# --- funds and content --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [
        ("apimodels", 402, {"code": 402, "msg": "Payment Required", "data": None}),
        ("apimodels", 200, {"code": 402, "msg": "Payment Required", "data": None}),
        ("apixo", 400, {"code": 400, "message": "Insufficient credits", "data": None}),
        ("apixo", 200, {"code": 400, "message": "Insufficient credits", "data": None}),
        ("apixo", 402, {"code": 402, "message": "x", "data": None}),
        ("apixgo", 403, {"error": {"message": "insufficient_user_quota (request id: 1)", "code": ""}}),
        ("apixgo", 403, {"error": {"message": "x", "code": "insufficient_user_quota"}}),
        ("apixgo", 403, {"error": {"message": "用户额度不足, 剩余额度: $0.01", "type": "new_api_error"}}),
        (
            "apixgo",
            403,
            {"error": {"message": "预扣费额度失败, 用户剩余额度: $0.1", "type": "new_api_error"}},
        ),
        ("apixgo", 401, {"error": {"message": "该令牌额度已用尽", "type": "new_api_error", "code": ""}}),
        ("apixgo", 403, {"error": {"message": "x", "code": "pre_consume_token_quota_failed"}}),
        ("apixgo", 403, {"error": {"message": "token quota is not enough", "code": ""}}),
        ("apixgo", 403, {"code": "insufficient_user_quota", "message": "余额不足", "data": None}),
        (
            "apimart",
            402,
            {"error": {"code": 402, "message": "Insufficient balance", "type": "payment_required"}},
        ),
        ("apimart", 402, {"error": {"code": "402", "message": "x"}}),
        ("apimart", 200, {"error": {"code": 402, "message": "x"}}),
        ("apimart", 200, {"error": {"code": "402", "message": "x"}}),
        ("apimart", 403, {"error": "Insufficient balance"}),
        ("apimart", 400, {"success": False, "message": "Insufficient balance"}),
    ],
)
def test_insufficient_funds_are_recognised(vendor: str, status: int, body: Any) -> None:
    _assert_error(_error(vendor, status, body), InsufficientFunds, True, Billing.NOT_SPENT)


def test_a_403_without_words_about_funds_is_a_missing_permission() -> None:
    body = {"error": {"message": "This token has no access to model x", "type": "new_api_error", "code": ""}}
    assert type(_error("apixgo", 403, body)) is PermissionDenied


@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [
        ("apixo", 400, {"code": 400, "message": "CONTENT_VIOLATION", "data": None}),
        ("apimodels", 422, {"code": 422, "msg": "Content policy violation"}),
        ("apixgo", 400, {"error": {"message": "内容违规", "code": ""}}),
        ("apimart", 400, {"error": {"code": 400, "message": "Request violates our content policy"}}),
    ],
)
def test_refused_content_is_recognised(vendor: str, status: int, body: Any) -> None:
    _assert_error(_error(vendor, status, body), ContentRefused, True, Billing.NOT_SPENT)


def test_a_401_is_a_bad_key_whatever_the_message() -> None:
    assert type(_error("apimart", 401, {"error": {"message": "key in violation of terms"}})) is BadCredentials


# --- 503 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "", "message": "No available channel for model x under group default"}},
        {"error": {"code": "", "message": "当前分组 default 下对于模型 x 无可用渠道"}},
        {"error": {"code": "no_available_channel", "message": ""}},
    ],
)
def test_apixgos_503_without_a_channel_means_not_accepted(body: Any) -> None:
    error = _error("apixgo", 503, body)
    _assert_error(error, VendorUnavailable, False, Billing.NOT_SPENT)
    for vendor in ("apimodels", "apixo", "apimart"):
        assert type(_error(vendor, 503, body)) is SubmitOutcomeUnknown


def test_any_other_503_of_apixgo_leaves_the_outcome_unknown() -> None:
    for body in (b"", b"<html>503</html>", {"error": {"code": "do_request_failed", "message": "upstream"}}):
        assert type(_error("apixgo", 503, body)) is SubmitOutcomeUnknown
    # With a 500 the same message proves nothing: the relay sends 500 if it lost its upstream.
    body = {"error": {"code": "model_not_found", "message": ""}}
    assert type(_error("apixgo", 500, body)) is SubmitOutcomeUnknown


# --- the vendor's own message -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "body", "code", "message"),
    [
        ("apimodels", {"code": 400, "msg": "aspect_ratio is invalid"}, "400", "aspect_ratio is invalid"),
        (
            "apixo",
            {"code": 400, "message": "Bad", "data": {"error": "Missing input.prompt"}},
            "400",
            "Missing input.prompt",
        ),
        ("apixgo", {"error": {"code": "bad", "message": "prompt is required"}}, "bad", "prompt is required"),
        ("apimart", {"error": {"code": 400, "message": "bad duration"}}, "400", "bad duration"),
        ("apimart", {"error": {"code": "invalid_duration", "message": "4/6/8"}}, "invalid_duration", "4/6/8"),
        ("apimart", {"error": "bad request"}, "", "bad request"),
        ("apimart", {"success": False, "message": "no"}, "", "no"),
    ],
)
def test_the_vendors_code_and_message_are_kept(vendor: str, body: Any, code: str, message: str) -> None:
    error = _error(vendor, 400, body)
    assert (error.vendor_code, error.vendor_message) == (code, message)
    assert message in str(error)


@_every_vendor
def test_the_vendors_message_is_redacted(vendor: str) -> None:
    message = f"Cannot use '{PROMPT}' with https://s3.example.com/a?sig=abc and Bearer sk-1234567890"
    error = _error(vendor, 400, error_body(vendor, f"https://s3.example.com/?sig=abc {PROMPT}"[:40], message))
    for hidden in (PROMPT, "sig=abc", "sk-1234567890"):
        assert hidden not in str(error)
        assert hidden not in repr(error)
    assert "Cannot use" in str(error)
    assert "https://s3.example.com/***" in error.vendor_message
