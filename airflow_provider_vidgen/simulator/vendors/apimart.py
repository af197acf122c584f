# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIMart, from its German document; status responses from the vendor's own page on them."""

from __future__ import annotations

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

_MODEL: Final = "grok-imagine-1.0-video-apimart"
_RATIOS: Final = ("16:9", "9:16", "1:1", "3:2", "2:3")
_MAX_IMAGES: Final = 7
# The alphabet of ULIDs, without letters that look like digits.
_ULID_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CREDITS_PER_DOLLAR: Final = 100
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "payment_required",
    404: "not_found_error",
    409: "idempotency_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiMart(SimulatedVendor):
    """``{code, data}``, errors as ``{error: {...}}``; the only vendor with idempotency keys."""

    name = "apimart"
    endpoints = (
        Endpoint("create", "POST", "/v1/videos/generations"),
        Endpoint("status", "GET", "/v1/tasks/{task_id}"),
        Endpoint("models", "GET", "/v1/models"),
        Endpoint("balance", "GET", "/v1/balance"),
        Endpoint("upload", "POST", "/v1/uploads/images"),
    )
    supports_idempotency_keys = True
    uses_image_aspect_ratio = True

    def new_task_id(self, random: Random) -> str:
        return "task_01JN" + fields.random_string(random, _ULID_ALPHABET, 18)

    def model_names(self) -> tuple[str, ...]:
        return (_MODEL,)

    def balance_body(self, *, has_funds: bool) -> Json:
        balance = 100.0 if has_funds else 0.0
        return {
            "success": True,
            "remain_balance": balance,
            "remain_credits": balance * _CREDITS_PER_DOLLAR,
            "unlimited_quota": False,
        }

    def parse_request(self, body: Json, model: str | None) -> GenerationRequest:
        name = fields.required_text(body, "model", "model is required")
        if name != _MODEL:
            raise RequestRejected(404, f"model {name} not found", field="model")
        images = fields.string_list(body, "image_urls")
        if len(images) > _MAX_IMAGES:
            raise RequestRejected(400, f"image_urls takes at most {_MAX_IMAGES} images", field="image_urls")
        if not all(map(fields.is_http_url, images)):
            raise RequestRejected(
                400, "image_urls must be public URLs, base64 is not supported", field="image_urls"
            )
        return GenerationRequest(
            model=name,
            prompt=fields.required_text(body, "prompt", "prompt is required"),
            seconds=fields.integer(body, "duration", 6, 30, 6),
            aspect_ratio=fields.choice(body, "size", _RATIOS, "16:9"),
            resolution=fields.choice(body, "quality", ("480p", "720p"), "480p"),
            body=body,
            images=tuple(images),
        )

    def price(self, request: GenerationRequest) -> float:
        # The document has no price; this is the one that a client of this model uses.
        return 0.007 * request.seconds

    def create_body(self, job: Job, options: Options) -> Json:
        match options.apimart_create_format:
            case "list":
                return {"code": 200, "data": [{"status": "submitted", "task_id": job.task_id}]}
            case "task":
                return {
                    "data": {
                        "id": job.task_id,
                        "object": "video.generation.task",
                        "status": "pending",
                        "progress": 0,
                        "created": int(job.created_at),
                        "task_info": {"can_cancel": True, "estimated_time": int(job.job_seconds)},
                        "type": "video",
                    }
                }
        return {
            "code": 200,
            "data": {
                "id": job.task_id,
                "status": "submitted",
                "progress": 0,
                "created": int(job.created_at),
                "type": "video",
            },
        }

    def status_body(self, job: Job, snapshot: JobSnapshot, options: Options) -> Json:
        data: Json = {
            "id": job.task_id,
            "status": _state(snapshot),
            **progress_field(snapshot.progress, job.script.progress),
            "created": int(snapshot.created_at),
            "estimated_time": int(job.job_seconds),
        }
        if snapshot.state != "waiting":
            data["completed"] = int(snapshot.finished_at)
            data["actual_time"] = int(snapshot.finished_at) - int(snapshot.created_at)
        if snapshot.state == "succeeded":
            video = {"url": list(snapshot.urls), "expires_at": int(snapshot.urls_expire_at)}
            data["result"] = {"videos": [video] if snapshot.urls else []}
            if snapshot.thumbnail_url:
                data["result"]["thumbnail_url"] = snapshot.thumbnail_url
            if options.apimart_cost:
                data["cost"] = round(self.price(job.request), 4)
                data["credits_cost"] = round(self.price(job.request) * _CREDITS_PER_DOLLAR, 2)
        elif snapshot.state != "waiting":
            data["error"] = {"code": 500, "message": snapshot.fail_message, "type": "task_failed"}
        return {"code": 200, "data": data}

    def null_data_body(self) -> Json:
        return {"code": 200, "data": None}

    def error_response(self, error: RequestRejected, options: Options, random: Random) -> SimulatedResponse:
        error_type = _ERROR_TYPES.get(error.status, "api_error")
        details: Json = {"code": error.status, "message": error.message, "type": error_type}
        if error.field is not None:
            details["param"] = error.field
        if options.apimart_error_format == "string":
            details["code"] = error_type
        body: Json = {"error": error.message if options.apimart_error_format == "bare" else details}
        return SimulatedResponse(body, status=error.status, headers=error.headers)

    def invalid_key_error(self) -> RequestRejected:
        return RequestRejected(401, "Invalid API key")

    def no_funds_error(self) -> RequestRejected:
        return RequestRejected(402, "Insufficient balance")

    def unknown_job_error(self) -> RequestRejected:
        return RequestRejected(404, "not found")


def _state(snapshot: JobSnapshot) -> str:
    match snapshot.state:
        case "succeeded":
            return "completed"
        case "waiting":
            stages = ((0.1, "submitted"), (0.2, "pending"))
            state = next((stage for end, stage in stages if snapshot.fraction < end), "processing")
            return snapshot.custom_state or state
    return snapshot.state
