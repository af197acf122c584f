# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Requests that each vendor rejects, in its own error format."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from simulator_calls import (
    AUTH_HEADER,
    CREATE_PATHS,
    TIMEOUT,
    VENDORS,
    create_job,
    get_status,
    post_create,
    request_body,
)

from airflow_provider_vidgen.simulator import Simulator

IMAGE_URL = "https://example.com/a.png"
DATA_URL = "data:image/png;base64,iVBORw0KGgo="


def error_message(vendor: str, response: requests.Response) -> str:
    """Return the message of a vendor's error, and check the fields of the error format."""
    payload = response.json()
    match vendor:
        case "apimodels":
            assert set(payload) == {"code", "msg", "data"}
            assert (payload["code"], payload["data"]) == (response.status_code, None)
            return str(payload["msg"])
        case "apixo":
            assert set(payload) == {"code", "message", "data"}
            assert payload["data"] is None
            return str(payload["message"])
        case "apixgo":
            assert set(payload["error"]) == {"message", "type", "code"}
            assert "(request id: " in payload["error"]["message"]
            return str(payload["error"]["message"])
    assert payload["error"]["code"] == response.status_code
    return str(payload["error"]["message"])


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic sim-key", "Bearer "])
def test_a_missing_or_invalid_api_key_is_401_in_the_vendors_format(
    sim: Simulator, vendor: str, key: str | None
) -> None:
    response = post_create(sim, vendor, headers={} if key is None else {"Authorization": key})
    assert response.status_code == 401
    assert error_message(vendor, response)
    assert sim.ledger().entries == []


@pytest.mark.parametrize(
    ("vendor", "code", "message"),
    [
        ("apimodels", 402, "insufficient credits"),
        ("apixo", 400, "Insufficient credits"),
        ("apixgo", 403, "额度不足"),
        ("apimart", 402, "Insufficient balance"),
    ],
)
def test_an_account_without_credit_is_rejected(sim: Simulator, vendor: str, code: int, message: str) -> None:
    response = post_create(sim, vendor, headers={"Authorization": "Bearer sim-nofunds"})
    assert response.status_code == code
    assert message in error_message(vendor, response)
    assert sim.ledger().entries == []


def test_apixo_can_reject_with_http_200(sim: Simulator) -> None:
    sim.options(apixo_errors_with_http_200=True)
    response = post_create(sim, "apixo", headers={"Authorization": "Bearer sim-nofunds"})
    assert response.status_code == 200
    assert response.json() == {"code": 400, "message": "Insufficient credits", "data": None}


def test_the_valid_api_keys_can_be_configured(sim: Simulator) -> None:
    sim.options(api_keys=["mine"])
    assert post_create(sim, "apimart").status_code == 401
    assert post_create(sim, "apimart", headers={"Authorization": "Bearer mine"}).status_code == 200


