# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Apixo, after its grok-video document."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.jobs import Job, Order, Report
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.scripts import failing
from airflow_provider_vidgen.simulator.vendors import checks
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, Refusal, Schedule, Vendor

_MODEL: Final = "grok-video"
_MODES: Final = ("text-to-video", "image-to-video")
_RATIOS: Final = ("1:1", "2:3", "3:2", "9:16", "16:9")
_LONGEST_PROMPT: Final = 5000
_LAST_INDEX: Final = 5


class Apixo(Vendor):
    """``{code, message, data}``; the model is in the path, of the question as of the order."""

    name = "apixo"
    endpoints = (
        Endpoint("create", "POST", "/api/v1/generateTask/{model}"),
        Endpoint("status", "GET", "/api/v1/statusTask/{model}"),
        Endpoint("balance", "GET", "/api/v1/apikeys/current-balance"),
    )
    schedule = Schedule(retries=(30, 120, 600), timeout=30, only_200=True)

    def new_id(self, random: Random) -> str:
        # The eight digits that the document shows are too few for ids that never come again.
        return "task_" + checks.letters(random, string.digits, 18)

    def models(self) -> tuple[str, ...]:
        return (_MODEL,)

    def balance(self, *, funds: bool) -> Json:
        return _said({"balance": 100.0 if funds else 0.0})

    def reads_job(self, job: Job, match: Mapping[str, Any]) -> bool:
        return job.vendor == self.name and job.order.model == match["model"]

    def read(self, body: Json, model: str | None) -> Order:
        if model != _MODEL:
            raise Refusal(404, f"Model not found: {model}")
        checks.choice(body, "provider", ("auto", "value", "official"), "auto")
        request_type = checks.choice(body, "request_type", ("async", "callback"), "async")
        callback_url = checks.callback_url(body)
        if request_type == "callback" and callback_url is None:
            raise Refusal(400, "callback_url is required when request_type=callback", field="callback_url")
        told = body.get("input")
        if not isinstance(told, dict):
            raise Refusal(400, "Missing required field: input", field="input")
        order = self._read_input(told)
        wants_callback = request_type == "callback"
        return replace(order, request=body, callback_url=callback_url if wants_callback else None)

    def _read_input(self, told: Json) -> Order:
        prompt = checks.text(told, "prompt", "Missing required field: input.prompt")
        if len(prompt) > _LONGEST_PROMPT:
            raise Refusal(400, f"input.prompt must be 1-{_LONGEST_PROMPT} characters", field="prompt")
        checks.text(told, "mode", "Missing required field: input.mode")
        mode = checks.choice(told, "mode", _MODES, "")
        images = checks.texts(told, "image_urls")
        if len(images) > 1 or not all(map(checks.is_web_url, images)):
            raise Refusal(400, "input.image_urls takes one image URL", field="image_urls")
        continued = "task_id" in told or "index" in told
        if images and continued:
            raise Refusal(400, "send either image_urls or task_id + index, not both", field="image_urls")
        if mode == "image-to-video" and not (images or continued):
            raise Refusal(400, "image-to-video needs image_urls or task_id + index", field="image_urls")
        if mode == "text-to-video" and (images or continued):
            raise Refusal(400, "text-to-video takes no image", field="mode")
        order = Order(
            model=_MODEL,
            prompt=prompt,
            seconds=checks.whole(told, "duration", 6, 30, 6),
            aspect_ratio=checks.choice(told, "aspect_ratio", _RATIOS, "16:9"),
            resolution=checks.choice(told, "resolution", ("480p", "720p"), "480p"),
            request=told,
        )
        if not continued:
            return order
        checks.text(told, "task_id", "input.task_id and input.index go together")
        if type(told.get("index")) is not int:
            raise Refusal(400, "input.task_id and input.index go together", field="index")
        # The document lists a wrong index among the failures of a job, not among the refusals.
        wrong = not 0 <= told["index"] <= _LAST_INDEX
        return replace(order, script=failing("INVALID_TASK_ID")) if wrong else order

    def price(self, order: Order) -> float:
        # The document has no price, only the order of them: 480p and 6 seconds is the cheapest.
        return (0.02 if order.resolution == "480p" else 0.04) * order.seconds

    def created(self, job: Job, options: Options) -> Json:
        return _said({"taskId": job.task_id})

    def status(self, job: Job, report: Report, options: Options) -> Json:
        data: Json = {"taskId": job.task_id}
        match report.state:
            case "waiting":
                data["state"] = report.word or ("pending" if report.fraction < 0.2 else "processing")
                data["createTime"] = int(report.created * 1000)
            case "succeeded":
                data["state"] = "success"
                result: Json = {"resultUrls": list(report.urls)}
                if report.thumbnail:
                    result["thumbnailUrl"] = report.thumbnail
                data["resultJson"] = json.dumps(result)
                data["createTime"] = int(report.created * 1000)
                data["completeTime"] = int(report.finished * 1000)
                data["costTime"] = data["completeTime"] - data["createTime"]
            case _:
                data["state"] = "failed"
                data["failCode"] = report.fail_code
                data["failMsg"] = report.fail_message
        return _said(data)

    def callback(self, job: Job, report: Report, options: Options) -> Json:
        return self.status(job, report, options)

    def no_data(self) -> Json:
        return {"code": 200, "message": "success", "data": None}

    def refused(self, refusal: Refusal, options: Options, random: Random) -> Answer:
        body = {"code": refusal.status, "message": refusal.message, "data": None}
        status = 200 if options.apixo_errors_at_200 else refusal.status
        return Answer(body, status=status, headers=refusal.headers)

    def bad_key(self) -> Refusal:
        return Refusal(401, "Invalid or missing API Key")

    def no_funds(self) -> Refusal:
        return Refusal(400, "Insufficient credits")

    def no_job(self) -> Refusal:
        return Refusal(404, "Task not found")


def _said(data: Json) -> Json:
    return {"code": 200, "message": "success", "data": data}
