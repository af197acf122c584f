# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Faults of requests, and what they cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests
from simulator_calls import AUTH_HEADER, TIMEOUT, VENDORS, create_job, get_status, post_create

from airflow_provider_vidgen.simulator import Simulator

# The error of each fault at a client with a short timeout.
ERRORS: dict[str, Any] = {
    "reset": requests.ConnectionError,
    "close": requests.ConnectionError,
    "hang": requests.ReadTimeout,
    "slow_headers": requests.ReadTimeout,
    "truncated": requests.exceptions.ChunkedEncodingError,
    "content_length_too_long": requests.exceptions.ChunkedEncodingError,
    "chunked_truncated": requests.exceptions.ChunkedEncodingError,
    "empty_body": requests.JSONDecodeError,
    "html": requests.JSONDecodeError,
    "html_as_video": requests.JSONDecodeError,
}
SHORT_TIMEOUT = 0.5


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ERRORS)
def test_a_fault_on_submission_is_billed_only_after_acceptance(sim: Simulator, kind: str, when: str) -> None:
    sim.fault(kind, route="create", when=when, seconds=2)
    with pytest.raises(ERRORS[kind]):
        post_create(sim, "apimodels", timeout=SHORT_TIMEOUT).json()
    assert len(sim.ledger().entries) == (when == "after")
    assert create_job(sim, "apimodels")


@pytest.mark.parametrize("kind", ERRORS)
def test_a_fault_on_a_status_check_does_not_affect_the_next_one(sim: Simulator, kind: str) -> None:
    task_id = create_job(sim, "apixo")
    sim.fault(kind, route="status", seconds=2)
    with pytest.raises(ERRORS[kind]):
        get_status(sim, "apixo", task_id, timeout=SHORT_TIMEOUT).json()
    assert get_status(sim, "apixo", task_id).json()["data"]["taskId"] == task_id


def test_a_reset_after_acceptance_is_billed(sim: Simulator) -> None:
    sim.fault("reset", vendor="apixgo", route="create", when="after")
    with pytest.raises(requests.ConnectionError, match="reset"):
        post_create(sim, "apixgo")
    assert [entry.state for entry in sim.ledger().entries] == ["reserved"]
    assert sim.requests()[0].status is None


def test_a_slow_body_arrives_whole(sim: Simulator) -> None:
    sim.fault("slow_body", route="create", when="after", seconds=0.2)
    assert post_create(sim, "apimart").json()["data"]["id"]


def test_a_response_can_be_gzipped(sim: Simulator) -> None:
    sim.fault("gzip", route="create", when="after")
    response = post_create(sim, "apimart")
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.json()["data"]["id"]


def test_a_wrong_content_type_comes_with_the_right_body(sim: Simulator) -> None:
    sim.fault("wrong_content_type", route="create", when="after")
    response = post_create(sim, "apimart")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.json()["data"]["id"]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 524])
def test_a_response_can_have_any_status_and_body(sim: Simulator, code: int) -> None:
    sim.fault("status", route="create", status=code, body={"error": "busy"}, headers={"Retry-After": "3"})
    response = post_create(sim, "apixo")
    assert (response.status_code, response.json(), response.headers["Retry-After"]) == (
        code,
        {"error": "busy"},
        "3",
    )


def test_a_gateway_error_can_be_html(sim: Simulator) -> None:
    sim.fault("status", route="status", status=502, body="<html>Bad Gateway</html>")
    response = get_status(sim, "apixo", create_job(sim, "apixo"))
    assert response.status_code == 502
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_submission_can_be_redirected(sim: Simulator) -> None:
    sim.fault("redirect", route="create", status=307, location="http://127.0.0.1:9/elsewhere")
    response = post_create(sim, "apimodels", allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert sim.ledger().entries == []


def test_a_rule_can_start_at_the_nth_request_and_last_for_several(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo")
    sim.fault("status", route="status", nth=2, times=2, status=503)
    statuses = [get_status(sim, "apixo", task_id).status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 200]


def test_a_rule_can_match_one_vendor_or_one_job(sim: Simulator) -> None:
    first, second = create_job(sim, "apimart"), create_job(sim, "apimart")
    sim.fault("status", vendor="apimart", task_id=second, times=None, status=500)
    assert get_status(sim, "apimart", first).status_code == 200
    assert get_status(sim, "apimart", second).status_code == 500
    assert get_status(sim, "apixgo", create_job(sim, "apixgo")).status_code == 200
    sim.clear_faults()
    assert get_status(sim, "apimart", second).status_code == 200


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_submission_to_any_vendor_can_fail_after_acceptance(sim: Simulator, vendor: str) -> None:
    sim.fault("close", vendor=vendor, route="create", when="after")
    with pytest.raises(requests.ConnectionError):
        post_create(sim, vendor)
    assert sim.ledger().entries[0].vendor == vendor


def test_a_p_video_request_can_fail_after_it_is_billed(sim: Simulator) -> None:
    sim.set_speed(1000)
    sim.fault("status", route="p-video", when="after", status=504, body="<html>timeout</html>")
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    response = requests.post(url, json={"prompt": "a cat"}, headers=AUTH_HEADER, timeout=TIMEOUT)
    sim.set_speed(0)
    assert response.status_code == 504
    assert [entry.state for entry in sim.ledger().entries] == ["settled"]


def test_a_p_video_request_is_billed_if_the_client_disconnects(sim: Simulator) -> None:
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    with pytest.raises(requests.ReadTimeout):
        requests.post(url, json={"prompt": "a cat"}, headers=AUTH_HEADER, timeout=0.2)
    sim.advance(60)
    assert [entry.state for entry in sim.ledger().entries] == ["settled"]


def test_apimart_answers_409_while_the_first_request_is_in_flight(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    sim.fault("slow_headers", route="create", when="after", seconds=0.5)
    first = threading.Thread(target=post_create, args=(sim, "apimart"), kwargs={"headers": headers})
    first.start()
    while not sim.ledger().entries:
        time.sleep(0.005)
    assert post_create(sim, "apimart", headers=headers).status_code == 409
    first.join()
    assert post_create(sim, "apimart", headers=headers).headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_an_idempotency_key_is_not_in_flight_after_the_client_disconnects(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    sim.fault("hang", route="create", when="after")
    with pytest.raises(requests.ReadTimeout):
        post_create(sim, "apimart", headers=headers, timeout=0.2)
    end = time.monotonic() + 5
    while (response := post_create(sim, "apimart", headers=headers)).status_code == 409:
        assert time.monotonic() < end
    assert response.headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_apimart_replays_a_response_that_was_lost_in_a_reset(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    sim.fault("reset", route="create", when="after")
    with pytest.raises(requests.ConnectionError):
        post_create(sim, "apimart", headers=headers)
    response = post_create(sim, "apimart", headers=headers)
    assert response.json()["data"]["id"] == sim.ledger().entries[0].task_id
    assert len(sim.ledger().entries) == 1