GROK_15: dict[str, Any] = {"model": "grok-video-1.5", "prompt": "a cat"}
INVALID: list[tuple[str, dict[str, Any], int, str]] = [
    ("apimodels", {"prompt": "a cat"}, 400, "model"),
    ("apimodels", {"model": "grok-video-3"}, 400, "prompt"),
    ("apimodels", request_body("apimodels", "  "), 400, "prompt"),
    ("apimodels", {"model": "sora", "prompt": "a cat"}, 400, "Invalid model"),
    ("apimodels", request_body("apimodels", aspect_ratio="4:3"), 400, "aspect_ratio"),
    ("apimodels", request_body("apimodels", size="720p"), 400, "size"),
    ("apimodels", request_body("apimodels", callback_url="here"), 400, "callback_url"),
    ("apimodels", {"model": "grok-video-3-official", "prompt": "a cat", "duration": 7}, 400, "duration"),
    ("apixo", {}, 400, "input"),
    ("apixo", {"input": {"mode": "text-to-video"}}, 400, "input.prompt"),
    ("apixo", {"input": {"prompt": "a cat"}}, 400, "input.mode"),
    ("apixo", request_body("apixo", "x" * 5001), 400, "5000"),
    ("apixo", request_body("apixo", duration=5), 400, "between 6 and 30"),
    ("apixo", request_body("apixo", duration="6"), 400, "integer"),
    ("apixo", request_body("apixo", duration=True), 400, "integer"),
    ("apixo", request_body("apixo", resolution="720P"), 400, "resolution"),
    ("apixo", request_body("apixo", aspect_ratio="4:3"), 400, "aspect_ratio"),
    ("apixo", request_body("apixo", mode="image-to-video"), 400, "image"),
    ("apixo", request_body("apixo", image_urls=[IMAGE_URL]), 400, "takes no image"),
    ("apixo", request_body("apixo", mode="image-to-video", image_urls=[IMAGE_URL] * 2), 400, "one image"),
    ("apixo", request_body("apixo", mode="image-to-video", image_urls=[DATA_URL]), 400, "URL"),
    ("apixo", request_body("apixo", mode="image-to-video", task_id="t"), 400, "together"),
    ("apixo", request_body("apixo", mode="image-to-video", index=0), 400, "together"),
    ("apixo", {**request_body("apixo"), "provider": "best"}, 400, "provider"),
    ("apixo", {**request_body("apixo"), "request_type": "callback"}, 400, "callback_url is required"),
    ("apixgo", {"prompt": "a cat"}, 400, "model field is required"),
    ("apixgo", {"model": "grok-image-video", "prompt": ""}, 400, "prompt is required"),
    ("apixgo", {"model": "sora", "prompt": "a cat"}, 503, "No available channel"),
    ("apixgo", GROK_15, 400, "only supports exactly one reference image"),
    ("apixgo", {**GROK_15, "image_urls": [IMAGE_URL] * 2}, 400, "only supports exactly one reference image"),
    ("apixgo", {**GROK_15, "image_urls": [IMAGE_URL], "aspect_ratio": "1:1"}, 400, "aspect_ratio"),
    ("apixgo", request_body("apixgo", image_urls=[IMAGE_URL] * 8), 400, "at most 7"),
    ("apixgo", request_body("apixgo", image_urls=["iVBORw0KGgo="]), 400, "base64 data URL"),
    (
        "apixgo",
        request_body("apixgo", input_reference=IMAGE_URL, reference_images=[IMAGE_URL]),
        400,
        "together",
    ),
    ("apixgo", request_body("apixgo", seconds=16), 400, "between 1 and 15"),
    ("apixgo", request_body("apixgo", seconds="6"), 400, "integer"),
    ("apixgo", request_body("apixgo", resolution="1080p"), 400, "resolution"),
    ("apixgo", request_body("apixgo", "x" * 4097), 400, "4096"),
    ("apimart", {"prompt": "a cat"}, 400, "model"),
    ("apimart", {"model": "sora", "prompt": "a cat"}, 404, "not found"),
    ("apimart", request_body("apimart", duration="6"), 400, "without quotation marks"),
    ("apimart", request_body("apimart", duration=31), 400, "between 6 and 30"),
    ("apimart", request_body("apimart", duration=5), 400, "between 6 and 30"),
    ("apimart", request_body("apimart", size="4:3"), 400, "size"),
    ("apimart", request_body("apimart", quality="1080p"), 400, "quality"),
    ("apimart", request_body("apimart", image_urls=[IMAGE_URL] * 8), 400, "at most 7"),
    ("apimart", request_body("apimart", image_urls=[DATA_URL]), 400, "base64 is not supported"),
]


@pytest.mark.parametrize(("vendor", "body", "code", "message"), INVALID)
def test_an_invalid_request_is_rejected_and_not_billed(
    sim: Simulator, vendor: str, body: dict[str, Any], code: int, message: str
) -> None:
    response = post_create(sim, vendor, body)
    assert response.status_code == code
    assert message in error_message(vendor, response)
    assert sim.ledger().entries == []


VALID: list[tuple[str, dict[str, Any]]] = [
    ("apimodels", request_body("apimodels", aspect_ratio="2:3", size="1080P", unknown=1)),
    ("apixo", request_body("apixo", duration=30, resolution="720p")),
    ("apixgo", request_body("apixgo", image_urls=[DATA_URL])),
    ("apixgo", request_body("apixgo", input_reference={"image_url": IMAGE_URL}, seconds=15)),
    ("apixgo", request_body("apixgo", reference_images=[IMAGE_URL] * 7)),
    ("apixgo", {**GROK_15, "image_urls": [IMAGE_URL], "aspect_ratio": "9:16"}),
    ("apimart", request_body("apimart", image_urls=[IMAGE_URL] * 7, duration=30)),
]


@pytest.mark.parametrize(("vendor", "body"), VALID)
def test_a_request_at_the_limits_is_accepted(sim: Simulator, vendor: str, body: dict[str, Any]) -> None:
    assert create_job(sim, vendor, body)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("raw", ["", "{", "[]", "null"])
def test_a_body_that_is_not_a_json_object_is_rejected(sim: Simulator, vendor: str, raw: str) -> None:
    response = requests.post(
        sim.base_url(vendor) + CREATE_PATHS[vendor], data=raw, headers=AUTH_HEADER, timeout=TIMEOUT
    )
    assert response.status_code == 400
    assert error_message(vendor, response)


