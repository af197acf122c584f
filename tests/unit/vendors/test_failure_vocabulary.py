# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The failure category of a job, from the vendor's code and message in every known spelling."""

from __future__ import annotations

from typing import Any

import pytest
from vendor_case import VENDORS, read_status, reply

from airflow_provider_vidgen.models import FailureCategory, JobStatus
from tests.support.vendor_replies import LINK, failure_data, status_body

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _status(vendor: str, state: Any, **data: Any) -> JobStatus:
    status = read_status(vendor, reply(200, status_body(vendor, state, **data)))
    assert isinstance(status, JobStatus), status
    return status


@pytest.mark.parametrize(
    ("category", "code", "message"),
    [
        ("content_policy", "CONTENT_VIOLATION", "x"),
        ("content_policy", "NSFW_DETECTED", "x"),
        ("content_policy", "SensitiveContentDetected", "x"),
        ("content_policy", "InputImageSensitiveContentDetected", "x"),
        ("content_policy", "ProhibitedContentDetected", "image_url"),
        ("content_policy", "prohibited_content_detected", "x"),
        ("content_policy", "GENERATION_FAILED", "Blocked by moderation"),
        ("content_policy", "", "Content does not meet safety guidelines"),
        ("invalid_input", "INVALID_IMAGE_URL", "x"),
        ("invalid_input", "InvalidImageUrl", "x"),
        ("invalid_input", "INVALID_TASK_ID", "x"),
        ("invalid_input", "PROMPT_TOO_LONG", "x"),
        ("invalid_input", "PromptTooLong", "x"),
        ("invalid_input", "IMAGE_TOO_LARGE", "x"),
        ("invalid_input", "UNSUPPORTED_FORMAT", "x"),
        ("invalid_input", "IMAGE_DOWNLOAD_FAILED", "timeout"),
        ("vendor_timeout", "PROCESSING_TIMEOUT", "x"),
        ("vendor_timeout", "ProcessingTimeout", "x"),
        ("capacity", "MODEL_UNAVAILABLE", "x"),
        ("insufficient_funds", "INSUFFICIENT_CREDITS", "x"),
        ("internal", "GENERATION_FAILED", "x"),
        ("internal", "SOMETHING_NEW", "x"),
        ("internal", "", ""),
    ],
)
def test_apixos_failure_codes_are_classified_in_both_spellings(
    category: str, code: str, message: str
) -> None:
    status = _status("apixo", "failed", **failure_data("apixo", message, code))
    assert status.failure is not None
    assert (status.failure.category, status.failure.code, status.failure.message) == (category, code, message)


@_every_vendor
@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("Content policy violation", "content_policy"),
        ("The prompt violates our usage rules", "content_policy"),
        ("flagged as NSFW", "content_policy"),
        ("提示词包含敏感内容", "content_policy"),
        ("Image URL could not be fetched: HTTP status 400", "invalid_input"),
        ("Fetching image timed out", "invalid_input"),
        ("任务超时", "vendor_timeout"),
        ("upstream timed out after 600 s", "vendor_timeout"),
        ("request rate limit reached", "capacity"),
        ("Too Many Requests", "capacity"),
        ("Model is overloaded", "capacity"),
        ("Insufficient credits", "insufficient_funds"),
        ("用户额度不足", "insufficient_funds"),
        ("Internal error", "internal"),
        ("", "internal"),
    ],
)
def test_the_message_of_a_failed_job_is_classified(vendor: str, message: str, category: str) -> None:
    status = _status(vendor, "failed", **failure_data(vendor, message))
    assert status.failure is not None
    assert (status.failure.category, status.failure.message) == (category, message)


def test_apimarts_error_may_be_an_object_with_any_code_or_text() -> None:
    for error, code, message, category in (
        ({"code": 500, "message": "content policy"}, "500", "content policy", "content_policy"),
        ({"code": "rate_limit", "message": "later"}, "rate_limit", "later", "capacity"),
        ("Too many requests", "", "Too many requests", "capacity"),
        (None, "", "", "internal"),
        (["x"], "", "", "internal"),
    ):
        failure = _status("apimart", "failed", error=error).failure
        assert failure is not None
        assert (failure.code, failure.message, failure.category) == (code, message, category)


@_every_vendor
def test_a_cancelled_job_has_its_own_failure_category(vendor: str) -> None:
    failure = _status(vendor, "cancelled", **failure_data(vendor, "by the user")).failure
    assert failure is not None
    assert (failure.category, failure.message) == (FailureCategory.CANCELLED, "by the user")


@_every_vendor
def test_the_message_of_a_failed_job_is_redacted(vendor: str) -> None:
    message = f"无法访问{LINK}?sig=abc data:image/png;base64,QUJD"
    failure = _status(vendor, "failed", **failure_data(vendor, message)).failure
    assert failure is not None
    assert failure.message == "无法访问https://cdn.example.com/*** data:***"
