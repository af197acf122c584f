# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Apixo, from its document "grok-video" (endpoints, parameters, examples, status fields, error codes, limits).

The model is part of the path of both calls, so a status call needs it, too. What the document leaves out
(limits of the input fields, more failure codes) comes from the vendor's model page and is marked. The
document has no price, only that 480p with 6 seconds is the cheapest, and no reply has a cost: ``costTime`` is
a duration in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import FailureCategory, JobState, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall, build_body
from airflow_provider_vidgen.vendors.parsing import (
    collect_urls,
    get_path,
    parse_nested_json,
    parse_number,
    parse_text,
)
from airflow_provider_vidgen.vendors.refusals import is_job_not_found_message
from airflow_provider_vidgen.vendors.request_values import (
    find_template_leftover,
    is_json_serializable,
    preview,
)
from airflow_provider_vidgen.vendors.validation import ModelRules
from airflow_provider_vidgen.vendors.vocabulary import normalize

_ROUTINGS = ("auto", "value", "official")
_STYLES = ("normal", "fun", "spicy")
_INDICES = range(6)  # vendor's model page

#: From the document and the vendor's model page, which use two spellings of each.
_FAIL_CODES = {
    FailureCategory.CONTENT_POLICY: (
        "CONTENT_VIOLATION",
        "NSFW_DETECTED",
        "SensitiveContentDetected",
        "InputImageSensitiveContentDetected",
        "ProhibitedContentDetected",
    ),
    FailureCategory.INVALID_INPUT: (
        "INVALID_IMAGE_URL",
        "INVALID_TASK_ID",
        "PROMPT_TOO_LONG",
        "IMAGE_TOO_LARGE",
        "UNSUPPORTED_FORMAT",
        "IMAGE_DOWNLOAD_FAILED",
    ),
    FailureCategory.VENDOR_TIMEOUT: ("PROCESSING_TIMEOUT",),
    FailureCategory.CAPACITY: ("MODEL_UNAVAILABLE",),
    FailureCategory.INSUFFICIENT_FUNDS: ("INSUFFICIENT_CREDITS",),
}


