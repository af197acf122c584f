# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The request examples and responses of the five vendor documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from simulator_calls import (
    AUTH_HEADER,
    CREATE_PATHS,
    TIMEOUT,
    create_job,
    get_status,
    post_create,
    request_body,
    status_data,
    vendor_state,
)
from simulator_examples import EXAMPLES

from airflow_provider_vidgen.simulator import Simulator


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_request_example_is_accepted_byte_for_byte(sim: Simulator, name: str) -> None:
    vendor, body = EXAMPLES[name]
    headers = {**AUTH_HEADER, "Content-Type": "application/json"}
    response = requests.post(
        sim.base_url(vendor) + CREATE_PATHS[vendor], data=body.encode(), headers=headers, timeout=TIMEOUT
    )
    assert response.status_code == 200, response.text
    assert sim.requests()[-1].body == body
    assert len(sim.ledger().entries) == 1


def test_the_apixo_example_with_every_field_is_rejected_as_its_document_says(sim: Simulator) -> None:
    body = {
        "request_type": "async",
        "callback_url": "https://...",
        "provider": "auto",
        "input": {
            "mode": "text-to-video",
            "prompt": "A cinematic city street after rain, soft reflections, slow camera push.",
            "duration": 6,
            "resolution": "480p",
            "aspect_ratio": "3:2",
            "style": "normal",
            "image_urls": ["https://example.com/ref.jpg"],
            "task_id": "task_previous_grok_image",
            "index": 0,
        },
    }
    response = post_create(sim, "apixo", body)
    assert response.status_code == 400
    assert "not both" in response.json()["message"]


def test_apimodels_responses_have_the_documented_fields(sim: Simulator) -> None:
    payload = post_create(sim, "apimodels").json()
    task_id = payload["data"]["taskId"]
    assert payload == {"code": 200, "msg": "success", "data": {"taskId": task_id, "state": "pending"}}
    assert task_id.startswith("cl")
    sim.advance(20)
    done = get_status(sim, "apimodels", task_id).json()
    urls = done["data"]["resultUrls"]
    assert done == {
        "code": 200,
        "msg": "success",
        "data": {
            "taskId": task_id,
            "state": "completed",
            "resultUrls": urls,
            "createTime": done["data"]["createTime"],
            "completeTime": done["data"]["createTime"] + 20_000,
        },
    }
    assert len(urls) == 1


def test_the_status_of_a_failed_apimodels_job_has_code_200(sim: Simulator) -> None:
    task_id = create_job(sim, "apimodels", request_body("apimodels", "[sim:fail=X:Content policy violation]"))
    sim.advance(20)
    response = get_status(sim, "apimodels", task_id)
    assert response.status_code == 200
    assert response.json() == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": task_id, "state": "failed", "failMsg": "Content policy violation"},
    }


def test_an_apimodels_result_can_be_a_json_string(sim: Simulator) -> None:
    sim.options(apimodels_result_field="resultJson")
    task_id = create_job(sim, "apimodels")
    sim.advance(20)
    payload = status_data(sim, "apimodels", task_id)
    assert "resultUrls" not in payload
    assert len(json.loads(payload["resultJson"])["resultUrls"]) == 1


def test_apixo_responses_have_the_documented_fields(sim: Simulator) -> None:
    payload = post_create(sim, "apixo").json()
    task_id = payload["data"]["taskId"]
    assert payload == {"code": 200, "message": "success", "data": {"taskId": task_id}}
    assert "resultJson" not in status_data(sim, "apixo", task_id)
    sim.advance(20)
    done = get_status(sim, "apixo", task_id).json()
    assert set(done) == {"code", "message", "data"}
    assert set(done["data"]) == {"taskId", "state", "resultJson", "createTime", "completeTime", "costTime"}
    assert done["data"]["state"] == "success"
    assert done["data"]["costTime"] == 20_000
    assert len(json.loads(done["data"]["resultJson"])["resultUrls"]) == 1


