# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
APIMart, from its document on ``grok-imagine-1.0-video-apimart`` (in German).

The document names the status endpoint and does not show it; that, the other shapes of the create reply and
the ``Idempotency-Key`` come from the vendor's newer pages and its own client.
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
from airflow_provider_vidgen.vendors.exchange import HttpCall
from airflow_provider_vidgen.vendors.reading import dig, first, links, number, text
from airflow_provider_vidgen.vendors.refusals import job_unknown
from airflow_provider_vidgen.vendors.rules import ModelRules, shown


class ApiMart(Vendor):
    """``POST /v1/videos/generations``, ``GET /v1/tasks/{id}``."""

    name = "apimart"
    label = "APIMart"
    default_base_url = "https://api.apimart.ai"
    #: The document advises nothing; clients wait 10 s first and then ask more often than need be.
    schedule = Schedule(first_delay=10, interval=5, max_interval=10)
    #: The document is silent; the newer pages say 24 h, and the status reply mostly tells itself.
    retention = timedelta(hours=24)
    #: The pages do not say how long a key is remembered, so nothing is built on more than an hour.
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
            ratios=("16:9", "9:16", "1:1", "3:2", "2:3"),
            resolutions=("480p", "720p"),
            images=(0, 7),
        )
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Warn of a ratio that a reference image overrides."""
        if request.aspect_ratio is None or self.honours_aspect_ratio(request):
            return []
        return [
            Problem(
                field="aspect_ratio",
                value=shown(request.aspect_ratio),
                constraint="has no effect with image_urls: the video follows the image",
                is_error=False,
            )
        ]

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether there is no image: the document says that the ratio is adapted to the image's."""
        return not request.image_urls

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call; under the same key the vendor takes the same request once."""
        body = {
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
            body={
                **{key: value for key, value in body.items() if value is not None},
                **(request.extra or {}),
            },
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call of the vendor's newer pages."""
        return HttpCall(method="GET", path=f"/v1/tasks/{quote(job.task_id, safe='')}")

    def find_task_id(self, body: Any) -> str:
        """Return the id from any of the three shapes in use: object, list, and a flat one."""
        data = _data(body)
        return text(first(data, ("task_id",), ("id",))) or text(first(body, ("task_id",), ("id",)))

    def submit_status(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply."""
        return self.job_status(body, now) or self.make_status("submitted", now=now)

    def job_status(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply; links come as text or as lists, under ``videos`` or ``images``."""
        data = _data(body)
        if not text(dig(data, "status")):
            return None
        results = first(data, ("result", "videos"), ("result", "images"))
        error = dig(data, "error")
        return self.make_status(
            dig(data, "status"),
            now=now,
            urls=links(results),
            thumbnails=links(first(data, ("result", "thumbnail_url"), ("result", "thumbnail"))),
            progress=dig(data, "progress"),
            created_at=dig(data, "created"),
            completed_at=dig(data, "completed"),
            expires_at=first(results, (0, "expires_at"), ("expires_at",)),
            cost=_cost(data),
            fail_code=dig(error, "code"),
            fail_words=error if isinstance(error, str) else dig(error, "message"),
        )

    def is_job_not_found(self, code: int, body: Any) -> bool:
        """Recognise a 404 in either form of the vendor's errors, flat or below ``error``."""
        error = dig(body, "error") if isinstance(dig(body, "error"), Mapping) else body
        own = dig(error, "code")
        named = number(own) == 404 or (error is not body and number(own) is None and bool(text(own)))
        return code == 404 and named and job_unknown(text(dig(error, "message")))


def _data(body: Any) -> Any:
    data = dig(body, "data")
    return dig(data, 0) if isinstance(data, list) else data


def _cost(data: Any) -> Cost | None:
    for field, currency in (("credits_cost", "credits"), ("cost", "USD")):
        amount = number(dig(data, field))
        if amount is not None:
            return Cost(amount=amount, currency=currency, basis="reported")
    return None
