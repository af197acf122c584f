# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Plain HTTP requests to the simulated vendors, as in the examples of their documents."""

from __future__ import annotations

import json
from typing import Any

import requests

from airflow_provider_vidgen.simulator import Simulator

AUTH_HEADER = {"Authorization": "Bearer sim-key"}
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


def request_body(vendor: str, prompt: str = "a cat", **more: Any) -> dict[str, Any]:
    """Return a request for a video; further fields are added where the vendor expects them."""
    body = dict(MINIMAL_BODIES[vendor])
    if vendor == "apixo":
        return {"input": {**body["input"], "prompt": prompt, **more}}
    return {**body, "prompt": prompt, **more}


def post_create(sim: Simulator, vendor: str, body: Any = None, **options: Any) -> requests.Response:
    """Send a request for a video."""
    options.setdefault("headers", AUTH_HEADER)
    options.setdefault("timeout", TIMEOUT)
    url = sim.base_url(vendor) + CREATE_PATHS[vendor]
    return requests.post(url, json=MINIMAL_BODIES[vendor] if body is None else body, **options)


def create_job(sim: Simulator, vendor: str, body: Any = None) -> str:
    """Create a job, and return its id."""
    response = post_create(sim, vendor, body)
    assert response.status_code == 200, response.text
    payload = response.json()
    data = payload if vendor == "apixgo" else payload["data"]
    return str(data.get("taskId") or data.get("task_id") or data.get("id"))


def get_status(sim: Simulator, vendor: str, task_id: str, **options: Any) -> requests.Response:
    """Check the status of a job."""
    options.setdefault("headers", AUTH_HEADER)
    options.setdefault("timeout", TIMEOUT)
    return requests.get(sim.base_url(vendor) + STATUS_PATHS[vendor].format(task_id), **options)


def status_data(sim: Simulator, vendor: str, task_id: str) -> Any:
    """Check the status of a job, and return its data without the envelope."""
    return get_status(sim, vendor, task_id).json()["data"]


def vendor_state(sim: Simulator, vendor: str, task_id: str) -> str:
    """Check the status of a job, and return the state in the vendor's own term."""
    payload = status_data(sim, vendor, task_id)
    return str(payload.get("state") or payload.get("status"))


def result_link(sim: Simulator, vendor: str, task_id: str) -> str:
    """Check the status of a finished job, and return its result link."""
    payload = status_data(sim, vendor, task_id)
    match vendor:
        case "apimodels":
            return str(payload["resultUrls"][0])
        case "apixo":
            return str(json.loads(payload["resultJson"])["resultUrls"][0])
        case "apixgo":
            return str(payload["result_url"])
    return str(payload["result"]["videos"][0]["url"][0])


def finished_job_link(sim: Simulator, vendor: str, body: Any = None) -> str:
    """Create a job, advance the clock to its end, and return its result link."""
    task_id = create_job(sim, vendor, body)
    sim.advance(20)
    return result_link(sim, vendor, task_id)