@pytest.mark.parametrize("vendor", ["apimodels", "apixo", "apimart"])
def test_an_unknown_job_is_404(sim: Simulator, vendor: str) -> None:
    response = get_status(sim, vendor, "task_unknown")
    assert response.status_code == 404
    assert error_message(vendor, response)


def test_an_unknown_apixgo_job_is_400_task_not_exist(sim: Simulator) -> None:
    response = get_status(sim, "apixgo", "task_unknown")
    assert response.status_code == 400
    assert response.json() == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


def test_an_apixo_job_is_found_only_under_its_model(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo")
    url = sim.base_url("apixo") + f"/api/v1/statusTask/wan-2-5?taskId={task_id}"
    assert requests.get(url, headers=AUTH_HEADER, timeout=TIMEOUT).status_code == 404
    url = sim.base_url("apixo") + "/api/v1/generateTask/wan-2-5"
    assert (
        requests.post(url, json=request_body("apixo"), headers=AUTH_HEADER, timeout=TIMEOUT).status_code
        == 404
    )


def test_a_job_of_another_vendor_is_404(sim: Simulator) -> None:
    assert get_status(sim, "apimart", create_job(sim, "apixgo")).status_code == 404


def test_a_wrong_apixo_index_fails_the_job_instead_of_the_request(sim: Simulator) -> None:
    body = request_body("apixo", mode="image-to-video", task_id="task_1", index=6)
    task_id = create_job(sim, "apixo", body)
    sim.advance(20)
    payload = get_status(sim, "apixo", task_id).json()["data"]
    assert (payload["failCode"], payload["failMsg"]) == (
        "INVALID_TASK_ID",
        "Invalid previous task ID or index",
    )


def test_apixgo_silently_shortens_a_video_with_several_images(sim: Simulator) -> None:
    response = post_create(sim, "apixgo", request_body("apixgo", seconds=15, image_urls=[IMAGE_URL] * 2))
    assert response.status_code == 200
    assert sim.ledger().entries[0].amount == pytest.approx(0.2)


def test_apimart_errors_can_have_a_string_code_or_be_a_bare_string(sim: Simulator) -> None:
    sim.options(apimart_error_format="string")
    payload = post_create(sim, "apimart", {}).json()
    assert payload["error"]["code"] == "invalid_request_error"
    sim.options(apimart_error_format="bare")
    assert post_create(sim, "apimart", {}).json() == {"error": "model is required"}


def test_apixo_has_a_rate_limit_of_60_requests_per_minute(sim: Simulator) -> None:
    statuses = [get_status(sim, "apixo", "x").status_code for _ in range(61)]
    assert statuses == [404] * 60 + [429]
    assert error_message("apixo", get_status(sim, "apixo", "x")) == "Rate limit exceeded"
    assert get_status(sim, "apixo", "x", headers={"Authorization": "Bearer sim-other"}).status_code == 404
    sim.advance(60)
    statuses = [get_status(sim, "apixo", "x").status_code for _ in range(61)]
    assert statuses == [404] * 60 + [429]


def test_apixo_has_a_concurrency_limit_of_10_jobs(sim: Simulator) -> None:
    for _ in range(10):
        create_job(sim, "apixo")
    assert post_create(sim, "apixo").status_code == 429
    assert len(sim.ledger().entries) == 10
    sim.advance(20)
    assert post_create(sim, "apixo").status_code == 200


def test_an_api_key_can_have_its_own_concurrency_limit(sim: Simulator) -> None:
    sim.options(concurrent_jobs={"sim-small": 2})
    small = {"Authorization": "Bearer sim-small"}
    assert [post_create(sim, "apixgo", headers=small).status_code for _ in range(3)] == [200, 200, 429]
    assert [post_create(sim, "apixgo").status_code for _ in range(3)] == [200] * 3


def test_a_429_has_a_retry_after_header_if_configured(sim: Simulator) -> None:
    sim.options(requests_per_minute={"apimart": 1}, retry_after="seconds")
    get_status(sim, "apimart", "x")
    sim.advance(20)
    assert get_status(sim, "apimart", "x").headers["Retry-After"] == "40"
    sim.options(retry_after="date")
    headers = get_status(sim, "apimart", "x").headers
    assert headers["Retry-After"].endswith("GMT")
    assert headers["Date"] < headers["Retry-After"]
    sim.options(retry_after="none")
    assert "Retry-After" not in get_status(sim, "apimart", "x").headers