class Apixo(Vendor):
    """``POST /api/v1/generateTask/{model}``, ``GET /api/v1/statusTask/{model}?taskId=``."""

    name = "apixo"
    label = "Apixo"
    default_base_url = "https://api.apixo.ai"
    #: "Submit task, wait about 30 seconds, then poll every 5 seconds"; 15 s is the newer page's interval.
    schedule = Schedule(first_delay=30, interval=5, max_interval=15)
    retention = timedelta(days=15)
    requests_per_minute = 60
    max_concurrent = 10
    mapped_fields: ClassVar[Mapping[str, str]] = {
        "request_type": "callback_url",
        "callback_url": "callback_url",
        "provider": "routing",
        "input.mode": "image_urls",
        "input.prompt": "prompt",
        "input.duration": "duration",
        "input.resolution": "resolution",
        "input.aspect_ratio": "aspect_ratio",
        "input.image_urls": "image_urls",
        "input.task_id": "continue_from",
        "input.index": "continue_from",
        "input.style": "style",
    }
    fail_codes: ClassVar[Mapping[str, FailureCategory]] = {
        normalize(code): category for category, codes in _FAIL_CODES.items() for code in codes
    }
    models: ClassVar[Mapping[str, ModelRules]] = {
        "grok-video": ModelRules(
            as_of=date(2026, 11, 20),
            durations=range(6, 31),  # vendor's model page; the document shows 6 and 10
            aspect_ratios=("1:1", "2:3", "3:2", "9:16", "16:9"),  # vendor's model page
            resolutions=("480p", "720p"),
            max_prompt_length=5000,  # vendor's model page
            image_count=(0, 1),  # vendor's model page
        )
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Validate continuation, routing and style."""
        problems = []
        has_images = self.count_images(request) > 0
        source = request.continue_from
        if source is not None:
            problems += _validate_continuation(source)
            if has_images:
                problems.append(
                    Problem(
                        field="continue_from",
                        value="set together with image_urls",
                        constraint="send either image_urls or continue_from, not both",
                    )
                )
        extra_input = get_path(request.extra, "input")
        if extra_input is not None and not isinstance(extra_input, Mapping):
            problems.append(
                Problem(field="extra.input", value=type(extra_input).__name__, constraint="must be a mapping")
            )
        if request.routing is not None and request.routing not in _ROUTINGS:
            constraint = f"one of {', '.join(_ROUTINGS)}"
            problems.append(Problem(field="routing", value=preview(request.routing), constraint=constraint))
        if request.style is not None:
            problems += _validate_style(request.style)
        if request.aspect_ratio is not None and not self.honours_aspect_ratio(request):
            problems.append(
                Problem(
                    field="aspect_ratio",
                    value=preview(request.aspect_ratio),
                    constraint="the document shows no ratio with an image; it may follow the image",
                    is_error=False,
                )
            )
        return problems

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether there is no image; with one, the document shows no ratio."""
        return not request.image_urls and request.continue_from is None

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call; ``extra`` is added at the top level, its ``input`` within ``input``."""
        extra = dict(request.extra or {})
        extra_input = extra.pop("input", None) or {}
        from_image = bool(request.image_urls) or request.continue_from is not None
        input_fields = {
            "mode": "image-to-video" if from_image else "text-to-video",
            "prompt": request.prompt,
            "duration": request.duration,
            "resolution": request.resolution,
            "aspect_ratio": request.aspect_ratio,
            "image_urls": list(request.image_urls) if request.image_urls else None,
            "task_id": get_path(request.continue_from, "task_id"),
            "index": get_path(request.continue_from, "index"),
            "style": request.style,
        }
        fields = {
            "request_type": "callback" if request.callback_url else "async",
            "callback_url": request.callback_url,
            "provider": request.routing,
        }
        return HttpCall(
            method="POST",
            path=f"/api/v1/generateTask/{quote(request.model, safe='')}",
            body=build_body({**fields, "input": build_body(input_fields, extra_input)}, extra),
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call."""
        path = f"/api/v1/statusTask/{quote(job.model, safe='')}"
        return HttpCall(method="GET", path=path, query={"taskId": job.task_id})

    def find_task_id(self, body: Any) -> str:
        """Return ``data.taskId``."""
        return parse_text(get_path(body, "data", "taskId"))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Return queued: the create reply has no state."""
        return JobStatus(state=JobState.QUEUED, raw_state="")

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply, which has the same form as the callback."""
        data = get_path(body, "data")
        if not parse_text(get_path(data, "state")):
            return None
        result = parse_nested_json(get_path(data, "resultJson"))
        urls = collect_urls(get_path(result, "resultUrls")) or collect_urls(get_path(data, "resultUrls"))
        return self.build_status(
            get_path(data, "state"),
            now=now,
            result_urls=urls,
            thumbnail_urls=collect_urls(get_path(result, "thumbnailUrl")),
            created_at=get_path(data, "createTime"),
            completed_at=get_path(data, "completeTime"),
            duration_seconds=get_path(result, "videoDuration"),
            fail_code=get_path(data, "failCode"),
            fail_message=get_path(data, "failMsg"),
        )

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise the 404 of the vendor's newer pages, in the document's form of an error."""
        message = parse_text(get_path(body, "message"))
        is_404 = status_code == parse_number(get_path(body, "code")) == 404
        return is_404 and is_job_not_found_message(message)


def _validate_style(style: Any) -> list[Problem]:
    if not isinstance(style, str) or not is_json_serializable(style):
        return [Problem(field="style", value=preview(style), constraint="must be text")]
    if leftover := find_template_leftover(style):
        return [Problem(field="style", value=leftover.preview, constraint=leftover.hint)]
    if style in _STYLES:
        return []
    constraint = f"the document shows {', '.join(_STYLES)}"
    return [Problem(field="style", value=preview(style), constraint=constraint, is_error=False)]


def _validate_continuation(source: Any) -> list[Problem]:
    constraint = '{"task_id": <image job id>, "index": 0 to 5}'
    if not isinstance(source, Mapping) or set(source) != {"task_id", "index"}:
        keys = preview(list(source)) if isinstance(source, Mapping) else type(source).__name__
        return [Problem(field="continue_from", value=keys, constraint=f"must be {constraint}")]
    problems = []
    task_id, index = source["task_id"], source["index"]
    if leftover := find_template_leftover(task_id):
        constraint = f"must be a job id; {leftover.hint}"
        problems.append(Problem(field="continue_from.task_id", value=leftover.preview, constraint=constraint))
    elif not isinstance(task_id, str) or not task_id.strip() or not is_json_serializable(task_id):
        problems.append(
            Problem(field="continue_from.task_id", value=preview(task_id), constraint="must be a job id")
        )
    if isinstance(index, bool) or not isinstance(index, int) or index not in _INDICES:
        constraint = "must be 0 to 5"
        problems.append(Problem(field="continue_from.index", value=preview(index), constraint=constraint))
    return problems
