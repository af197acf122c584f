# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Apixgo, from its Chinese document, and from the relay software it runs on where the document is silent."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from random import Random
from typing import Final

from airflow_provider_vidgen.simulator.jobs import GenerationRequest, Job, JobSnapshot
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.responses import Json, SimulatedResponse
from airflow_provider_vidgen.simulator.vendors import fields
from airflow_provider_vidgen.simulator.vendors.base import (
    Endpoint,
    RequestRejected,
    SimulatedVendor,
    progress_field,
)

_RATIOS: Final = {
    "grok-image-video": ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
    "grok-video-1.5": ("16:9", "9:16"),
}
_MAX_IMAGES: Final = 7
_MAX_SECONDS: Final = 15
_MAX_SECONDS_WITH_SEVERAL_IMAGES: Final = 10
_MAX_PROMPT_LENGTH: Final = 4096
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=\s]+")
_WAITING_STATES: Final = ((0.05, "NOT_START"), (0.1, "SUBMITTED"), (0.2, "QUEUED"))


class Apixgo(SimulatedVendor):
    """Create responses are flat; status responses have an envelope whose ``code`` is a string."""

    name = "apixgo"
    endpoints = (
        Endpoint("create", "POST", "/v1/video/generations"),
        Endpoint("status", "GET", "/v1/video/generations/{task_id}"),
        Endpoint("models", "GET", "/v1/models"),
    )

    def new_task_id(self, random: Random) -> str:
        return "task_" + fields.random_string(random, string.ascii_letters + string.digits, 32)

    def model_names(self) -> tuple[str, ...]:
        return tuple(_RATIOS)

    def parse_request(self, body: Json, model: str | None) -> GenerationRequest:
        name = fields.required_text(body, "model", "model field is required")
        prompt = fields.required_text(body, "prompt", "prompt is required")
        if name not in _RATIOS:
            raise RequestRejected(
                503,
                f"No available channel for model {name} under group default",
                code="model_not_found",
            )
        if len(prompt) > _MAX_PROMPT_LENGTH:
            raise RequestRejected(
                400, f"Prompt length exceeds the maximum allowed length of {_MAX_PROMPT_LENGTH}"
            )
        images = _images(body)
        if name == "grok-video-1.5" and len(images) != 1:
            raise RequestRejected(400, f"{name} only supports exactly one reference image")
        if len(images) > _MAX_IMAGES:
            raise RequestRejected(400, f"{name} supports at most {_MAX_IMAGES} reference images")
        request = GenerationRequest(
            model=name,
            prompt=prompt,
            seconds=fields.integer(body, "seconds", 1, _MAX_SECONDS, 4),
            aspect_ratio=fields.choice(body, "aspect_ratio", _RATIOS[name], "16:9"),
            resolution=fields.choice(body, "resolution", ("720p", "480p"), "720p"),
            body=body,
        )
        if len(images) > 1:
            # Without any notice in the response: the video is shorter than requested.
            return replace(request, seconds=min(request.seconds, _MAX_SECONDS_WITH_SEVERAL_IMAGES))
        return request

    def price(self, request: GenerationRequest) -> float:
        # The document has no price.
        return 0.02 * request.seconds

    def create_body(self, job: Job, options: Options) -> Json:
        if options.apixgo_create_format == "enveloped":
            return _envelope({"task_id": job.task_id, "status": "SUBMITTED"})
        return {
            "id": job.task_id,
            "task_id": job.task_id,
            "object": "video",
            "model": job.request.model,
            "status": "queued",
            "progress": 0,
            "created_at": int(job.created_at),
        }

    def status_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        state, progress, url, reason = "IN_PROGRESS", f"{snapshot.progress // 10 * 10}%", "", ""
        match snapshot.state:
            case "waiting":
                state = next((name for end, name in _WAITING_STATES if snapshot.fraction < end), state)
                state = snapshot.custom_state or state
                if state in ("NOT_START", "SUBMITTED", "QUEUED"):
                    progress = "0%"
            case "succeeded":
                # One link for any number of videos: the document has a string here, not a list.
                state, url = "SUCCESS", snapshot.urls[0] if snapshot.urls else ""
            case _:
                state, reason = "FAILURE", snapshot.fail_message
                if snapshot.error_in_url:
                    url = reason
        return _envelope(
            {
                "task_id": job.task_id,
                "status": state,
                **progress_field(progress, job.script.progress),
                "result_url": url,
                "fail_reason": reason,
            }
        )

    def null_data_body(self) -> Json:
        return {"code": "success", "message": "", "data": None}

    def error_response(self, error: RequestRejected, options: Options, random: Random) -> SimulatedResponse:
        if error.code == "task_not_exist":
            body: Json = {"code": error.code, "message": error.message, "data": None}
        else:
            request_id = fields.random_string(random, string.digits, 20)
            message = f"{error.message} (request id: {request_id})"
            body = {"error": {"message": message, "type": "new_api_error", "code": error.code}}
        return SimulatedResponse(body, status=error.status, headers=error.headers)

    def invalid_key_error(self) -> RequestRejected:
        return RequestRejected(401, "Invalid token")

    def no_funds_error(self) -> RequestRejected:
        return RequestRejected(403, "用户额度不足, 剩余额度: $0.000000")

    def unknown_job_error(self) -> RequestRejected:
        return RequestRejected(400, "task_not_exist", code="task_not_exist")


def _images(body: Json) -> list[str]:
    """Return the images of the three fields that can contain them."""
    reference = body.get("input_reference")
    reference_images = fields.string_list(body, "reference_images")
    if reference is not None and reference_images:
        raise RequestRejected(400, "input_reference and reference_images cannot be used together")
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    if reference is not None and not isinstance(reference, str):
        raise RequestRejected(400, "input_reference must be an image URL")
    images = [*fields.string_list(body, "image_urls"), *([reference] if reference else []), *reference_images]
    for image in images:
        if not fields.is_http_url(image) and not _DATA_URL.fullmatch(image):
            raise RequestRejected(400, "image must be an HTTPS URL or a complete base64 data URL")
    return images


def _envelope(data: Json) -> Json:
    return {"code": "success", "message": "", "data": data}
