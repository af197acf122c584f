# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What each vendor refuses, in its own envelope and words."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from simulator_calls import AUTH, CREATE_PATHS, TIMEOUT, VENDORS, create, created, order, status

from airflow_provider_vidgen.simulator import Simulator

PICTURE = "https://example.com/a.png"
DATA_URL = "data:image/png;base64,iVBORw0KGgo="


def said(vendor: str, reply: requests.Response) -> str:
    """Take the words out of a vendor's error envelope, and check the envelope on the way."""
    told = reply.json()
    match vendor:
        case "apimodels":
            assert set(told) == {"code", "msg", "data"}
            assert (told["code"], told["data"]) == (reply.status_code, None)
            return str(told["msg"])
        case "apixo":
            assert set(told) == {"code", "message", "data"}
            assert told["data"] is None
            return str(told["message"])
        case "apixgo":
            assert set(told["error"]) == {"message", "type", "code"}
            assert "(request id: " in told["error"]["message"]
            return str(told["error"]["message"])
    assert told["error"]["code"] == reply.status_code
    return str(told["error"]["message"])


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic sim-key", "Bearer "])
def test_a_missing_or_wrong_key_is_401_in_the_vendors_envelope(
    sim: Simulator, vendor: str, key: str | None
) -> None:
    reply = create(sim, vendor, headers={} if key is None else {"Authorization": key})
    assert reply.status_code == 401
    assert said(vendor, reply)
    assert sim.ledger().entries == []


@pytest.mark.parametrize(
    ("vendor", "code", "words"),
    [
        ("apimodels", 402, "insufficient credits"),
        ("apixo", 400, "Insufficient credits"),
        ("apixgo", 403, "额度不足"),
        ("apimart", 402, "Insufficient balance"),
    ],
)
def test_a_key_without_credit_is_told_so(sim: Simulator, vendor: str, code: int, words: str) -> None:
    reply = create(sim, vendor, headers={"Authorization": "Bearer sim-nofunds"})
    assert reply.status_code == code
    assert words in said(vendor, reply)
    assert sim.ledger().entries == []


def test_apixo_can_refuse_with_http_200(sim: Simulator) -> None:
    sim.options(apixo_errors_with_http_200=True)
    reply = create(sim, "apixo", headers={"Authorization": "Bearer sim-nofunds"})
    assert reply.status_code == 200
    assert reply.json() == {"code": 400, "message": "Insufficient credits", "data": None}


def test_the_good_keys_can_be_named(sim: Simulator) -> None:
    sim.options(api_keys=["mine"])
    assert create(sim, "apimart").status_code == 401
    assert create(sim, "apimart", headers={"Authorization": "Bearer mine"}).status_code == 200


