# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
APIModels, from its documents "Video Generation API" in English and in Spanish.

The Spanish one adds the callback's contract and the synchronous ``p-video`` endpoint, without its fields
and reply: these are taken from the model it is evidently built on, with a warning for every field. Where the
two documents differ, the wider range is accepted with a warning.

The English one lists "$0.08" next to each of its three models, ``grok-video-3-official`` at 6, 10 and 15
seconds included. A later guide by others names other prices, so an estimate carries its date. No document
has a price of ``p-video``, and no reply a cost: ``costTime`` is a duration in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall, build_body
from airflow_provider_vidgen.vendors.parsing import (
    collect_urls,
    get_first,
    get_path,
    parse_nested_json,
    parse_number,
    parse_text,
)
from airflow_provider_vidgen.vendors.refusals import is_job_not_found_message
from airflow_provider_vidgen.vendors.validation import ModelRules, Price

_AS_OF = date(2026, 11, 20)
_GENERATIONS = "/api/v1/video/generations"
_P_VIDEO = "p-video"
#: "one request blocks ~30-60s": three times the longer one, in seconds.
_P_VIDEO_READ_TIMEOUT = 180.0
_OFFICIAL = "grok-video-3-official"

#: Five ratios in the parameter table, three in the notes of the same page.
_RATIOS = ("16:9", "1:1", "9:16", "2:3", "3:2")
_CONFIRMED_RATIOS = ("16:9", "1:1", "9:16")
_RESOLUTIONS = ("720p", "1080p")
_PRICE = Price(amount=0.08, currency="USD", as_of=_AS_OF)


