# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Apixgo, from its document "Developer Docs / Video Generation" (in Chinese).

The create reply is flat; the status reply is an envelope whose ``code`` is the text ``"success"`` even if the
job failed. Facts from the relay software of this family of vendors are marked.

The document has no price, and its replies no cost. The relay software's own replies have a ``quota``, which
is not read: what one unit is worth is a setting of the relay's operator.
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
from airflow_provider_vidgen.vendors.http_messages import HttpCall, build_body, vendor_code, vendor_message
from airflow_provider_vidgen.vendors.parsing import collect_urls, get_first, get_path, parse_text
from airflow_provider_vidgen.vendors.validation import ModelRules
from airflow_provider_vidgen.vendors.vocabulary import normalize

_AS_OF = date(2026, 11, 20)
_GENERATIONS = "/v1/video/generations"
_RESOLUTIONS = ("720p", "480p")
_RECOMMENDED_DURATIONS = (4, 6, 8, 10, 12, 15)


class Apixgo(Vendor):
    """``POST /v1/video/generations``, ``GET /v1/video/generations/{task_id}``, ``GET /v1/models``."""

    name = "apixgo"
    label = "Apixgo"
    default_base_url = "https://img.apixgo.com"
    #: "Every 5 seconds"; its "5 minutes, 60 checks" limit the polling of one client, not the job.
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
            as_of=_AS_OF,
            durations=range(1, 16),
            recommended_durations=_RECOMMENDED_DURATIONS,
            aspect_ratios=("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
            resolutions=_RESOLUTIONS,
            recommended_prompt_length=4096,  # relay software of the family
            image_count=(0, 7),
            max_duration_with_images=(2, 10),
        ),
        "grok-video-1.5": ModelRules(
            as_of=_AS_OF,
            durations=range(1, 16),
            recommended_durations=_RECOMMENDED_DURATIONS,
            aspect_ratios=("16:9", "9:16"),
            resolutions=_RESOLUTIONS,
            recommended_prompt_length=4096,  # relay software of the family
            image_count=(1, 1),
        ),
    }

    def count_images(self, request: VideoRequest) -> int:
        """Return the number of images in all three fields; two of them can only be set by ``extra``."""
        references = get_path(request.extra, "reference_images")
        return (
            super().count_images(request)
            + (get_path(request.extra, "input_reference") is not None)
            + (len(references) if isinstance(references, list | tuple) else 0)
        )

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Report two image fields that must not be sent together."""
        pair = ("input_reference", "reference_images")
        if all(get_path(request.extra, name) is not None for name in pair):
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
        fields = {
            "model": request.model,
            "prompt": request.prompt,
            "seconds": request.duration,
            "aspect_ratio": request.aspect_ratio,
            "resolution": request.resolution,
            "image_urls": list(request.image_urls) if request.image_urls else None,
        }
        return HttpCall(method="POST", path=_GENERATIONS, body=build_body(fields, request.extra))

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call."""
        return HttpCall(method="GET", path=f"{_GENERATIONS}/{quote(job.task_id, safe='')}")

    def models_call(self) -> HttpCall:
        """Return the call for the model list, which the document recommends to read."""
        return HttpCall(method="GET", path="/v1/models")

    def find_task_id(self, body: Any) -> str:
        """Return ``task_id || id``, flat as documented or in the envelope of related vendors."""
        return parse_text(get_first(body, ("task_id",), ("id",), ("data", "task_id"), ("data", "id")))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply."""
        return self.read_status_body(body, now) or self.build_status("queued", now=now)

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply's envelope or the create reply's flat form."""
        data = get_path(body, "data") if isinstance(get_path(body, "data"), Mapping) else body
        if not parse_text(get_path(data, "status")):
            return None
        # Older relays put the link of a finished video into fail_reason.
        urls = collect_urls(get_path(data, "result_url")) or collect_urls(get_path(data, "fail_reason"))
        return self.build_status(
            get_path(data, "status"),
            now=now,
            result_urls=urls,
            progress=get_path(data, "progress"),
            created_at=get_first(data, ("submit_time",), ("created_at",)),
            completed_at=get_path(data, "finish_time"),
            fail_message=get_first(data, ("fail_reason",), ("result_url",)),
        )

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise the relay's code for a missing job, which it sends with HTTP 400."""
        return status_code in (200, 400, 404) and vendor_code(body) == "task_not_exist"

    def is_model_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise the relay's code for a model that none of its channels has, sent with HTTP 503."""
        has_code = "modelnotfound" in normalize(f"{vendor_code(body)} {vendor_message(body)}")
        return (status_code in (403, 503) and has_code) or super().is_model_not_found(status_code, body)

    def is_not_accepted(self, body: Any) -> bool:
        """Recognise the relay's 503 for a model without a free channel: no job was created."""
        text = normalize(f"{vendor_code(body)} {vendor_message(body)}")
        return any(phrase in text for phrase in ("noavailablechannel", "无可用渠道"))
