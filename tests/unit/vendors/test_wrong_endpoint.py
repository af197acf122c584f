# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A refusal names what to correct: the request, its model, or the connection's host and vendor."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import MODELS, VENDORS, read_submit, reply

from airflow_provider_vidgen import errors
from airflow_provider_vidgen.errors import (
    Billing,
    ContentRefused,
    InsufficientFunds,
    PermissionDenied,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
    VidgenError,
)
from tests.support.vendor_replies import error_body

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)
_HTML = b"\n<!doctype html><title>Welcome</title>"


def _error(vendor: str, status: int, body: Any = b"", **fields: Any) -> VidgenError:
    result = read_submit(vendor, reply(status, body), **fields)
    assert isinstance(result, VidgenError), result
    return result


# --- the connection -------------------------------------------------------------------------------------


@_every_vendor
@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"404 page not found",
        _HTML,
        {"detail": "Not Found"},
        {"message": "no Route matched with those values"},
        {"timestamp": "2026-11-20", "status": 404, "error": "Not Found", "path": "/v1/videos"},
        {"statusCode": 404, "message": "Cannot POST /v1/videos", "error": "Not Found"},
        {"error": {"message": "Invalid URL (POST /v1/videos)", "type": "invalid_request_error", "code": ""}},
        {"code": 404, "message": "The requested path does not exist", "msg": "Route not found"},
        {"code": 405, "message": "Method Not Allowed", "msg": "Method Not Allowed"},
    ],
)
def test_a_reply_of_another_host_is_a_wrong_endpoint(vendor: str, status: int, body: Any) -> None:
    error = _error(vendor, status, body)
    assert type(error) is errors.WrongEndpoint
    assert (error.fatal, error.billing) == (True, Billing.NOT_SPENT)
    assert "Check the connection's vendor and host" in str(error)
    assert "Correct the request" not in str(error)


@_every_vendor
@pytest.mark.parametrize("status", [400, 415, 422])
def test_an_html_page_is_a_wrong_endpoint(vendor: str, status: int) -> None:
    assert type(_error(vendor, status, _HTML)) is errors.WrongEndpoint
    assert type(_error(vendor, status, {"detail": [{"msg": "field required"}]})) is SubmitRefused


@_every_vendor
def test_an_html_page_may_still_be_about_the_key_or_the_size(vendor: str) -> None:
    for status in (401, 402, 403, 413):
        assert type(_error(vendor, status, _HTML)) is type(
            _error(vendor, status, error_body(vendor, status, "no"))
        )


@_every_vendor
@pytest.mark.parametrize("status", [200, 201, 500, 502, 503, 504])
def test_an_html_page_with_any_other_status_leaves_the_outcome_unknown(vendor: str, status: int) -> None:
    assert type(_error(vendor, status, _HTML)) is SubmitOutcomeUnknown


@_every_vendor
def test_the_vendors_own_404_and_405_are_about_the_request(vendor: str) -> None:
    for status in (404, 405):
        error = _error(vendor, status, error_body(vendor, status, "this input cannot be used"))
        assert type(error) is SubmitRefused
        assert "Correct the request" in str(error)


@_every_vendor
def test_funds_and_content_take_precedence(vendor: str) -> None:
    assert type(_error(vendor, 404, {"message": "Insufficient credits"})) is InsufficientFunds
    assert type(_error(vendor, 404, {"message": "content policy violation"})) is ContentRefused


# --- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 503])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "model_not_found", "message": "x (request id: 1)", "type": "new_api_error"}},
        {"error": {"code": "model_not_found", "message": "No available channel for model x"}},
        {"code": "model_not_found", "message": "", "data": None},
    ],
)
def test_a_model_that_apixgo_does_not_know_is_named(status: int, body: Any) -> None:
    error = _error("apixgo", status, body, model="grok-vidoe")
    assert type(error) is SubmitRefused
    assert (error.fatal, error.billing) == (True, Billing.NOT_SPENT)
    assert "Correct the model 'grok-vidoe'" in str(error)
    assert "list_models()" in str(error)


@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [
        ("apimodels", 400, {"code": 400, "msg": "Invalid model", "data": None}),
        ("apixo", 404, {"code": 404, "message": "Model not found: grok-vidoe", "data": None}),
        ("apixo", 200, {"code": 404, "message": "Model not found: grok-vidoe", "data": None}),
        (
            "apixgo",
            404,
            {"error": {"code": "model_not_found", "message": "x", "type": "invalid_request_error"}},
        ),
        (
            "apimart",
            404,
            {"error": {"code": 404, "message": "model grok-vidoe not found", "type": "not_found"}},
        ),
        ("apimart", 400, {"error": {"code": 400, "message": "The model `grok-vidoe` does not exist"}}),
        ("apimart", 400, {"error": {"code": 400, "message": "模型 grok-vidoe 不存在"}}),
    ],
)
def test_a_model_that_any_vendor_does_not_know_is_named(vendor: str, status: int, body: Any) -> None:
    error = _error(vendor, status, body, model="grok-vidoe")
    assert type(error) is SubmitRefused
    assert "Correct the model 'grok-vidoe'" in str(error)


@pytest.mark.parametrize(
    ("vendor", "status", "message", "error_class"),
    [
        ("apixgo", 503, "No available channel for model grok-image-video", VendorUnavailable),
        ("apixgo", 403, "This token has no access to model grok-image-video", PermissionDenied),
        ("apixo", 400, "input.duration is not supported by model grok-video", SubmitRefused),
        ("apimart", 500, "model not found", SubmitOutcomeUnknown),
        ("apimart", 503, "model not found", SubmitOutcomeUnknown),
    ],
)
def test_other_errors_do_not_blame_the_model(
    vendor: str, status: int, message: str, error_class: type[VidgenError]
) -> None:
    error = _error(vendor, status, error_body(vendor, "", message))
    assert type(error) is error_class
    assert f"Correct the model {MODELS[vendor]!r}" not in str(error)


def test_an_error_without_a_next_step_has_that_of_its_class() -> None:
    assert SubmitRefused("x").next_step == SubmitRefused.next_step
    assert SubmitRefused("x", next_step="Do this.").next_step == "Do this."