class ApiModels(Vendor):
    """``POST`` and ``GET /api/v1/video/generations``, ``POST /api/v1/video/p-video``."""

    name = "apimodels"
    label = "APIModels"
    default_base_url = "https://apimodels.app"
    #: "Poll every 5-10 seconds"; "5s video ~30s, 10s ~60s generation time".
    schedule = Schedule(first_delay=10, interval=5, max_interval=10)
    retention = timedelta(days=7)
    mapped_fields: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "prompt": "prompt",
        "duration": "duration",
        "aspect_ratio": "aspect_ratio",
        "size": "resolution",
        "image_urls": "image_urls",
        "callback_url": "callback_url",
    }
    models: ClassVar[Mapping[str, ModelRules]] = {
        "grok-video-3": ModelRules(
            as_of=_AS_OF,
            durations=(5,),
            aspect_ratios=_RATIOS,
            recommended_aspect_ratios=_CONFIRMED_RATIOS,
            resolutions=_RESOLUTIONS,
            image_count=(0, 0),
            price=_PRICE,
            usual_seconds=30,  # "5s video ~30s"
        ),
        "grok-video-3-10s": ModelRules(
            as_of=_AS_OF,
            durations=(10,),
            aspect_ratios=_RATIOS,
            recommended_aspect_ratios=_CONFIRMED_RATIOS,
            resolutions=_RESOLUTIONS,
            image_count=(0, 0),
            price=_PRICE,
            usual_seconds=60,  # "10s ~60s generation time"
        ),
        _OFFICIAL: ModelRules(
            as_of=_AS_OF,
            durations=(6, 10, 15),
            aspect_ratios=_RATIOS,
            recommended_aspect_ratios=_CONFIRMED_RATIOS,
            resolutions=_RESOLUTIONS,
            unconfirmed_fields=("image_urls", "duration"),
            price=_PRICE,
        ),
        _P_VIDEO: ModelRules(
            as_of=_AS_OF,
            durations=range(1, 21),
            recommended_durations=range(1, 11),
            aspect_ratios=("16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "1:1"),
            resolutions=_RESOLUTIONS,
            image_count=(0, 1),
            unconfirmed_fields=("image_urls", "duration", "aspect_ratio", "resolution"),
            usual_seconds=60,  # "one request blocks ~30-60s"
        ),
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Report fields that the synchronous endpoint does not have, or has under another name."""
        if not self.is_synchronous(request):
            return []
        problems = []
        if request.callback_url is not None:
            constraint = "p-video returns the video in the same request"
            problems.append(Problem(field="callback_url", value="set", constraint=constraint))
        for name, field in (("image", "image_urls"), ("resolution", "resolution")):
            if get_path(request.extra, name) is not None:
                constraint = f"is filled by {field}; use that"
                problems.append(Problem(field=f"extra.{name}", value="set", constraint=constraint))
        return problems

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether this is not ``p-video`` with an image: by its maker, that ignores the ratio."""
        return not (self.is_synchronous(request) and request.image_urls)

    def is_synchronous(self, request: VideoRequest) -> bool:
        """Whether this is ``p-video``."""
        return bool(request.model == _P_VIDEO)

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call, or for ``p-video`` the call that blocks until the video is ready."""
        if self.is_synchronous(request):
            fields = {
                "prompt": request.prompt,
                "duration": request.duration,
                "aspect_ratio": request.aspect_ratio,
                "resolution": request.resolution,
                "image": request.image_urls[0] if request.image_urls else None,
            }
            return HttpCall(
                method="POST",
                path="/api/v1/video/p-video",
                body=build_body(fields, request.extra),
                read_timeout=_P_VIDEO_READ_TIMEOUT,
            )
        fields = {
            "model": request.model,
            "prompt": request.prompt,
            "aspect_ratio": request.aspect_ratio,
            "size": request.resolution.upper() if request.resolution else None,
            # These models have one fixed duration, and no such parameter.
            "duration": None if request.model in ("grok-video-3", "grok-video-3-10s") else request.duration,
            "image_urls": list(request.image_urls) if request.image_urls else None,
            "callback_url": request.callback_url,
        }
        return HttpCall(method="POST", path=_GENERATIONS, body=build_body(fields, request.extra))

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call; its parameter is ``task_id``, in replies the id is ``taskId``."""
        return HttpCall(method="GET", path=_GENERATIONS, query={"task_id": job.task_id})

    def find_task_id(self, body: Any) -> str:
        """Return ``data.taskId``."""
        return parse_text(get_first(body, ("data", "taskId"), ("data", "task_id")))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply; that of ``p-video`` may have a link and no state."""
        urls = _result_urls(body, accept_url=not self.find_task_id(body))
        return self.read_status_body(body, now) or self.build_status(
            "completed" if urls else "pending", now=now, result_urls=urls
        )

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status reply, with results as a list, or the callback, with results as a JSON string."""
        data = get_path(body, "data")
        if not parse_text(get_path(data, "state")):
            return None
        result = parse_nested_json(get_path(data, "resultJson"))
        return self.build_status(
            get_path(data, "state"),
            now=now,
            result_urls=_result_urls(body),
            thumbnail_urls=collect_urls(get_path(result, "thumbnailUrl"), get_path(data, "thumbnailUrl")),
            created_at=get_path(data, "createTime"),
            completed_at=get_path(data, "completeTime"),
            duration_seconds=get_path(result, "videoDuration"),
            fail_code=get_path(data, "failCode"),
            fail_message=get_path(data, "failMsg"),
        )

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """Recognise the document's "404 Not Found -- task ID not found", in its envelope."""
        message = parse_text(get_path(body, "msg"))
        is_404 = status_code == parse_number(get_path(body, "code")) == 404
        return is_404 and is_job_not_found_message(message)


def _result_urls(body: Any, *, accept_url: bool = True) -> tuple[str, ...]:
    """
    Return the links of the video, in the envelope or flat.

    :param accept_url: whether a field ``url`` counts; next to a job id it may lead to the job instead.
    """
    data = get_path(body, "data")
    data = body if data is None else data
    result = parse_nested_json(get_path(data, "resultJson"))
    return collect_urls(get_path(data, "resultUrls"), get_path(result, "resultUrls")) or collect_urls(
        get_path(data, "video_url"), get_path(data, "url") if accept_url else None, get_path(data, "videos")
    )
