# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Apixgo, from its document "Developer Docs / Video Generation" (in Chinese).

The create reply is flat, the status reply is an envelope whose ``code`` is the text ``"success"`` even when
the job failed. Facts from the relay software that this vendor family runs are marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.exchange import HttpCall, vendor_code, vendor_message
from airflow_provider_vidgen.vendors.reading import dig, first, links, text
from airflow_provider_vidgen.vendors.rules import ModelRules
from airflow_provider_vidgen.vendors.words import normal

_READ = date(2026, 11, 20)
_GENERATIONS = "/v1/video/generations"
_RESOLUTIONS = ("720p", "480p")
_ADVISED_SECONDS = (4, 6, 8, 10, 12, 15)


class Apixgo(Vendor):
    """``POST /v1/video/generations``, ``GET /v1/video/generations/{task_id}``, ``GET /v1/models``."""

    name = "apixgo"
    label = "Apixgo"
    default_base_url = "https://img.apixgo.com"
    #: "Every 5 seconds"; its "5 minutes, 60 checks" bound one client's patience, not the job's life.
    schedule = Schedule(first_delay=5, interval=5, max_interval=5)
    retention = timedelta(hours=1)
    accepts_data_urls = True
    mapped_fields: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "prompt": "prompt",
        "seconds": "duration",
        "aspect_ratio": "aspect_ratio",
        "resolution": "resolution",
        "image_urls": "image_urls",
    }
    models: ClassVar[Mapping[str, ModelRules]] = {
        "grok-image-video": ModelRules(
            as_of=_READ,
            durations=range(1, 16),
            advised_durations=_ADVISED_SECONDS,
            ratios=("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
            resolutions=_RESOLUTIONS,
            advised_prompt=4096,  # relay software of the family
            images=(0, 7),
            longest_with_images=(2, 10),
        ),
        "grok-video-1.5": ModelRules(
            as_of=_READ,
            durations=range(1, 16),
            advised_durations=_ADVISED_SECONDS,
            ratios=("16:9", "9:16"),
            resolutions=_RESOLUTIONS,
            advised_prompt=4096,  # relay software of the family
            images=(1, 1),
        ),
    }

    def count_images(self, request: VideoRequest) -> int:
        """Return the images in all three fields of the document; two of them come through ``extra``."""
        several = dig(request.extra, "reference_images")
        return (
            super().count_images(request)
            + (dig(request.extra, "input_reference") is not None)
            + (len(several) if isinstance(several, list | tuple) else 0)
        )

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Judge the two image fields that must not be sent together."""
        pair = ("input_reference", "reference_images")
        if all(dig(request.extra, name) is not None for name in pair):
            return [
                Problem(
                    field="extra.reference_images",
                    value="set together with input_reference",
                    constraint="send one of them, or better image_urls alone",
                )
            ]
        return []

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call."""
        body = {
            "model": request.model,
            "prompt": request.prompt,
            "seconds": request.duration,
            "aspect_ratio": request.aspect_ratio,
            "resolution": request.resolution,
            "image_urls": list(request.image_urls) if request.image_urls else None,
        }
        return HttpCall(
            method="POST",
            path=_GENERATIONS,
            body={
                **{key: value for key, value in body.items() if value is not None},
                **(request.extra or {}),
            },
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call."""
        return HttpCall(method="GET", path=f"{_GENERATIONS}/{quote(job.task_id, safe='')}")

    def models_call(self) -> HttpCall:
        """Return the model list, which the document asks clients to read."""
        return HttpCall(method="GET", path="/v1/models")

    def find_task_id(self, body: Any) -> str:
        """Return ``task_id || id``, flat as documented or in the envelope that siblings send."""
        return text(first(body, ("task_id",), ("id",), ("data", "task_id"), ("data", "id")))

    def submit_status(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply."""
        return self.job_status(body, now) or self.make_status("queued", now=now)

    def job_status(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the envelope of the status reply, or the flat form of the create reply."""
        data = dig(body, "data") if isinstance(dig(body, "data"), Mapping) else body
        if not text(dig(data, "status")):
            return None
        return self.make_status(
            dig(data, "status"),
            now=now,
            # Older relays put the link of a success into fail_reason.
            urls=links(dig(data, "result_url")) or links(dig(data, "fail_reason")),
            progress=dig(data, "progress"),
            created_at=first(data, ("submit_time",), ("created_at",)),
            completed_at=dig(data, "finish_time"),
            fail_words=first(data, ("fail_reason",), ("result_url",)),
        )

    def is_job_not_found(self, code: int, body: Any) -> bool:
        """Recognise the relay's word for a missing job, which comes as HTTP 400."""
        return code in (200, 400, 404) and vendor_code(body) == "task_not_exist"

    def is_model_unknown(self, code: int, body: Any) -> bool:
        """Recognise the relay's word for a model that none of its channels has, which comes as HTTP 503."""
        unknown = "modelnotfound" in normal(f"{vendor_code(body)} {vendor_message(body)}")
        return (code in (403, 503) and unknown) or super().is_model_unknown(code, body)

    def is_not_accepted(self, body: Any) -> bool:
        """Recognise the relay's 503 for a model that no channel serves just now: nothing was started."""
        said = normal(f"{vendor_code(body)} {vendor_message(body)}")
        return any(word in said for word in ("noavailablechannel", "无可用渠道"))
