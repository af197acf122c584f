# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The four vendors, valid requests, and replies in each vendor's form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.vendors.apimart import ApiMart
from airflow_provider_vidgen.vendors.apimodels import ApiModels
from airflow_provider_vidgen.vendors.apixgo import Apixgo
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpReply
from tests.support.vendor_replies import LINK

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROMPT = "A lighthouse in a storm"
VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (ApiModels(), Apixo(), Apixgo(), ApiMart())}
MODELS = {
    "apimodels": "grok-video-3-official",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}


def request_for(vendor: str, **fields: Any) -> VideoRequest:
    """A request that is valid by the vendor's document, except for the given fields."""
    return VideoRequest(**{"prompt": PROMPT, "model": MODELS[vendor], **fields})


def vendor_job(vendor: str) -> VideoJob:
    return VideoJob(
        vendor=vendor, base_url=VENDORS[vendor].default_base_url, model=MODELS[vendor], task_id="task_1"
    )


def reply(status: int, body: Any = b"", **headers: str) -> HttpReply:
    """A reply; a body that is not bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(
        status=status,
        headers={name.lower().replace("_", "-"): value for name, value in headers.items()},
        content=content,
    )


def read_submit(vendor: str, http_reply: HttpReply, **fields: Any) -> Submission | VidgenError:
    """The result of reading a reply to a submission; an error is returned, not raised."""
    base_url = VENDORS[vendor].default_base_url
    try:
        return VENDORS[vendor].read_submit(request_for(vendor, **fields), base_url, http_reply, now=NOW)
    except VidgenError as error:
        return error


def read_status(vendor: str, http_reply: HttpReply) -> JobStatus | VidgenError:
    """The result of reading a reply to a status call; an error is returned, not raised."""
    try:
        return VENDORS[vendor].read_status(vendor_job(vendor), http_reply, now=NOW)
    except VidgenError as error:
        return error


def status_body(vendor: str, state: Any, **data: Any) -> Any:
    """The vendor's status reply with a state and further fields."""
    if vendor in ("apimodels", "apixo"):
        return {"code": 200, "msg": "success", "data": {"taskId": "task_1", "state": state, **data}}
    if vendor == "apixgo":
        return {"code": "success", "message": "", "data": {"task_id": "task_1", "status": state, **data}}
    return {"code": 200, "data": {"id": "task_1", "status": state, **data}}


def video_data(vendor: str, link: str = LINK) -> dict[str, Any]:
    """The fields of the vendor's status reply that hold a link."""
    return {
        "apimodels": {"resultUrls": [link]},
        "apixo": {"resultJson": json.dumps({"resultUrls": [link]})},
        "apixgo": {"result_url": link},
        "apimart": {"result": {"videos": [{"url": [link]}]}},
    }[vendor]


def failure_data(vendor: str, message: str, code: str = "") -> dict[str, Any]:
    """The fields of the vendor's status reply that hold the reason of a failure."""
    return {
        "apimodels": {"failMsg": message, "failCode": code},
        "apixo": {"failMsg": message, "failCode": code},
        "apixgo": {"fail_reason": f"{code} {message}".strip()},
        "apimart": {"error": {"code": code, "message": message}},
    }[vendor]


def create_body(vendor: str, task_id: Any = "task_1") -> Any:
    """The vendor's documented reply to a submission."""
    return {
        "apimodels": {"code": 200, "msg": "success", "data": {"taskId": task_id, "state": "pending"}},
        "apixo": {"code": 200, "message": "success", "data": {"taskId": task_id}},
        "apixgo": {"id": task_id, "task_id": task_id, "object": "video", "status": "queued", "progress": 0},
        "apimart": {"code": 200, "data": {"id": task_id, "status": "submitted", "progress": 0}},
    }[vendor]


def error_body(vendor: str, code: int | str, message: str) -> Any:
    """The vendor's form of an error."""
    if vendor in ("apimodels", "apixo"):
        return {"code": code, "msg" if vendor == "apimodels" else "message": message, "data": None}
    return {"error": {"code": code, "message": message, "type": "error"}}
