# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Apixo, from its document "grok-video" (endpoints, parameters, examples, status fields, error codes, limits).

The model stands in the path of both calls, so a job cannot be asked about without it. What the document
leaves out (limits of the input fields, more failure codes) comes from the vendor's model page and is marked.
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
from airflow_provider_vidgen.vendors.exchange import HttpCall
from airflow_provider_vidgen.vendors.reading import dig, links, nested, number, text
from airflow_provider_vidgen.vendors.refusals import job_unknown
from airflow_provider_vidgen.vendors.rules import ModelRules, is_json_serializable, shown
from airflow_provider_vidgen.vendors.templates import left_over
from airflow_provider_vidgen.vendors.words import normal

_ROUTINGS = ("auto", "value", "official")
_STYLES = ("normal", "fun", "spicy")
_INDICES = range(6)  # vendor's model page

#: Names as in the document and on the vendor's model page, where two spellings of each are in use.
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
        normal(code): category for category, codes in _FAIL_CODES.items() for code in codes
    }
    models: ClassVar[Mapping[str, ModelRules]] = {
        "grok-video": ModelRules(
            as_of=date(2026, 11, 20),
            durations=range(6, 31),  # vendor's model page; the document shows 6 and 10
            ratios=("1:1", "2:3", "3:2", "9:16", "16:9"),  # vendor's model page
            resolutions=("480p", "720p"),
            max_prompt=5000,  # vendor's model page
            images=(0, 1),  # vendor's model page
        )
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Judge continuation, routing and style."""
        found = []
        has_images = self.count_images(request) > 0
        source = request.continue_from
        if source is not None:
            found += _check_continuation(source)
            if has_images:
                found.append(
                    Problem(
                        field="continue_from",
                        value="set together with image_urls",
                        constraint="send either image_urls or continue_from, not both",
                    )
                )
        extra_input = dig(request.extra, "input")
        if extra_input is not None and not isinstance(extra_input, Mapping):
            found.append(
                Problem(field="extra.input", value=type(extra_input).__name__, constraint="must be a mapping")
            )
        if request.routing is not None and request.routing not in _ROUTINGS:
            found.append(
                Problem(
                    field="routing", value=shown(request.routing), constraint=f"one of {', '.join(_ROUTINGS)}"
                )
            )
        if request.style is not None and not (
            isinstance(request.style, str) and is_json_serializable(request.style)
        ):
            found.append(Problem(field="style", value=shown(request.style), constraint="must be text"))
        elif told := left_over(request.style):
            found.append(Problem(field="style", value=told[0], constraint=told[1]))
        elif request.style is not None and request.style not in _STYLES:
            found.append(
                Problem(
                    field="style",
                    value=shown(request.style),
                    constraint=f"the document shows {', '.join(_STYLES)}",
                    is_error=False,
                )
            )
        if request.aspect_ratio is not None and not self.honours_aspect_ratio(request):
            found.append(
                Problem(
                    field="aspect_ratio",
                    value=shown(request.aspect_ratio),
                    constraint="the document shows no ratio with an image; it may follow the image",
                    is_error=False,
                )
            )
        return found

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether there is no image; with one, the document shows no ratio."""
        return not request.image_urls and request.continue_from is None

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call; ``extra`` goes to the top level, its ``input`` into the input."""
        extra = dict(request.extra or {})
        extra_input = extra.pop("input", None) or {}
        from_image = bool(request.image_urls) or request.continue_from is not None
        inputs = {
            "mode": "image-to-video" if from_image else "text-to-video",
            "prompt": request.prompt,
            "duration": request.duration,
            "resolution": request.resolution,
            "aspect_ratio": request.aspect_ratio,
            "image_urls": list(request.image_urls) if request.image_urls else None,
            "task_id": dig(request.continue_from, "task_id"),
            "index": dig(request.continue_from, "index"),
            "style": request.style,
        }
        body = {
            "request_type": "callback" if request.callback_url else "async",
            "callback_url": request.callback_url,
            "provider": request.routing,
        }
        return HttpCall(
            method="POST",
            path=f"/api/v1/generateTask/{quote(request.model, safe='')}",
            body={
                **{key: value for key, value in body.items() if value is not None},
                "input": {
                    **{key: value for key, value in inputs.items() if value is not None},
                    **extra_input,
                },
                **extra,
            },
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call."""
        path = f"/api/v1/statusTask/{quote(job.model, safe='')}"
        return HttpCall(method="GET", path=path, query={"taskId": job.task_id})

    def find_task_id(self, body: Any) -> str:
        """Return ``data.taskId``."""
        return text(dig(body, "data", "taskId"))

    def submit_status(self, body: Any, now: datetime) -> JobStatus:
        """Return queued: the create reply carries no state."""
        return JobStatus(state=JobState.QUEUED, raw_state="")

    def job_status(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status envelope, which the callback shares."""
        data = dig(body, "data")
        if not text(dig(data, "state")):
            return None
        result = nested(dig(data, "resultJson"))
        return self.make_status(
            dig(data, "state"),
            now=now,
            urls=links(dig(result, "resultUrls")) or links(dig(data, "resultUrls")),
            thumbnails=links(dig(result, "thumbnailUrl")),
            created_at=dig(data, "createTime"),
            completed_at=dig(data, "completeTime"),
            duration_seconds=dig(result, "videoDuration"),
            fail_code=dig(data, "failCode"),
            fail_words=dig(data, "failMsg"),
        )

    def is_job_not_found(self, code: int, body: Any) -> bool:
        """Recognise the 404 of the vendor's newer pages, in the document's form of an error."""
        return code == number(dig(body, "code")) == 404 and job_unknown(text(dig(body, "message")))


def _check_continuation(source: Any) -> list[Problem]:
    constraint = '{"task_id": <image job id>, "index": 0 to 5}'
    if not isinstance(source, Mapping) or set(source) != {"task_id", "index"}:
        keys = shown(list(source)) if isinstance(source, Mapping) else type(source).__name__
        return [Problem(field="continue_from", value=keys, constraint=f"must be {constraint}")]
    found = []
    task_id, index = source["task_id"], source["index"]
    if told := left_over(task_id):
        field = "continue_from.task_id"
        found.append(Problem(field=field, value=told[0], constraint=f"must be a job id; {told[1]}"))
    elif not isinstance(task_id, str) or not task_id.strip() or not is_json_serializable(task_id):
        found.append(
            Problem(field="continue_from.task_id", value=shown(task_id), constraint="must be a job id")
        )
    if isinstance(index, bool) or not isinstance(index, int) or index not in _INDICES:
        found.append(Problem(field="continue_from.index", value=shown(index), constraint="must be 0 to 5"))
    return found