GROK_15: dict[str, Any] = {"model": "grok-video-1.5", "prompt": "a cat"}
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("apimodels", {"prompt": "a cat"}, 400, "model"),
    ("apimodels", {"model": "grok-video-3"}, 400, "prompt"),
    ("apimodels", order("apimodels", "  "), 400, "prompt"),
    ("apimodels", {"model": "sora", "prompt": "a cat"}, 400, "Invalid model"),
    ("apimodels", order("apimodels", aspect_ratio="4:3"), 400, "aspect_ratio"),
    ("apimodels", order("apimodels", size="720p"), 400, "size"),
    ("apimodels", order("apimodels", callback_url="here"), 400, "callback_url"),
    ("apimodels", {"model": "grok-video-3-official", "prompt": "a cat", "duration": 7}, 400, "duration"),
    ("apixo", {}, 400, "input"),
    ("apixo", {"input": {"mode": "text-to-video"}}, 400, "input.prompt"),
    ("apixo", {"input": {"prompt": "a cat"}}, 400, "input.mode"),
    ("apixo", order("apixo", "x" * 5001), 400, "5000"),
    ("apixo", order("apixo", duration=5), 400, "between 6 and 30"),
    ("apixo", order("apixo", duration="6"), 400, "integer"),
    ("apixo", order("apixo", duration=True), 400, "integer"),
    ("apixo", order("apixo", resolution="720P"), 400, "resolution"),
    ("apixo", order("apixo", aspect_ratio="4:3"), 400, "aspect_ratio"),
    ("apixo", order("apixo", mode="image-to-video"), 400, "image"),
    ("apixo", order("apixo", image_urls=[PICTURE]), 400, "takes no image"),
    ("apixo", order("apixo", mode="image-to-video", image_urls=[PICTURE] * 2), 400, "one image"),
    ("apixo", order("apixo", mode="image-to-video", image_urls=[DATA_URL]), 400, "URL"),
    ("apixo", order("apixo", mode="image-to-video", task_id="t"), 400, "together"),
    ("apixo", order("apixo", mode="image-to-video", index=0), 400, "together"),
    ("apixo", {**order("apixo"), "provider": "best"}, 400, "provider"),
    ("apixo", {**order("apixo"), "request_type": "callback"}, 400, "callback_url is required"),
    ("apixgo", {"prompt": "a cat"}, 400, "model field is required"),
    ("apixgo", {"model": "grok-image-video", "prompt": ""}, 400, "prompt is required"),
    ("apixgo", {"model": "sora", "prompt": "a cat"}, 503, "No available channel"),
    ("apixgo", GROK_15, 400, "only supports exactly one reference image"),
    ("apixgo", {**GROK_15, "image_urls": [PICTURE] * 2}, 400, "only supports exactly one reference image"),
    ("apixgo", {**GROK_15, "image_urls": [PICTURE], "aspect_ratio": "1:1"}, 400, "aspect_ratio"),
    ("apixgo", order("apixgo", image_urls=[PICTURE] * 8), 400, "at most 7"),
    ("apixgo", order("apixgo", image_urls=["iVBORw0KGgo="]), 400, "base64 data URL"),
    ("apixgo", order("apixgo", input_reference=PICTURE, reference_images=[PICTURE]), 400, "together"),
    ("apixgo", order("apixgo", seconds=16), 400, "between 1 and 15"),
    ("apixgo", order("apixgo", seconds="6"), 400, "integer"),
    ("apixgo", order("apixgo", resolution="1080p"), 400, "resolution"),
    ("apixgo", order("apixgo", "x" * 4097), 400, "4096"),
    ("apimart", {"prompt": "a cat"}, 400, "model"),
    ("apimart", {"model": "sora", "prompt": "a cat"}, 404, "not found"),
    ("apimart", order("apimart", duration="6"), 400, "without quotation marks"),
    ("apimart", order("apimart", duration=31), 400, "between 6 and 30"),
    ("apimart", order("apimart", duration=5), 400, "between 6 and 30"),
    ("apimart", order("apimart", size="4:3"), 400, "size"),
    ("apimart", order("apimart", quality="1080p"), 400, "quality"),
    ("apimart", order("apimart", image_urls=[PICTURE] * 8), 400, "at most 7"),
    ("apimart", order("apimart", image_urls=[DATA_URL]), 400, "base64 is not supported"),
]


@pytest.mark.parametrize(("vendor", "body", "code", "words"), REFUSED)
def test_a_request_against_the_rules_is_refused_and_not_billed(
    sim: Simulator, vendor: str, body: dict[str, Any], code: int, words: str
) -> None:
    reply = create(sim, vendor, body)
    assert reply.status_code == code
    assert words in said(vendor, reply)
    assert sim.ledger().entries == []


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("apimodels", order("apimodels", aspect_ratio="2:3", size="1080P", unknown=1)),
    ("apixo", order("apixo", duration=30, resolution="720p")),
    ("apixgo", order("apixgo", image_urls=[DATA_URL])),
    ("apixgo", order("apixgo", input_reference={"image_url": PICTURE}, seconds=15)),
    ("apixgo", order("apixgo", reference_images=[PICTURE] * 7)),
    ("apixgo", {**GROK_15, "image_urls": [PICTURE], "aspect_ratio": "9:16"}),
    ("apimart", order("apimart", image_urls=[PICTURE] * 7, duration=30)),
]


@pytest.mark.parametrize(("vendor", "body"), ACCEPTED)
def test_a_request_at_the_edge_of_the_rules_is_accepted(
    sim: Simulator, vendor: str, body: dict[str, Any]
) -> None:
    assert created(sim, vendor, body)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("raw", ["", "{", "[]", "null"])
def test_a_body_that_is_no_json_object_is_refused(sim: Simulator, vendor: str, raw: str) -> None:
    reply = requests.post(
        sim.base_url(vendor) + CREATE_PATHS[vendor], data=raw, headers=AUTH, timeout=TIMEOUT
    )
    assert reply.status_code == 400
    assert said(vendor, reply)


