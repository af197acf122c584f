# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIModels, from its English and Spanish documents."""

from __future__ import annotations

import json
import string
from random import Random
from typing import Final

from airflow_provider_vidgen.simulator.jobs import GenerationRequest, Job, JobSnapshot
from airflow_provider_vidgen.simulator.media import frame_size
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.responses import Json, SimulatedResponse
from airflow_provider_vidgen.simulator.vendors import fields
from airflow_provider_vidgen.simulator.vendors.base import (
    CallbackSchedule,
    Endpoint,
    RequestRejected,
    SimulatedVendor,
)

# Allowed durations: one for each of two models, several for the third.
_SECONDS: Final = {"grok-video-3": (5,), "grok-video-3-10s": (10,), "grok-video-3-official": (6, 10, 15)}
_RATIOS: Final = ("16:9", "1:1", "9:16", "2:3", "3:2")
_SIZES: Final = ("720P", "1080P")
# The document names the synchronous endpoint without its fields; these limits are those of its model.
_P_VIDEO_RATIOS: Final = ("16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "1:1")
_P_VIDEO_MAX_SECONDS: Final = 20

P_VIDEO: Final = "p-video"


class ApiModels(SimulatedVendor):
    """``{code, msg, data}``; the status of a failed job is HTTP 200 with code 200 too."""

    name = "apimodels"
    endpoints = (
        Endpoint("create", "POST", "/api/v1/video/generations"),
        Endpoint("status", "GET", "/api/v1/video/generations"),
        Endpoint("p-video", "POST", "/api/v1/video/p-video"),
        Endpoint("models", "GET", "/api/v1/models"),
    )
    callback_schedule = CallbackSchedule(retries=(1, 2, 4), timeout=10, then_every=60, until=1800)

    def new_task_id(self, random: Random) -> str:
        return "cl" + fields.random_string(random, string.ascii_lowercase + string.digits, 23)

    def model_names(self) -> tuple[str, ...]:
        return (*_SECONDS, P_VIDEO)

    def parse_request(self, body: Json, model: str | None) -> GenerationRequest:
        if model == P_VIDEO:
            return self._parse_p_video(body)
        name = fields.required_text(body, "model", "Bad Request -- model is required")
        if name not in _SECONDS:
            raise RequestRejected(400, "Invalid model", field="model")
        durations = _SECONDS[name]
        seconds = durations[0]
        if len(durations) > 1:
            # No document has this field, but the longer durations cannot be requested without it.
            seconds = fields.integer(body, "duration", durations[0], durations[-1], durations[0])
            if seconds not in durations:
                raise RequestRejected(
                    400, f"duration must be one of {', '.join(map(str, durations))}", field="duration"
                )
        return GenerationRequest(
            model=name,
            prompt=fields.required_text(body, "prompt", "Bad Request -- prompt is required"),
            seconds=seconds,
            aspect_ratio=fields.choice(body, "aspect_ratio", _RATIOS, "16:9"),
            resolution=fields.choice(body, "size", _SIZES, "720P").lower(),
            body=body,
            callback_url=fields.callback_url(body),
        )

    def _parse_p_video(self, body: Json) -> GenerationRequest:
        return GenerationRequest(
            model=P_VIDEO,
            prompt=fields.required_text(body, "prompt", "Bad Request -- prompt is required"),
            seconds=fields.integer(body, "duration", 1, _P_VIDEO_MAX_SECONDS, 5),
            aspect_ratio=fields.choice(body, "aspect_ratio", _P_VIDEO_RATIOS, "16:9"),
            resolution=fields.choice(body, "resolution", ("720p", "1080p"), "720p"),
            body=body,
        )

    def price(self, request: GenerationRequest) -> float:
        return 0.02 * request.seconds if request.model == P_VIDEO else 0.08

    def create_body(self, job: Job, options: Options) -> Json:
        return _envelope({"taskId": job.task_id, "state": "pending"})

    def status_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        data: Json = {"taskId": job.task_id}
        match snapshot.state:
            case "waiting":
                data["state"] = snapshot.custom_state or (
                    "pending" if snapshot.fraction < 0.2 else "processing"
                )
            case "succeeded":
                data["state"] = "completed"
                if options.apimodels_result_field == "resultUrls":
                    data["resultUrls"] = list(snapshot.urls)
                    data.update(_thumbnail(snapshot))
                else:
                    data["resultJson"] = json.dumps(_result(job, snapshot))
                data["createTime"] = int(snapshot.created_at * 1000)
                data["completeTime"] = int(snapshot.finished_at * 1000)
            case _:
                data["state"] = "failed"
                data["failMsg"] = snapshot.fail_message
        return _envelope(data)

    def callback_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        succeeded = snapshot.state == "succeeded"
        result: Json | None = _result(job, snapshot) if succeeded else None
        if not succeeded and options.apimodels_failed_result == "empty":
            result = {"resultUrls": []}
        return _envelope(
            {
                "taskId": job.task_id,
                "model": f"xai/{job.request.model}",
                "state": "completed" if succeeded else "failed",
                "param": json.dumps(job.request.body, ensure_ascii=False),
                "resultJson": json.dumps(result) if result else None,
                "failCode": None if succeeded else snapshot.fail_code,
                "failMsg": None if succeeded else snapshot.fail_message,
                "costTime": int((snapshot.finished_at - snapshot.created_at) * 1000),
                "completeTime": int(snapshot.finished_at * 1000),
                "createTime": int(snapshot.created_at * 1000),
            }
        )

    def null_data_body(self) -> Json:
        return {"code": 200, "msg": "success", "data": None}

    def error_response(self, error: RequestRejected, options: Options, random: Random) -> SimulatedResponse:
        body = {"code": error.status, "msg": error.message, "data": None}
        return SimulatedResponse(body, status=error.status, headers=error.headers)

    def invalid_key_error(self) -> RequestRejected:
        return RequestRejected(401, "Unauthorized -- invalid API key")

    def no_funds_error(self) -> RequestRejected:
        return RequestRejected(402, "Payment Required -- insufficient credits")

    def unknown_job_error(self) -> RequestRejected:
        return RequestRejected(404, "Not Found -- task ID not found")


def _result(job: Job, snapshot: JobSnapshot) -> Json:
    """Return the result object with all fields that the document shows."""
    width, height = frame_size(job.request.aspect_ratio, job.request.resolution)
    return {
        "resultUrls": list(snapshot.urls),
        **_thumbnail(snapshot),
        "videoSize": f"{width}x{height}",
        "videoDuration": job.request.seconds,
        "videoModel": job.request.model,
    }


def _thumbnail(snapshot: JobSnapshot) -> Json:
    return {"thumbnailUrl": snapshot.thumbnail_url} if snapshot.thumbnail_url else {}


def _envelope(data: Json) -> Json:
    return {"code": 200, "msg": "success", "data": data}
