# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
APIMart, from its document on ``grok-imagine-1.0-video-apimart`` (in German).

The document names the status endpoint without showing its reply; that reply, the other forms of the create
reply and the ``Idempotency-Key`` come from the vendor's newer pages and its own client. So do ``cost`` and
``credits_cost`` of a finished job. The document has no price, and the prices that others name for the model
differ by a factor of two, so there is no estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import Cost, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall, build_body
from airflow_provider_vidgen.vendors.parsing import (
    collect_urls,
    get_first,
    get_path,
    parse_amount,
    parse_number,
    parse_text,
)
from airflow_provider_vidgen.vendors.refusals import is_job_not_found_message
from airflow_provider_vidgen.vendors.request_values import preview
from airflow_provider_vidgen.vendors.validation import ModelRules


class ApiMart(Vendor):
    """``POST /v1/videos/generations``, ``GET /v1/tasks/{id}``."""

    name = "apimart"
    label = "APIMart"
    default_base_url = "https://api.apimart.ai"
    #: The document recommends nothing; clients wait 10 s first, then check more often than necessary.
    schedule = Schedule(first_delay=10, interval=5, max_interval=10)
    #: From the newer pages; the status reply usually has an ``expires_at`` of its own.
    retention = timedelta(hours=24)
    #: The pages do not document how long a key is remembered; an hour is assumed.
    idempotency_window = timedelta(hours=1)
    mapped_fields: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "prompt": "prompt",
        "image_urls": "image_urls",
        "size": "aspect_ratio",
        "duration": "duration",
        "quality": "resolution",
    }
    models: ClassVar[Mapping[str, ModelRules]] = {
        "grok-imagine-1.0-video-apimart": ModelRules(
            as_of=date(2026, 11, 20),
            durations=range(6, 31),
            aspect_ratios=("16:9", "9:16", "1:1", "3:2", "2:3"),
            resolutions=("480p", "720p"),
            image_count=(0, 7),
        )
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Warn of an aspect ratio that a reference image overrides."""
        if request.aspect_ratio is None or self.honours_aspect_ratio(request):
            return []
        return [
            Problem(
                field="aspect_ratio",
                value=preview(request.aspect_ratio),
                constraint="has no effect with image_urls: the video follows the image",
                is_error=False,
            )
        ]

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether there is no image: by the document, the video takes the ratio of an image."""
        return not request.image_urls

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call; the vendor creates one job per idempotency key."""
        fields = {
            "model": request.model,
            "prompt": request.prompt,
            "image_urls": list(request.image_urls) if request.image_urls else None,
            "size": request.aspect_ratio,
            "duration": request.duration,
            "quality": request.resolution,
        }
        return HttpCall(
            method="POST",
            path="/v1/videos/generations",
            headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
            body=build_body(fields, request.extra),
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call of the vendor's newer pages."""
        return HttpCall(method="GET", path=f"/v1/tasks/{quote(job.task_id, safe='')}")

    def find_task_id(self, body: Any) -> str:
        """Return the id from any of the three forms in use: ``data`` as object or list, or a flat reply."""
        data = _data(body)
        paths = (("task_id",), ("id",))
        return parse_text(get_first(data, *paths)) or parse_text(get_first(body, *paths))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply."""
        return self.read_status_body(body, now) or self.build_status("submitted", now=now)

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply; links are text or lists, below ``videos`` or ``images``."""
        data = _data(body)
        if not parse_text(get_path(data, "status")):
            return None
        thumbnails = get_first(data, ("result", "thumbnail_url"), ("result", "thumbnail"))
        results = get_first(data, ("result", "videos"), ("result", "images"))
        error = get_path(data, "error")
        return self.build_status(
            get_path(data, "status"),
            now=now,
            result_urls=collect_urls(results),
            thumbnail_urls=collect_urls(thumbnails),
            progress=get_path(data, "progress"),
            created_at=get_path(data, "created"),
            completed_at=get_path(data, "completed"),
            expires_at=get_first(results, (0, "expires_at"), ("expires_at",)),
            cost=_cost(data),
            fail_code=get_path(error, "code"),
            fail_message=error if isinstance(error, str) else get_path(error, "message"),
        )

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise code 404 in either form of the vendor's errors, flat or below ``error``."""
        error = get_path(body, "error") if isinstance(get_path(body, "error"), Mapping) else body
        code = get_path(error, "code")
        number = parse_number(code)
        # Below ``error`` the code may be a name, such as "task_not_found".
        has_code = number == 404 or (error is not body and number is None and bool(parse_text(code)))
        message = parse_text(get_path(error, "message"))
        return status_code == 404 and has_code and is_job_not_found_message(message)


def _data(body: Any) -> Any:
    data = get_path(body, "data")
    return get_path(data, 0) if isinstance(data, list) else data


def _cost(data: Any) -> Cost | None:
    """Return the cost in dollars, which add up with those of other vendors, or else in credits."""
    costs = [
        Cost(amount=amount, currency=currency, basis="reported")
        for field, currency in (("cost", "USD"), ("credits_cost", "credits"))
        if (amount := parse_amount(get_path(data, field))) is not None
    ]
    # A zero next to an amount is a field that was not filled in.
    return max(costs, key=lambda cost: cost.amount > 0, default=None)
