# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIModels, after its English and Spanish documents."""

from __future__ import annotations

import json
import string
from random import Random
from typing import Final

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.films import film_of
from airflow_provider_vidgen.simulator.jobs import Job, Order, Report
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.vendors import checks
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, Refusal, Schedule, Vendor

# The model's name fixes the length; the third sells several.
_SECONDS: Final = {"grok-video-3": (5,), "grok-video-3-10s": (10,), "grok-video-3-official": (6, 10, 15)}
_RATIOS: Final = ("16:9", "1:1", "9:16", "2:3", "3:2")
_SIZES: Final = ("720P", "1080P")
# The document names the synchronous endpoint without a field; these limits are those of the model behind it.
_P_VIDEO_RATIOS: Final = ("16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "1:1")
_P_VIDEO_MOST_SECONDS: Final = 20

P_VIDEO: Final = "p-video"


class ApiModels(Vendor):
    """``{code, msg, data}``; a failed job is HTTP 200 and code 200 all the same."""

    name = "apimodels"
    endpoints = (
        Endpoint("create", "POST", "/api/v1/video/generations"),
        Endpoint("status", "GET", "/api/v1/video/generations"),
        Endpoint("p-video", "POST", "/api/v1/video/p-video"),
        Endpoint("models", "GET", "/api/v1/models"),
    )
    schedule = Schedule(retries=(1, 2, 4), timeout=10, then_every=60, until=1800)

    def new_id(self, random: Random) -> str:
        return "cl" + checks.letters(random, string.ascii_lowercase + string.digits, 23)

    def models(self) -> tuple[str, ...]:
        return (*_SECONDS, P_VIDEO)

    def read(self, body: Json, model: str | None) -> Order:
        if model == P_VIDEO:
            return self._read_p_video(body)
        name = checks.text(body, "model", "Bad Request -- model is required")
        if name not in _SECONDS:
            raise Refusal(400, "Invalid model", field="model")
        lengths = _SECONDS[name]
        seconds = lengths[0]
        if len(lengths) > 1:
            # No document has this field, but only with it could one buy the longer ones.
            seconds = checks.whole(body, "duration", lengths[0], lengths[-1], lengths[0])
            if seconds not in lengths:
                raise Refusal(
                    400, f"duration must be one of {', '.join(map(str, lengths))}", field="duration"
                )
        return Order(
            model=name,
            prompt=checks.text(body, "prompt", "Bad Request -- prompt is required"),
            seconds=seconds,
            aspect_ratio=checks.choice(body, "aspect_ratio", _RATIOS, "16:9"),
            resolution=checks.choice(body, "size", _SIZES, "720P").lower(),
            request=body,
            callback_url=checks.callback_url(body),
        )

    def _read_p_video(self, body: Json) -> Order:
        return Order(
            model=P_VIDEO,
            prompt=checks.text(body, "prompt", "Bad Request -- prompt is required"),
            seconds=checks.whole(body, "duration", 1, _P_VIDEO_MOST_SECONDS, 5),
            aspect_ratio=checks.choice(body, "aspect_ratio", _P_VIDEO_RATIOS, "16:9"),
            resolution=checks.choice(body, "resolution", ("720p", "1080p"), "720p"),
            request=body,
        )

    def price(self, order: Order) -> float:
        return 0.02 * order.seconds if order.model == P_VIDEO else 0.08

    def created(self, job: Job, options: Options) -> Json:
        return _said({"taskId": job.task_id, "state": "pending"})

    def status(self, job: Job, report: Report, options: Options) -> Json:
        data: Json = {"taskId": job.task_id}
        match report.state:
            case "waiting":
                data["state"] = report.word or ("pending" if report.fraction < 0.2 else "processing")
            case "succeeded":
                data["state"] = "completed"
                if options.apimodels_result == "resultUrls":
                    data["resultUrls"] = list(report.urls)
                    data.update(_thumbnail(report))
                else:
                    data["resultJson"] = json.dumps(_result(job, report))
                data["createTime"] = int(report.created * 1000)
                data["completeTime"] = int(report.finished * 1000)
            case _:
                data["state"] = "failed"
                data["failMsg"] = report.fail_message
        return _said(data)

    def callback(self, job: Job, report: Report, options: Options) -> Json:
        good = report.state == "succeeded"
        result: Json | None = _result(job, report) if good else None
        if not good and options.apimodels_failed_result == "empty":
            result = {"resultUrls": []}
        return _said(
            {
                "taskId": job.task_id,
                "model": f"xai/{job.order.model}",
                "state": "completed" if good else "failed",
                "param": json.dumps(job.order.request, ensure_ascii=False),
                "resultJson": json.dumps(result) if result else None,
                "failCode": None if good else report.fail_code,
                "failMsg": None if good else report.fail_message,
                "costTime": int((report.finished - report.created) * 1000),
                "completeTime": int(report.finished * 1000),
                "createTime": int(report.created * 1000),
            }
        )

    def no_data(self) -> Json:
        return {"code": 200, "msg": "success", "data": None}

    def refused(self, refusal: Refusal, options: Options, random: Random) -> Answer:
        body = {"code": refusal.status, "msg": refusal.message, "data": None}
        return Answer(body, status=refusal.status, headers=refusal.headers)

    def bad_key(self) -> Refusal:
        return Refusal(401, "Unauthorized -- invalid API key")

    def no_funds(self) -> Refusal:
        return Refusal(402, "Payment Required -- insufficient credits")

    def no_job(self) -> Refusal:
        return Refusal(404, "Not Found -- task ID not found")


def _result(job: Job, report: Report) -> Json:
    """Give the result object with all that the document shows in it."""
    film = film_of(job)
    return {
        "resultUrls": list(report.urls),
        **_thumbnail(report),
        "videoSize": f"{film.width}x{film.height}",
        "videoDuration": job.order.seconds,
        "videoModel": job.order.model,
    }


def _thumbnail(report: Report) -> Json:
    return {"thumbnailUrl": report.thumbnail} if report.thumbnail else {}


def _said(data: Json) -> Json:
    return {"code": 200, "msg": "success", "data": data}
