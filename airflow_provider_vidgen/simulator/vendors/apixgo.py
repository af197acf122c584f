# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Apixgo, after its Chinese document; where that is silent, as the relay software it runs on behaves."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from random import Random
from typing import Final

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.jobs import Job, Order, Report
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.vendors import checks
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, Refusal, Vendor, scripted_progress

_RATIOS: Final = {
    "grok-image-video": ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
    "grok-video-1.5": ("16:9", "9:16"),
}
_MOST_IMAGES: Final = 7
_LONGEST: Final = 15
_LONGEST_WITH_SEVERAL_IMAGES: Final = 10
_LONGEST_PROMPT: Final = 4096
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=\s]+")
_STAGES: Final = ((0.05, "NOT_START"), (0.1, "SUBMITTED"), (0.2, "QUEUED"))


class Apixgo(Vendor):
    """The order is answered flat, the question in an envelope whose ``code`` is a word."""

    name = "apixgo"
    endpoints = (
        Endpoint("create", "POST", "/v1/video/generations"),
        Endpoint("status", "GET", "/v1/video/generations/{task_id}"),
        Endpoint("models", "GET", "/v1/models"),
    )

    def new_id(self, random: Random) -> str:
        return "task_" + checks.letters(random, string.ascii_letters + string.digits, 32)

    def models(self) -> tuple[str, ...]:
        return tuple(_RATIOS)

    def read(self, body: Json, model: str | None) -> Order:
        name = checks.text(body, "model", "model field is required")
        prompt = checks.text(body, "prompt", "prompt is required")
        if name not in _RATIOS:
            raise Refusal(
                503,
                f"No available channel for model {name} under group default",
                code="model_not_found",
            )
        if len(prompt) > _LONGEST_PROMPT:
            raise Refusal(400, f"Prompt length exceeds the maximum allowed length of {_LONGEST_PROMPT}")
        images = _images(body)
        if name == "grok-video-1.5" and len(images) != 1:
            raise Refusal(400, f"{name} only supports exactly one reference image")
        if len(images) > _MOST_IMAGES:
            raise Refusal(400, f"{name} supports at most {_MOST_IMAGES} reference images")
        order = Order(
            model=name,
            prompt=prompt,
            seconds=checks.whole(body, "seconds", 1, _LONGEST, 4),
            aspect_ratio=checks.choice(body, "aspect_ratio", _RATIOS[name], "16:9"),
            resolution=checks.choice(body, "resolution", ("720p", "480p"), "720p"),
            request=body,
        )
        if len(images) > 1:
            # Said nowhere in the reply: the user asked for more and gets this.
            return replace(order, seconds=min(order.seconds, _LONGEST_WITH_SEVERAL_IMAGES))
        return order

    def price(self, order: Order) -> float:
        # The document has no price.
        return 0.02 * order.seconds

    def created(self, job: Job, options: Options) -> Json:
        if options.apixgo_create == "enveloped":
            return _said({"task_id": job.task_id, "status": "SUBMITTED"})
        return {
            "id": job.task_id,
            "task_id": job.task_id,
            "object": "video",
            "model": job.order.model,
            "status": "queued",
            "progress": 0,
            "created_at": int(job.created),
        }

    def status(self, job: Job, report: Report, options: Options) -> Json:
        word, progress, url, reason = "IN_PROGRESS", f"{report.progress // 10 * 10}%", "", ""
        match report.state:
            case "waiting":
                word = next((stage for end, stage in _STAGES if report.fraction < end), word)
                word = report.word or word
                if word in ("NOT_START", "SUBMITTED", "QUEUED"):
                    progress = "0%"
            case "succeeded":
                # One link, however many videos there are: the document has a text here and no list.
                word, url = "SUCCESS", report.urls[0] if report.urls else ""
            case _:
                word, reason = "FAILURE", report.fail_message
                if report.error_in_url:
                    url = reason
        return _said(
            {
                "task_id": job.task_id,
                "status": word,
                **scripted_progress(progress, job.script.progress),
                "result_url": url,
                "fail_reason": reason,
            }
        )

    def no_data(self) -> Json:
        return {"code": "success", "message": "", "data": None}

    def refused(self, refusal: Refusal, options: Options, random: Random) -> Answer:
        if refusal.code == "task_not_exist":
            body: Json = {"code": refusal.code, "message": refusal.message, "data": None}
        else:
            request_id = checks.letters(random, string.digits, 20)
            message = f"{refusal.message} (request id: {request_id})"
            body = {"error": {"message": message, "type": "new_api_error", "code": refusal.code}}
        return Answer(body, status=refusal.status, headers=refusal.headers)

    def bad_key(self) -> Refusal:
        return Refusal(401, "Invalid token")

    def no_funds(self) -> Refusal:
        return Refusal(403, "用户额度不足, 剩余额度: $0.000000")

    def no_job(self) -> Refusal:
        return Refusal(400, "task_not_exist", code="task_not_exist")


def _images(body: Json) -> list[str]:
    """Collect the images of the three fields that can carry them."""
    reference = body.get("input_reference")
    several = checks.texts(body, "reference_images")
    if reference is not None and several:
        raise Refusal(400, "input_reference and reference_images cannot be used together")
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    if reference is not None and not isinstance(reference, str):
        raise Refusal(400, "input_reference must be an image URL")
    images = [*checks.texts(body, "image_urls"), *([reference] if reference else []), *several]
    for image in images:
        if not checks.is_web_url(image) and not _DATA_URL.fullmatch(image):
            raise Refusal(400, "image must be an HTTPS URL or a complete base64 data URL")
    return images


def _said(data: Json) -> Json:
    return {"code": "success", "message": "", "data": data}
