# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A job whose content was rejected is not submitted again.

If it were taken for the vendor's own failure, each automatic retry would submit it again, and perhaps pay.
The opposite mistake ends the retries and costs nothing, so ambiguous words count as rejected content.
Technical messages in similar words do not.
"""

from __future__ import annotations

import pytest
from vendor_case import VENDORS, read_status, read_submit, reply

from airflow_provider_vidgen.errors import ContentRejected, PermissionDenied, SubmitRefused, generation_failed
from airflow_provider_vidgen.models import Failure, JobStatus
from tests.support.vendor_replies import error_body, failure_data, status_body

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)

_REJECTED = [
    # the vendors' documents and pages
    "Content policy violation",
    "Content does not meet safety guidelines",
    "content policy",
    "not allowed",
    "Request not allowed",
    # the models behind them, and relays
    "Generated video rejected by content moderation.",
    "imagine:content-moderated",
    "Content moderated. Try a different idea.",
    "Your request was rejected as a result of our safety system.",
    "moderation_blocked",
    "This request has been blocked by our content filters.",
    "The prompt was rejected",
    "This content is not permitted",
    "This content can't be generated: topic isn't allowed",
    "This prompt may violate our usage policies",
    "Video blocked due to inappropriate content",
    "Prohibited use of the service",
    "PROHIBITED_CONTENT",
    "PUBLIC_ERROR_UNSAFE_GENERATION",
    "PUBLIC_ERROR_PROMINENT_PEOPLE_FILTER_FAILED",
    "The generated images appear to be unsafe. Try modifying the prompts or the seeds.",
    "The content could not be processed because it contained material flagged by a content checker.",
    "The request failed because the output video may contain sensitive information.",
    "The request failed because the output video may be related to copyright restrictions.",
    "InputTextSensitiveContentDetected",
    "OutputVideoSensitiveContentDetected.PolicyViolation",
    "DataInspectionFailed: Input data may contain inappropriate content.",
    "Green net check failed for input text",
    "input new_sensitive",
    "Video generation disallowed for real people",
    "The image shows a celebrity or their likeness",
    "Could not generate videos based on the prompt provided. Try rephrasing the prompt.",
    "The words of the prompt violate Vertex AI's usage guidelines: responsible AI practices",
    "does not comply with our terms of service",
    "Your image was flagged as sexual",
    "该提示可能违反了关于裸露、色情或情色内容的防护限制",
    "提示词或生成结果被上游内容审核拦截",
    "内容审核不通过",
    "图片审核未通过",
    "触发平台的内容安全策略",
    "该内容不允许生成",
    "请求被拒绝",
    "包含违禁词",
]
_OTHER_FAILURES = {
    "internal": [
        "",
        "Internal error",
        "generation failed",
        "method not allowed",
        "405 Not Allowed",
        "HTTP 405 (Method Not Allowed) from upstream",
        "[Errno 1] Operation not permitted",
        "Inappropriate ioctl for device",
        'duplicate key value violates unique constraint "jobs_pkey"',
        "Foreign key constraint violation",
        "Access violation at address 0x0",
        "The connection was rejected by the upstream",
        "connection refused",
        "blocked by another transaction",
        "query blocked for 30 s",
        "request to the upstream was blocked by Cloudflare",
        "retry policy exhausted after 3 attempts",
        "restart policy: never",
        "CORS policy",
        "no space left on device",
        "CUDA out of memory",
        "unhandled promise rejection",
        "upstream returned 502",
        "thread safety assertion",
        "连接被拒绝",
        "生成失败",
    ],
    "capacity": [
        "rate limit policy",
        "Request was rejected: rate limit reached",
        "request rejected, the queue is full",
        "system busy",
        "当前分组负载已饱和，请稍后再试",
        "系统繁忙",
    ],
    "vendor_timeout": ["the task was rejected: timed out in the queue", "任务超时"],
    "invalid_input": [
        "private/reserved IP addresses not allowed",
        "duration 7 is not allowed",
        "resolution 4k isn't supported",
        "Additional properties are not allowed",
        "Extra inputs are not permitted",
        "Fetching image failed with HTTP status 403 Forbidden",
    ],
    "insufficient_funds": ["Request rejected: insufficient credits", "用户额度不足，请求被拒绝"],
}


def _failure(vendor: str, message: str, code: str = "") -> Failure:
    state = "FAILURE" if vendor == "apixgo" else "failed"
    status = read_status(
        vendor, reply(200, status_body(vendor, state, **failure_data(vendor, message, code)))
    )
    assert isinstance(status, JobStatus)
    assert status.failure is not None
    return status.failure


@_every_vendor
@pytest.mark.parametrize("message", _REJECTED)
def test_rejected_content_is_never_retried(vendor: str, message: str) -> None:
    for code in ("", "500", "GENERATION_FAILED"):
        error = generation_failed(_failure(vendor, message, code))
        assert type(error) is ContentRejected, code
        assert error.fatal


@_every_vendor
@pytest.mark.parametrize(
    ("message", "category"),
    [(message, category) for category, messages in _OTHER_FAILURES.items() for message in messages],
)
def test_other_failures_are_not_taken_for_rejected_content(vendor: str, message: str, category: str) -> None:
    for code in ("", "500"):
        assert _failure(vendor, message, code).category == category, code


@_every_vendor
def test_a_refused_submission_with_ambiguous_words_is_not_taken_for_rejected_content(vendor: str) -> None:
    """Nothing was paid and nothing is retried, so a guess would only make the advice worse."""
    assert (
        type(read_submit(vendor, reply(403, error_body(vendor, 403, "group not allowed"))))
        is PermissionDenied
    )
    for message in ("Extra inputs are not permitted", "parameter seed is prohibited", "field not allowed"):
        assert type(read_submit(vendor, reply(400, error_body(vendor, 400, message)))) is SubmitRefused
