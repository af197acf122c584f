# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Acme, a made-up vendor, from its document "Acme Video API"."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from airflow_provider_vidgen.models import FailureCategory, JobState, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall, build_body, vendor_code
from airflow_provider_vidgen.vendors.parsing import collect_urls, get_path, parse_text
from airflow_provider_vidgen.vendors.validation import ModelRules
from airflow_provider_vidgen.vendors.vocabulary import normalize


class Acme(Vendor):
    """``POST /v1/videos``, ``GET /v1/videos/{id}``."""

    #: The name in the connection's ``vendor`` field, the same as that of the entry point.
    name = "acme"
    #: The name in messages.
    label = "Acme"
    default_base_url = "https://api.acme.example"
    #: "Rendering takes about 20 s. Poll every 5 s, at least every 15 s."
    schedule = Schedule(first_delay=20, interval=5, max_interval=15)
    #: "Links work for 24 hours."
    retention = timedelta(hours=24)
    #: "5 jobs at a time."
    max_concurrent = 5
    #: Field of the body -> parameter that fills it. Parameters that are missing here are rejected.
    mapped_fields: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "prompt": "prompt",
        "seconds": "duration",
        "ratio": "aspect_ratio",
    }
    #: Limits; requests that break them are rejected before anything is paid.
    models: ClassVar[Mapping[str, ModelRules]] = {
        "acme-1": ModelRules(
            as_of=date(2026, 11, 20),
            durations=range(5, 11),
            aspect_ratios=("16:9", "9:16"),
            max_prompt_length=2000,
        )
    }
    #: Words for states that are not in ``vendors/vocabulary.py``.
    states: ClassVar[Mapping[str, JobState]] = {"ready": JobState.SUCCEEDED, "broken": JobState.FAILED}
    fail_codes: ClassVar[Mapping[str, FailureCategory]] = {
        normalize("E_PROMPT"): FailureCategory.CONTENT_POLICY
    }

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call."""
        fields = {
            "model": request.model,
            "prompt": request.prompt,
            "seconds": request.duration,
            "ratio": request.aspect_ratio,
        }
        return HttpCall(method="POST", path="/v1/videos", body=build_body(fields, request.extra))

    def find_task_id(self, body: Any) -> str:
        """Return ``id``."""
        return parse_text(get_path(body, "id"))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply, which names no state."""
        return self.build_status("queued", now=now)

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call."""
        return HttpCall(method="GET", path=f"/v1/videos/{quote(job.task_id, safe='')}")

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply."""
        if not parse_text(get_path(body, "state")):
            return None
        return self.build_status(
            get_path(body, "state"),
            now=now,
            result_urls=collect_urls(get_path(body, "video_url")),
            completed_at=get_path(body, "finished"),
            fail_code=get_path(body, "error", "code"),
            fail_message=get_path(body, "error", "message"),
        )

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise the document's "404 E_NO_VIDEO"."""
        return status_code == 404 and vendor_code(body) == "E_NO_VIDEO"
