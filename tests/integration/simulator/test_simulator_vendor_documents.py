# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The request examples and the replies of the five documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from simulator_calls import AUTH, CREATE_PATHS, TIMEOUT, create, created, data, order, status, word
from simulator_examples import EXAMPLES

from airflow_provider_vidgen.simulator import Simulator


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_request_example_is_accepted_byte_for_byte(sim: Simulator, name: str) -> None:
    vendor, body = EXAMPLES[name]
    headers = {**AUTH, "Content-Type": "application/json"}
    reply = requests.post(
        sim.base_url(vendor) + CREATE_PATHS[vendor], data=body.encode(), headers=headers, timeout=TIMEOUT
    )
    assert reply.status_code == 200, reply.text
    assert sim.requests()[-1].body == body
    assert len(sim.ledger().entries) == 1


def test_the_catalogue_of_apixo_fields_is_refused_as_its_own_tip_says(sim: Simulator) -> None:
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
    reply = create(sim, "apixo", body)
    assert reply.status_code == 400
    assert "not both" in reply.json()["message"]


def test_apimodels_replies_have_the_shape_of_its_documents(sim: Simulator) -> None:
    told = create(sim, "apimodels").json()
    task_id = told["data"]["taskId"]
    assert told == {"code": 200, "msg": "success", "data": {"taskId": task_id, "state": "pending"}}
    assert task_id.startswith("cl")
    sim.advance(20)
    done = status(sim, "apimodels", task_id).json()
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


def test_a_failed_apimodels_job_is_code_200_all_the_same(sim: Simulator) -> None:
    task_id = created(sim, "apimodels", order("apimodels", "[sim:fail=X:Content policy violation]"))
    sim.advance(20)
    reply = status(sim, "apimodels", task_id)
    assert reply.status_code == 200
    assert reply.json() == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": task_id, "state": "failed", "failMsg": "Content policy violation"},
    }


def test_apimodels_can_give_a_json_string_instead_of_a_list(sim: Simulator) -> None:
    sim.options(apimodels_result_field="resultJson")
    task_id = created(sim, "apimodels")
    sim.advance(20)
    told = data(sim, "apimodels", task_id)
    assert "resultUrls" not in told
    assert len(json.loads(told["resultJson"])["resultUrls"]) == 1


def test_apixo_replies_have_the_shape_of_its_document(sim: Simulator) -> None:
    told = create(sim, "apixo").json()
    task_id = told["data"]["taskId"]
    assert told == {"code": 200, "message": "success", "data": {"taskId": task_id}}
    assert "resultJson" not in data(sim, "apixo", task_id)
    sim.advance(20)
    done = status(sim, "apixo", task_id).json()
    assert set(done) == {"code", "message", "data"}
    assert set(done["data"]) == {"taskId", "state", "resultJson", "createTime", "completeTime", "costTime"}
    assert done["data"]["state"] == "success"
    assert done["data"]["costTime"] == 20_000
    assert len(json.loads(done["data"]["resultJson"])["resultUrls"]) == 1


def test_a_failed_apixo_job_has_code_and_words(sim: Simulator) -> None:
    task_id = created(sim, "apixo", order("apixo", "[sim:fail=CONTENT_VIOLATION]"))
    sim.advance(20)
    assert status(sim, "apixo", task_id).json() == {
        "code": 200,
        "message": "success",
        "data": {
            "taskId": task_id,
            "state": "failed",
            "failCode": "CONTENT_VIOLATION",
            "failMsg": "Content does not meet safety guidelines",
        },
    }