@pytest.mark.parametrize("vendor", ["apimodels", "apixo", "apimart"])
def test_an_unknown_job_is_404(sim: Simulator, vendor: str) -> None:
    reply = status(sim, vendor, "task_unknown")
    assert reply.status_code == 404
    assert said(vendor, reply)


def test_an_unknown_apixgo_job_is_400_task_not_exist(sim: Simulator) -> None:
    reply = status(sim, "apixgo", "task_unknown")
    assert reply.status_code == 400
    assert reply.json() == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


def test_apixo_knows_a_job_only_under_its_model(sim: Simulator) -> None:
    task_id = created(sim, "apixo")
    url = sim.base_url("apixo") + f"/api/v1/statusTask/wan-2-5?taskId={task_id}"
    assert requests.get(url, headers=AUTH, timeout=TIMEOUT).status_code == 404
    url = sim.base_url("apixo") + "/api/v1/generateTask/wan-2-5"
    assert requests.post(url, json=order("apixo"), headers=AUTH, timeout=TIMEOUT).status_code == 404


def test_no_vendor_knows_the_jobs_of_another(sim: Simulator) -> None:
    assert status(sim, "apimart", created(sim, "apixgo")).status_code == 404


def test_a_wrong_apixo_index_fails_the_job_and_not_the_request(sim: Simulator) -> None:
    body = order("apixo", mode="image-to-video", task_id="task_1", index=6)
    task_id = created(sim, "apixo", body)
    sim.advance(20)
    told = status(sim, "apixo", task_id).json()["data"]
    assert (told["failCode"], told["failMsg"]) == ("INVALID_TASK_ID", "Invalid previous task ID or index")


def test_apixgo_shortens_a_video_of_several_images_without_a_word(sim: Simulator) -> None:
    reply = create(sim, "apixgo", order("apixgo", seconds=15, image_urls=[PICTURE] * 2))
    assert reply.status_code == 200
    assert sim.ledger().entries[0].amount == pytest.approx(0.2)


def test_apimart_errors_come_with_a_word_as_code_or_as_a_bare_string(sim: Simulator) -> None:
    sim.options(apimart_error_format="string")
    told = create(sim, "apimart", {}).json()
    assert told["error"]["code"] == "invalid_request_error"
    sim.options(apimart_error_format="bare")
    assert create(sim, "apimart", {}).json() == {"error": "model is required"}


def test_apixo_takes_60_requests_a_minute(sim: Simulator) -> None:
    replies = [status(sim, "apixo", "x").status_code for _ in range(61)]
    assert replies == [404] * 60 + [429]
    assert said("apixo", status(sim, "apixo", "x")) == "Rate limit exceeded"
    assert status(sim, "apixo", "x", headers={"Authorization": "Bearer sim-other"}).status_code == 404
    sim.advance(60)
    replies = [status(sim, "apixo", "x").status_code for _ in range(61)]
    assert replies == [404] * 60 + [429]


def test_apixo_takes_10_jobs_at_a_time(sim: Simulator) -> None:
    for _ in range(10):
        created(sim, "apixo")
    assert create(sim, "apixo").status_code == 429
    assert len(sim.ledger().entries) == 10
    sim.advance(20)
    assert create(sim, "apixo").status_code == 200


def test_an_account_of_another_size_is_known_by_its_key(sim: Simulator) -> None:
    sim.options(concurrent_jobs={"sim-small": 2})
    small = {"Authorization": "Bearer sim-small"}
    assert [create(sim, "apixgo", headers=small).status_code for _ in range(3)] == [200, 200, 429]
    assert [create(sim, "apixgo").status_code for _ in range(3)] == [200] * 3


def test_a_429_says_when_to_come_back_if_told_to(sim: Simulator) -> None:
    sim.options(requests_per_minute={"apimart": 1}, retry_after="seconds")
    status(sim, "apimart", "x")
    sim.advance(20)
    assert status(sim, "apimart", "x").headers["Retry-After"] == "40"
    sim.options(retry_after="date")
    headers = status(sim, "apimart", "x").headers
    assert headers["Retry-After"].endswith("GMT")
    assert headers["Date"] < headers["Retry-After"]
    sim.options(retry_after="none")
    assert "Retry-After" not in status(sim, "apimart", "x").headers
