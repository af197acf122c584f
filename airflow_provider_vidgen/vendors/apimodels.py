# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
APIModels, from its documents "Video Generation API" in English and in Spanish.

The Spanish one adds the callback's contract and the synchronous ``p-video`` endpoint, of which it gives
neither fields nor reply: those follow the model it is evidently built on, and every field sent there is
reported as unconfirmed. Where the two documents differ, the wider reading is taken with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_vidgen.errors import Problem
from airflow_provider_vidgen.models import JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.exchange import HttpCall
from airflow_provider_vidgen.vendors.reading import dig, first, links, nested, number, text
from airflow_provider_vidgen.vendors.refusals import job_unknown
from airflow_provider_vidgen.vendors.rules import ModelRules

_READ = date(2026, 11, 20)
_GENERATIONS = "/api/v1/video/generations"
_P_VIDEO = "p-video"
#: "one request blocks ~30-60s": three times the longer.
_P_VIDEO_READ_TIMEOUT = 180.0
_OFFICIAL = "grok-video-3-official"

#: The parameter table has five ratios, the notes of the same page three.
_RATIOS = ("16:9", "1:1", "9:16", "2:3", "3:2")
_SURE_RATIOS = ("16:9", "1:1", "9:16")
_RESOLUTIONS = ("720p", "1080p")


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
            as_of=_READ,
            durations=(5,),
            ratios=_RATIOS,
            advised_ratios=_SURE_RATIOS,
            resolutions=_RESOLUTIONS,
            images=(0, 0),
        ),
        "grok-video-3-10s": ModelRules(
            as_of=_READ,
            durations=(10,),
            ratios=_RATIOS,
            advised_ratios=_SURE_RATIOS,
            resolutions=_RESOLUTIONS,
            images=(0, 0),
        ),
        _OFFICIAL: ModelRules(
            as_of=_READ,
            durations=(6, 10, 15),
            ratios=_RATIOS,
            advised_ratios=_SURE_RATIOS,
            resolutions=_RESOLUTIONS,
            unconfirmed=("image_urls", "duration"),
        ),
        _P_VIDEO: ModelRules(
            as_of=_READ,
            durations=range(1, 21),
            advised_durations=range(1, 11),
            ratios=("16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "1:1"),
            resolutions=_RESOLUTIONS,
            images=(0, 1),
            unconfirmed=("image_urls", "duration", "aspect_ratio", "resolution"),
        ),
    }

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Judge what the synchronous endpoint has not, or has under another name."""
        if not self.is_synchronous(request):
            return []
        found = []
        if request.callback_url is not None:
            found.append(
                Problem(field="callback_url", value="set", constraint="p-video answers in the same request")
            )
        for name, field in (("image", "image_urls"), ("resolution", "resolution")):
            if dig(request.extra, name) is not None:
                found.append(
                    Problem(field=f"extra.{name}", value="set", constraint=f"is filled by {field}; use that")
                )
        return found

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether this is not ``p-video`` with an image, whose maker says that it ignores the ratio then."""
        return not (self.is_synchronous(request) and request.image_urls)

    def is_synchronous(self, request: VideoRequest) -> bool:
        """Whether this is ``p-video``."""
        return bool(request.model == _P_VIDEO)

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the create call, or for ``p-video`` the one that blocks until the video is there."""
        if self.is_synchronous(request):
            p_body = {
                "prompt": request.prompt,
                "duration": request.duration,
                "aspect_ratio": request.aspect_ratio,
                "resolution": request.resolution,
                "image": request.image_urls[0] if request.image_urls else None,
            }
            return HttpCall(
                method="POST",
                path="/api/v1/video/p-video",
                body={**_without_none(p_body), **(request.extra or {})},
                read_timeout=_P_VIDEO_READ_TIMEOUT,
            )
        body = {
            "model": request.model,
            "prompt": request.prompt,
            "aspect_ratio": request.aspect_ratio,
            "size": request.resolution.upper() if request.resolution else None,
            # The model's name fixes the length of the other documented models.
            "duration": None if request.model in ("grok-video-3", "grok-video-3-10s") else request.duration,
            "image_urls": list(request.image_urls) if request.image_urls else None,
            "callback_url": request.callback_url,
        }
        return HttpCall(
            method="POST", path=_GENERATIONS, body={**_without_none(body), **(request.extra or {})}
        )

    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the status call; it wants ``task_id`` where the replies say ``taskId``."""
        return HttpCall(method="GET", path=_GENERATIONS, query={"task_id": job.task_id})

    def find_task_id(self, body: Any) -> str:
        """Return ``data.taskId``."""
        return text(first(body, ("data", "taskId"), ("data", "task_id")))

    def submit_status(self, body: Any, now: datetime) -> JobStatus:
        """Read the create reply; ``p-video`` may name no state and only bring a link."""
        urls = _result_links(body, named_url=not self.find_task_id(body))
        return self.job_status(body, now) or self.make_status(
            "completed" if urls else "pending", now=now, urls=urls
        )

    def job_status(self, body: Any, now: datetime) -> JobStatus | None:
        """Read the status envelope, with results as a list, and the callback's, with a JSON string."""
        data = dig(body, "data")
        if not text(dig(data, "state")):
            return None
        result = nested(dig(data, "resultJson"))
        return self.make_status(
            dig(data, "state"),
            now=now,
            urls=_result_links(body),
            thumbnails=links(dig(result, "thumbnailUrl"), dig(data, "thumbnailUrl")),
            created_at=dig(data, "createTime"),
            completed_at=dig(data, "completeTime"),
            duration_seconds=dig(result, "videoDuration"),
            fail_code=dig(data, "failCode"),
            fail_words=dig(data, "failMsg"),
        )

    def is_job_not_found(self, code: int, body: Any) -> bool:
        """Recognise "404 Not Found -- task ID not found" of the document, in its envelope."""
        return code == number(dig(body, "code")) == 404 and job_unknown(text(dig(body, "msg")))


def _result_links(body: Any, *, named_url: bool = True) -> tuple[str, ...]:
    """
    Return the links of the video, in the envelope or flat.

    :param named_url: whether a bare ``url`` is one, too; beside a job id it may lead to the job instead.
    """
    data = dig(body, "data")
    data = body if data is None else data
    result = nested(dig(data, "resultJson"))
    return links(dig(data, "resultUrls"), dig(result, "resultUrls")) or links(
        dig(data, "video_url"), dig(data, "url") if named_url else None, dig(data, "videos")
    )


def _without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
