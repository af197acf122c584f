# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Apixo, from its grok-video document."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

from airflow_provider_vidgen.simulator.job_script import failing_script
from airflow_provider_vidgen.simulator.jobs import GenerationRequest, Job, JobSnapshot
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.responses import Json, SimulatedResponse
from airflow_provider_vidgen.simulator.vendors import fields
from airflow_provider_vidgen.simulator.vendors.base import (
    CallbackSchedule,
    Endpoint,
    RequestRejected,
    SimulatedVendor,
)

_MODEL: Final = "grok-video"
_MODES: Final = ("text-to-video", "image-to-video")
_RATIOS: Final = ("1:1", "2:3", "3:2", "9:16", "16:9")
_MAX_PROMPT_LENGTH: Final = 5000
_MAX_INDEX: Final = 5


class Apixo(SimulatedVendor):
    """``{code, message, data}``; the path of create and status requests contains the model."""

    name = "apixo"
    endpoints = (
        Endpoint("create", "POST", "/api/v1/generateTask/{model}"),
        Endpoint("status", "GET", "/api/v1/statusTask/{model}"),
        Endpoint("balance", "GET", "/api/v1/apikeys/current-balance"),
    )
    callback_schedule = CallbackSchedule(retries=(30, 120, 600), timeout=30, requires_200=True)

    def new_task_id(self, random: Random) -> str:
        # Longer than the eight digits in the document, which are too few for ids that are never used again.
        return "task_" + fields.random_string(random, string.digits, 18)

    def model_names(self) -> tuple[str, ...]:
        return (_MODEL,)

    def balance_body(self, *, has_funds: bool) -> Json:
        return _envelope({"balance": 100.0 if has_funds else 0.0})

    def has_job(self, job: Job, match: Mapping[str, Any]) -> bool:
        return job.vendor == self.name and job.request.model == match["model"]

    def parse_request(self, body: Json, model: str | None) -> GenerationRequest:
        if model != _MODEL:
            raise RequestRejected(404, f"Model not found: {model}")
        fields.choice(body, "provider", ("auto", "value", "official"), "auto")
        request_type = fields.choice(body, "request_type", ("async", "callback"), "async")
        callback_url = fields.callback_url(body)
        if request_type == "callback" and callback_url is None:
            raise RequestRejected(
                400, "callback_url is required when request_type=callback", field="callback_url"
            )
        input_fields = body.get("input")
        if not isinstance(input_fields, dict):
            raise RequestRejected(400, "Missing required field: input", field="input")
        request = self._parse_input(input_fields)
        return replace(request, body=body, callback_url=callback_url if request_type == "callback" else None)

    def _parse_input(self, body: Json) -> GenerationRequest:
        prompt = fields.required_text(body, "prompt", "Missing required field: input.prompt")
        if len(prompt) > _MAX_PROMPT_LENGTH:
            raise RequestRejected(
                400, f"input.prompt must be 1-{_MAX_PROMPT_LENGTH} characters", field="prompt"
            )
        fields.required_text(body, "mode", "Missing required field: input.mode")
        mode = fields.choice(body, "mode", _MODES, "")
        images = fields.string_list(body, "image_urls")
        if len(images) > 1 or not all(map(fields.is_http_url, images)):
            raise RequestRejected(400, "input.image_urls takes one image URL", field="image_urls")
        continued = "task_id" in body or "index" in body
        if images and continued:
            raise RequestRejected(
                400, "send either image_urls or task_id + index, not both", field="image_urls"
            )
        if mode == "image-to-video" and not (images or continued):
            raise RequestRejected(
                400, "image-to-video needs image_urls or task_id + index", field="image_urls"
            )
        if mode == "text-to-video" and (images or continued):
            raise RequestRejected(400, "text-to-video takes no image", field="mode")
        request = GenerationRequest(
            model=_MODEL,
            prompt=prompt,
            seconds=fields.integer(body, "duration", 6, 30, 6),
            aspect_ratio=fields.choice(body, "aspect_ratio", _RATIOS, "16:9"),
            resolution=fields.choice(body, "resolution", ("480p", "720p"), "480p"),
            body=body,
        )
        if not continued:
            return request
        fields.required_text(body, "task_id", "input.task_id and input.index go together")
        if type(body.get("index")) is not int:
            raise RequestRejected(400, "input.task_id and input.index go together", field="index")
        # The document lists a wrong index among the errors of a job, not of the request.
        if not 0 <= body["index"] <= _MAX_INDEX:
            return replace(request, script=failing_script("INVALID_TASK_ID"))
        return request

    def price(self, request: GenerationRequest) -> float:
        # The document has no prices, but their order: 480p and 6 seconds is the cheapest.
        return (0.02 if request.resolution == "480p" else 0.04) * request.seconds

    def create_body(self, job: Job, options: Options) -> Json:
        return _envelope({"taskId": job.task_id})

    def status_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        data: Json = {"taskId": job.task_id}
        match snapshot.state:
            case "waiting":
                data["state"] = snapshot.custom_state or (
                    "pending" if snapshot.fraction < 0.2 else "processing"
                )
                data["createTime"] = int(snapshot.created_at * 1000)
            case "succeeded":
                data["state"] = "success"
                result: Json = {"resultUrls": list(snapshot.urls)}
                if snapshot.thumbnail_url:
                    result["thumbnailUrl"] = snapshot.thumbnail_url
                data["resultJson"] = json.dumps(result)
                data["createTime"] = int(snapshot.created_at * 1000)
                data["completeTime"] = int(snapshot.finished_at * 1000)
                data["costTime"] = data["completeTime"] - data["createTime"]
            case _:
                data["state"] = "failed"
                data["failCode"] = snapshot.fail_code
                data["failMsg"] = snapshot.fail_message
        return _envelope(data)

    def callback_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        return self.status_body(job, snapshot, options)

    def null_data_body(self) -> Json:
        return {"code": 200, "message": "success", "data": None}

    def error_response(self, error: RequestRejected, options: Options, random: Random) -> SimulatedResponse:
        body = {"code": error.status, "message": error.message, "data": None}
        status = 200 if options.apixo_errors_with_http_200 else error.status
        return SimulatedResponse(body, status=status, headers=error.headers)

    def invalid_key_error(self) -> RequestRejected:
        return RequestRejected(401, "Invalid or missing API Key")

    def no_funds_error(self) -> RequestRejected:
        return RequestRejected(400, "Insufficient credits")

    def unknown_job_error(self) -> RequestRejected:
        return RequestRejected(404, "Task not found")


def _envelope(data: Json) -> Json:
    return {"code": 200, "message": "success", "data": data}