def test_apixgo_answers_the_order_flat_and_the_question_enveloped(sim: Simulator) -> None:
    told = create(sim, "apixgo").json()
    task_id = told["task_id"]
    assert told == {
        "id": task_id,
        "task_id": task_id,
        "object": "video",
        "model": "grok-image-video",
        "status": "queued",
        "progress": 0,
        "created_at": told["created_at"],
    }
    sim.advance(6.5)
    assert status(sim, "apixgo", task_id).json() == {
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
    done = data(sim, "apixgo", task_id)
    assert (done["status"], done["progress"], done["fail_reason"]) == ("SUCCESS", "100%", "")
    assert done["result_url"].startswith("http")


def test_a_failed_apixgo_job_is_code_success_and_100_percent(sim: Simulator) -> None:
    reason = "Image URL could not be fetched: Fetching image failed with HTTP status 400 Bad Request."
    task_id = created(sim, "apixgo", order("apixgo", f"[sim:fail=X:{reason}]"))
    sim.advance(20)
    assert status(sim, "apixgo", task_id).json() == {
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


def test_apixgo_can_envelope_the_order_too(sim: Simulator) -> None:
    sim.options(apixgo_create_format="enveloped")
    told = create(sim, "apixgo").json()
    assert told["code"] == "success"
    assert told["data"]["status"] == "SUBMITTED"


def test_apimart_answers_the_order_as_its_document_and_in_two_other_shapes(sim: Simulator) -> None:
    told = create(sim, "apimart").json()
    assert told == {
        "code": 200,
        "data": {
            "id": told["data"]["id"],
            "status": "submitted",
            "progress": 0,
            "created": told["data"]["created"],
            "type": "video",
        },
    }
    sim.options(apimart_create_format="list")
    assert create(sim, "apimart").json()["data"][0]["status"] == "submitted"
    sim.options(apimart_create_format="task")
    assert create(sim, "apimart").json()["data"]["object"] == "video.generation.task"


def test_apimart_status_gives_a_list_of_links_and_when_they_die(sim: Simulator) -> None:
    task_id = created(sim, "apimart")
    sim.advance(10)
    waiting = data(sim, "apimart", task_id)
    assert (waiting["status"], waiting["progress"]) == ("processing", 50)
    sim.advance(10)
    done = data(sim, "apimart", task_id)
    assert (done["status"], done["progress"], done["actual_time"]) == ("completed", 100, 20)
    video = done["result"]["videos"][0]
    assert video["expires_at"] == done["completed"] + 86_400
    assert len(video["url"]) == 1


def test_apimart_reports_cost_when_asked_to(sim: Simulator) -> None:
    sim.options(apimart_cost=True)
    task_id = created(sim, "apimart")
    sim.advance(20)
    assert data(sim, "apimart", task_id)["cost"] == sim.ledger().entries[0].amount


SEQUENCES: dict[str, list[str]] = {
    "apimodels": ["pending", "processing", "processing", "completed"],
    "apixo": ["pending", "processing", "processing", "success"],
    "apixgo": ["NOT_START", "IN_PROGRESS", "IN_PROGRESS", "SUCCESS"],
    "apimart": ["submitted", "processing", "processing", "completed"],
}


@pytest.mark.parametrize("vendor", SEQUENCES)
def test_states_follow_in_each_vendors_own_words(sim: Simulator, vendor: str) -> None:
    task_id = created(sim, vendor)
    seen = []
    for step in (0, 5, 5, 10):
        sim.advance(step)
        seen.append(word(sim, vendor, task_id))
    assert seen == SEQUENCES[vendor]


def test_apixgo_passes_through_all_its_waiting_words(sim: Simulator) -> None:
    task_id = created(sim, "apixgo")
    seen = []
    for step in (0, 1.5, 1.5, 3):
        sim.advance(step)
        told = data(sim, "apixgo", task_id)
        seen.append((told["status"], told["progress"]))
    assert seen == [("NOT_START", "0%"), ("SUBMITTED", "0%"), ("QUEUED", "0%"), ("IN_PROGRESS", "30%")]


def test_p_video_holds_the_request_until_the_video_is_there(sim: Simulator) -> None:
    sim.set_speed(1000)
    before = sim.now()
    body: Any = {"prompt": "a cat", "duration": 6, "resolution": "1080p", "draft": True}
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    told = requests.post(url, json=body, headers=AUTH, timeout=TIMEOUT).json()
    sim.set_speed(0)
    assert sim.now() - before >= 30
    assert told["data"]["state"] == "completed"
    assert len(told["data"]["resultUrls"]) == 1
    assert 30_000 <= told["data"]["completeTime"] - told["data"]["createTime"] <= 60_000


@pytest.mark.parametrize(
    ("vendor", "path", "first"),
    [
        ("apimodels", "/api/v1/models", "grok-video-3"),
        ("apixgo", "/v1/models", "grok-image-video"),
        ("apimart", "/v1/models", "grok-imagine-1.0-video-apimart"),
    ],
)
def test_models_are_listed(sim: Simulator, vendor: str, path: str, first: str) -> None:
    told = requests.get(sim.base_url(vendor) + path, headers=AUTH, timeout=TIMEOUT).json()
    assert told["object"] == "list"
    assert told["data"][0]["id"] == first


def test_balances_are_told(sim: Simulator) -> None:
    apimart = requests.get(sim.base_url("apimart") + "/v1/balance", headers=AUTH, timeout=TIMEOUT).json()
    assert apimart["remain_balance"] > 0
    url = sim.base_url("apixo") + "/api/v1/apikeys/current-balance"
    assert requests.get(url, headers=AUTH, timeout=TIMEOUT).json()["data"]["balance"] > 0


def test_an_uploaded_image_can_be_read_back(sim: Simulator) -> None:
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("start.png", b"\x89PNG\r\n\x1a\n\x00\xff", "image/png")}
    told = requests.post(url, files=files, headers=AUTH, timeout=TIMEOUT).json()
    assert (told["filename"], told["content_type"], told["bytes"]) == ("start.png", "image/png", 10)
    assert requests.get(told["url"], timeout=TIMEOUT).content == files["file"][1]
