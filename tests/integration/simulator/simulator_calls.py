# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""How the tests talk to the vendors: plain HTTP, as the documents' own examples do."""

from __future__ import annotations

import json
from typing import Any

import requests

from airflow_provider_vidgen.simulator import Simulator

AUTH = {"Authorization": "Bearer sim-key"}
TIMEOUT = 5

CREATE_PATHS = {
    "apimodels": "/api/v1/video/generations",
    "apixo": "/api/v1/generateTask/grok-video",
    "apixgo": "/v1/video/generations",
    "apimart": "/v1/videos/generations",
}
STATUS_PATHS = {
    "apimodels": "/api/v1/video/generations?task_id={}",
    "apixo": "/api/v1/statusTask/grok-video?taskId={}",
    "apixgo": "/v1/video/generations/{}",
    "apimart": "/v1/tasks/{}",
}
MINIMAL_BODIES: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "prompt": "a cat"},
    "apixo": {"input": {"mode": "text-to-video", "prompt": "a cat"}},
    "apixgo": {"model": "grok-image-video", "prompt": "a cat"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "prompt": "a cat"},
}
VENDORS = tuple(CREATE_PATHS)


def order(vendor: str, prompt: str = "a cat", **more: Any) -> dict[str, Any]:
    """Give a request for a video; more fields go where the vendor has its own."""
    body = dict(MINIMAL_BODIES[vendor])
    if vendor == "apixo":
        return {"input": {**body["input"], "prompt": prompt, **more}}
    return {**body, "prompt": prompt, **more}


def create(sim: Simulator, vendor: str, body: Any = None, **options: Any) -> requests.Response:
    """Send a request to create a video."""
    options.setdefault("headers", AUTH)
    options.setdefault("timeout", TIMEOUT)
    url = sim.base_url(vendor) + CREATE_PATHS[vendor]
    return requests.post(url, json=MINIMAL_BODIES[vendor] if body is None else body, **options)


def created(sim: Simulator, vendor: str, body: Any = None) -> str:
    """Create a video and give the job's id."""
    reply = create(sim, vendor, body)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    data = told if vendor == "apixgo" else told["data"]
    return str(data.get("taskId") or data.get("task_id") or data.get("id"))


def status(sim: Simulator, vendor: str, task_id: str, **options: Any) -> requests.Response:
    """Ask how a job is doing."""
    options.setdefault("headers", AUTH)
    options.setdefault("timeout", TIMEOUT)
    return requests.get(sim.base_url(vendor) + STATUS_PATHS[vendor].format(task_id), **options)


def data(sim: Simulator, vendor: str, task_id: str) -> Any:
    """Ask how a job is doing, and give what the envelope holds."""
    return status(sim, vendor, task_id).json()["data"]


def word(sim: Simulator, vendor: str, task_id: str) -> str:
    """Ask for the vendor's state word."""
    told = data(sim, vendor, task_id)
    return str(told.get("state") or told.get("status"))


def link(sim: Simulator, vendor: str, task_id: str) -> str:
    """Ask for the result link of a finished job."""
    told = data(sim, vendor, task_id)
    match vendor:
        case "apimodels":
            return str(told["resultUrls"][0])
        case "apixo":
            return str(json.loads(told["resultJson"])["resultUrls"][0])
        case "apixgo":
            return str(told["result_url"])
    return str(told["result"]["videos"][0]["url"][0])


def finished_link(sim: Simulator, vendor: str, body: Any = None) -> str:
    """Create a video, let it end, and give its link."""
    task_id = created(sim, vendor, body)
    sim.advance(20)
    return link(sim, vendor, task_id)
