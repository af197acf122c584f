# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The vendors' replies, as their documents show them."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_vidgen.simulator.placeholder_media import mp4_head
from tests.support.accounts import BASE

RAW_STATES = {
    "apimodels": ("processing", "completed", "failed"),
    "apixo": ("processing", "success", "failed"),
    "apixgo": ("IN_PROGRESS", "SUCCESS", "FAILURE"),
    "apimart": ("processing", "completed", "failed"),
}
LINK = "https://cdn.example.com/v/clip.mp4?sig=s3cret-signature"
MP4 = mp4_head(1024, 6, 320, 240) + bytes(range(256)) * 4
CREATE = {
    "apimodels": f"{BASE['apimodels']}/api/v1/video/generations",
    "apixo": f"{BASE['apixo']}/api/v1/generateTask/grok-video",
    "apixgo": f"{BASE['apixgo']}/v1/video/generations",
    "apimart": f"{BASE['apimart']}/v1/videos/generations",
}
STATUS = {
    "apimodels": f"{BASE['apimodels']}/api/v1/video/generations?task_id=task_1",
    "apixo": f"{BASE['apixo']}/api/v1/statusTask/grok-video?taskId=task_1",
    "apixgo": f"{BASE['apixgo']}/v1/video/generations/task_1",
    "apimart": f"{BASE['apimart']}/v1/tasks/task_1",
}


def running(vendor: str, **data: Any) -> dict[str, Any]:
    """Return a status reply of a running job."""
    return status_body(vendor, RAW_STATES[vendor][0], **data)


def finished(vendor: str, link: str = LINK) -> dict[str, Any]:
    """Return a status reply with a video."""
    progress = {"apixgo": {"progress": "100%"}, "apimart": {"progress": 100}}.get(vendor, {})
    return status_body(vendor, RAW_STATES[vendor][1], **video_data(vendor, link), **progress)


def failed(vendor: str, message: str, code: str = "") -> dict[str, Any]:
    """Return a status reply of a failed job."""
    return status_body(vendor, RAW_STATES[vendor][2], **failure_data(vendor, message, code))


def unknown(vendor: str) -> dict[str, Any]:
    """Return the reply about a job that the vendor does not know, as requests-mock takes it."""
    return {
        "apimodels": {"status_code": 404, "json": {"code": 404, "msg": "Not Found -- task ID not found"}},
        "apixo": {"status_code": 404, "json": {"code": 404, "message": "Task not found", "data": None}},
        "apixgo": {"status_code": 400, "json": {"code": "task_not_exist", "message": "task_not_exist"}},
        "apimart": {"status_code": 404, "json": {"code": 404, "message": "not found"}},
    }[vendor]


def create_body(vendor: str, task_id: Any = "task_1") -> Any:
    """Return the vendor's documented reply to a submission."""
    return {
        "apimodels": {"code": 200, "msg": "success", "data": {"taskId": task_id, "state": "pending"}},
        "apixo": {"code": 200, "message": "success", "data": {"taskId": task_id}},
        "apixgo": {"id": task_id, "task_id": task_id, "object": "video", "status": "queued", "progress": 0},
        "apimart": {"code": 200, "data": {"id": task_id, "status": "submitted", "progress": 0}},
    }[vendor]


def status_body(vendor: str, raw_state: Any, **data: Any) -> dict[str, Any]:
    """Return the vendor's status envelope with a state and further fields."""
    if vendor in ("apimodels", "apixo"):
        message_field = "msg" if vendor == "apimodels" else "message"
        return {
            "code": 200,
            message_field: "success",
            "data": {"taskId": "task_1", "state": raw_state, **data},
        }
    if vendor == "apixgo":
        return {"code": "success", "message": "", "data": {"task_id": "task_1", "status": raw_state, **data}}
    return {"code": 200, "data": {"id": "task_1", "status": raw_state, **data}}


def error_body(vendor: str, code: int | str, message: str) -> Any:
    """Return the vendor's error envelope."""
    if vendor in ("apimodels", "apixo"):
        return {"code": code, "msg" if vendor == "apimodels" else "message": message, "data": None}
    return {"error": {"code": code, "message": message, "type": "error"}}


def video_data(vendor: str, link: str = LINK) -> dict[str, Any]:
    """Return the fields of a status reply that hold the link."""
    return {
        "apimodels": {"resultUrls": [link]},
        "apixo": {"resultJson": json.dumps({"resultUrls": [link]})},
        "apixgo": {"result_url": link},
        "apimart": {"result": {"videos": [{"url": [link]}]}},
    }[vendor]


def failure_data(vendor: str, message: str, code: str = "") -> dict[str, Any]:
    """Return the fields of a status reply that hold the reason of a failure."""
    return {
        "apimodels": {"failMsg": message, "failCode": code},
        "apixo": {"failMsg": message, "failCode": code},
        "apixgo": {"fail_reason": f"{code} {message}".strip()},
        "apimart": {"error": {"code": code, "message": message}},
    }[vendor]


#: Refuses a submission for lack of capacity; arguments of ``requests_mock``.
AT_CAPACITY = {"status_code": 429, "json": {"code": 429, "message": "too many"}}