def test_a_failed_apixo_job_has_an_error_code_and_message(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo", request_body("apixo", "[sim:fail=CONTENT_VIOLATION]"))
    sim.advance(20)
    assert get_status(sim, "apixo", task_id).json() == {
        "code": 200,
        "message": "success",
        "data": {
            "taskId": task_id,
            "state": "failed",
            "failCode": "CONTENT_VIOLATION",
            "failMsg": "Content does not meet safety guidelines",
        },
    }


def test_apixgo_create_responses_are_flat_and_status_responses_enveloped(sim: Simulator) -> None:
    payload = post_create(sim, "apixgo").json()
    task_id = payload["task_id"]
    assert payload == {
        "id": task_id,
        "task_id": task_id,
        "object": "video",
        "model": "grok-image-video",
        "status": "queued",
        "progress": 0,
        "created_at": payload["created_at"],
    }
    sim.advance(6.5)
    assert get_status(sim, "apixgo", task_id).json() == {
        "code": "success",
        "message": "",
        "data": {
            "task_id": task_id,
            "status": "IN_PROGRESS",
            "progress": "30%",
            "result_url": "",
            "fail_reason": "",
        },
    }
    sim.advance(13.5)
    done = status_data(sim, "apixgo", task_id)
    assert (done["status"], done["progress"], done["fail_reason"]) == ("SUCCESS", "100%", "")
    assert done["result_url"].startswith("http")


def test_the_status_of_a_failed_apixgo_job_has_code_success_and_100_percent(sim: Simulator) -> None:
    reason = "Image URL could not be fetched: Fetching image failed with HTTP status 400 Bad Request."
    task_id = create_job(sim, "apixgo", request_body("apixgo", f"[sim:fail=X:{reason}]"))
    sim.advance(20)
    assert get_status(sim, "apixgo", task_id).json() == {
        "code": "success",
        "message": "",
        "data": {
            "task_id": task_id,
            "status": "FAILURE",
            "progress": "100%",
            "result_url": "",
            "fail_reason": reason,
        },
    }


def test_apixgo_create_responses_can_be_enveloped(sim: Simulator) -> None:
    sim.options(apixgo_create_format="enveloped")
    payload = post_create(sim, "apixgo").json()
    assert payload["code"] == "success"
    assert payload["data"]["status"] == "SUBMITTED"


def test_apimart_create_responses_have_the_documented_and_two_other_formats(sim: Simulator) -> None:
    payload = post_create(sim, "apimart").json()
    assert payload == {
        "code": 200,
        "data": {
            "id": payload["data"]["id"],
            "status": "submitted",
            "progress": 0,
            "created": payload["data"]["created"],
            "type": "video",
        },
    }
    sim.options(apimart_create_format="list")
    assert post_create(sim, "apimart").json()["data"][0]["status"] == "submitted"
    sim.options(apimart_create_format="task")
    assert post_create(sim, "apimart").json()["data"]["object"] == "video.generation.task"


def test_an_apimart_status_has_a_list_of_links_and_their_expiry(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart")
    sim.advance(10)
    waiting = status_data(sim, "apimart", task_id)
    assert (waiting["status"], waiting["progress"]) == ("processing", 50)
    sim.advance(10)
    done = status_data(sim, "apimart", task_id)
    assert (done["status"], done["progress"], done["actual_time"]) == ("completed", 100, 20)
    video = done["result"]["videos"][0]
    assert video["expires_at"] == done["completed"] + 86_400
    assert len(video["url"]) == 1


def test_a_finished_apimart_job_reports_what_was_billed(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart")
    assert "cost" not in status_data(sim, "apimart", task_id)
    sim.advance(20)
    done, (bill,) = status_data(sim, "apimart", task_id), sim.ledger().entries
    assert (bill.state, bill.currency) == ("settled", "USD")
    assert done["cost"] == bill.amount
    assert done["credits_cost"] == pytest.approx(bill.amount * 100)
    sim.options(apimart_cost=False)
    assert not {"cost", "credits_cost"} & set(status_data(sim, "apimart", task_id))


SEQUENCES: dict[str, list[str]] = {
    "apimodels": ["pending", "processing", "processing", "completed"],
    "apixo": ["pending", "processing", "processing", "success"],
    "apixgo": ["NOT_START", "IN_PROGRESS", "IN_PROGRESS", "SUCCESS"],
    "apimart": ["submitted", "processing", "processing", "completed"],
}


@pytest.mark.parametrize("vendor", SEQUENCES)
def test_each_vendor_reports_its_own_states_in_order(sim: Simulator, vendor: str) -> None:
    task_id = create_job(sim, vendor)
    states = []
    for step in (0, 5, 5, 10):
        sim.advance(step)
        states.append(vendor_state(sim, vendor, task_id))
    assert states == SEQUENCES[vendor]


def test_apixgo_reports_all_its_waiting_states(sim: Simulator) -> None:
    task_id = create_job(sim, "apixgo")
    states = []
    for step in (0, 1.5, 1.5, 3):
        sim.advance(step)
        payload = status_data(sim, "apixgo", task_id)
        states.append((payload["status"], payload["progress"]))
    assert states == [("NOT_START", "0%"), ("SUBMITTED", "0%"), ("QUEUED", "0%"), ("IN_PROGRESS", "30%")]


def test_p_video_responds_when_the_video_is_complete(sim: Simulator) -> None:
    sim.set_speed(1000)
    before = sim.now()
    body: Any = {"prompt": "a cat", "duration": 6, "resolution": "1080p", "draft": True}
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    payload = requests.post(url, json=body, headers=AUTH_HEADER, timeout=TIMEOUT).json()
    sim.set_speed(0)
    assert sim.now() - before >= 30
    assert payload["data"]["state"] == "completed"
    assert len(payload["data"]["resultUrls"]) == 1
    assert 30_000 <= payload["data"]["completeTime"] - payload["data"]["createTime"] <= 60_000


@pytest.mark.parametrize(
    ("vendor", "path", "first"),
    [
        ("apimodels", "/api/v1/models", "grok-video-3"),
        ("apixgo", "/v1/models", "grok-image-video"),
        ("apimart", "/v1/models", "grok-imagine-1.0-video-apimart"),
    ],
)
def test_models_are_listed(sim: Simulator, vendor: str, path: str, first: str) -> None:
    payload = requests.get(sim.base_url(vendor) + path, headers=AUTH_HEADER, timeout=TIMEOUT).json()
    assert payload["object"] == "list"
    assert payload["data"][0]["id"] == first


def test_balances_are_reported(sim: Simulator) -> None:
    apimart = requests.get(
        sim.base_url("apimart") + "/v1/balance", headers=AUTH_HEADER, timeout=TIMEOUT
    ).json()
    assert apimart["remain_balance"] > 0
    url = sim.base_url("apixo") + "/api/v1/apikeys/current-balance"
    assert requests.get(url, headers=AUTH_HEADER, timeout=TIMEOUT).json()["data"]["balance"] > 0


def test_an_uploaded_image_can_be_downloaded(sim: Simulator) -> None:
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("start.png", b"\x89PNG\r\n\x1a\n\x00\xff", "image/png")}
    payload = requests.post(url, files=files, headers=AUTH_HEADER, timeout=TIMEOUT).json()
    assert (payload["filename"], payload["content_type"], payload["bytes"]) == ("start.png", "image/png", 10)
    assert requests.get(payload["url"], timeout=TIMEOUT).content == files["file"][1]
