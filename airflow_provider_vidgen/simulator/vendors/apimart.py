# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIMart, after its German document; the status of a job after the vendor's own page on it."""

from __future__ import annotations

from random import Random
from typing import Final

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.jobs import Job, Order, Report
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.vendors import checks
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, Refusal, Vendor, scripted_progress

_MODEL: Final = "grok-imagine-1.0-video-apimart"
_RATIOS: Final = ("16:9", "9:16", "1:1", "3:2", "2:3")
_MOST_IMAGES: Final = 7
# The alphabet of ULIDs, which leaves out letters that look like digits.
_ULID: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CREDITS_PER_DOLLAR: Final = 100
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "payment_required",
    404: "not_found_error",
    409: "idempotency_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiMart(Vendor):
    """``{code, data}``, errors as ``{error: {...}}``; the only one that knows a request sent twice."""

    name = "apimart"
    endpoints = (
        Endpoint("create", "POST", "/v1/videos/generations"),
        Endpoint("status", "GET", "/v1/tasks/{task_id}"),
        Endpoint("models", "GET", "/v1/models"),
        Endpoint("balance", "GET", "/v1/balance"),
        Endpoint("upload", "POST", "/v1/uploads/images"),
    )
    replays_keys = True
    follows_image = True

    def new_id(self, random: Random) -> str:
        return "task_01JN" + checks.letters(random, _ULID, 18)

    def models(self) -> tuple[str, ...]:
        return (_MODEL,)

    def balance(self, *, funds: bool) -> Json:
        left = 100.0 if funds else 0.0
        return {
            "success": True,
            "remain_balance": left,
            "remain_credits": left * _CREDITS_PER_DOLLAR,
            "unlimited_quota": False,
        }

    def read(self, body: Json, model: str | None) -> Order:
        name = checks.text(body, "model", "model is required")
        if name != _MODEL:
            raise Refusal(404, f"model {name} not found", field="model")
        images = checks.texts(body, "image_urls")
        if len(images) > _MOST_IMAGES:
            raise Refusal(400, f"image_urls takes at most {_MOST_IMAGES} images", field="image_urls")
        if not all(map(checks.is_web_url, images)):
            raise Refusal(400, "image_urls must be public URLs, base64 is not supported", field="image_urls")
        return Order(
            model=name,
            prompt=checks.text(body, "prompt", "prompt is required"),
            seconds=checks.whole(body, "duration", 6, 30, 6),
            aspect_ratio=checks.choice(body, "size", _RATIOS, "16:9"),
            resolution=checks.choice(body, "quality", ("480p", "720p"), "480p"),
            request=body,
            images=tuple(images),
        )

    def price(self, order: Order) -> float:
        # The document has no price; this is what one client of this model calculates with.
        return 0.007 * order.seconds

    def created(self, job: Job, options: Options) -> Json:
        match options.apimart_create:
            case "list":
                return {"code": 200, "data": [{"status": "submitted", "task_id": job.task_id}]}
            case "task":
                return {
                    "data": {
                        "id": job.task_id,
                        "object": "video.generation.task",
                        "status": "pending",
                        "progress": 0,
                        "created": int(job.created),
                        "task_info": {"can_cancel": True, "estimated_time": int(job.seconds)},
                        "type": "video",
                    }
                }
        return {
            "code": 200,
            "data": {
                "id": job.task_id,
                "status": "submitted",
                "progress": 0,
                "created": int(job.created),
                "type": "video",
            },
        }

    def status(self, job: Job, report: Report, options: Options) -> Json:
        data: Json = {
            "id": job.task_id,
            "status": _word(report),
            **scripted_progress(report.progress, job.script.progress),
            "created": int(report.created),
            "estimated_time": int(job.seconds),
        }
        if report.state != "waiting":
            data["completed"] = int(report.finished)
            data["actual_time"] = int(report.finished) - int(report.created)
        if report.state == "succeeded":
            told = {"url": list(report.urls), "expires_at": int(report.urls_expire)}
            data["result"] = {"videos": [told] if report.urls else []}
            if report.thumbnail:
                data["result"]["thumbnail_url"] = report.thumbnail
            if options.apimart_cost:
                data["cost"] = round(self.price(job.order), 4)
                data["credits_cost"] = round(self.price(job.order) * _CREDITS_PER_DOLLAR, 2)
        elif report.state != "waiting":
            data["error"] = {"code": 500, "message": report.fail_message, "type": "task_failed"}
        return {"code": 200, "data": data}

    def no_data(self) -> Json:
        return {"code": 200, "data": None}

    def refused(self, refusal: Refusal, options: Options, random: Random) -> Answer:
        kind = _TYPES.get(refusal.status, "api_error")
        error: Json = {"code": refusal.status, "message": refusal.message, "type": kind}
        if refusal.field is not None:
            error["param"] = refusal.field
        if options.apimart_error == "string":
            error["code"] = kind
        body: Json = {"error": refusal.message if options.apimart_error == "bare" else error}
        return Answer(body, status=refusal.status, headers=refusal.headers)

    def bad_key(self) -> Refusal:
        return Refusal(401, "Invalid API key")

    def no_funds(self) -> Refusal:
        return Refusal(402, "Insufficient balance")

    def no_job(self) -> Refusal:
        return Refusal(404, "not found")


def _word(report: Report) -> str:
    match report.state:
        case "succeeded":
            return "completed"
        case "waiting":
            stages = ((0.1, "submitted"), (0.2, "pending"))
            natural = next((stage for end, stage in stages if report.fraction < end), "processing")
            return report.word or natural
    return report.state
