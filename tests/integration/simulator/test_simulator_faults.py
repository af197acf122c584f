# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Requests that go wrong on the way, and what they cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests
from simulator_calls import AUTH, TIMEOUT, VENDORS, create, created, status

from airflow_provider_vidgen.simulator import Simulator

# How each fault looks to a client that gives up after half a second.
BROKEN: dict[str, Any] = {
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
IMPATIENT = 0.5


def answered(reply: requests.Response) -> Any:
    return reply.json()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_on_submission_is_billed_only_after_acceptance(sim: Simulator, kind: str, when: str) -> None:
    sim.fault(kind, route="create", when=when, seconds=2)
    with pytest.raises(BROKEN[kind]):
        answered(create(sim, "apimodels", timeout=IMPATIENT))
    assert len(sim.ledger().entries) == (when == "after")
    assert created(sim, "apimodels")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_on_a_status_call_is_over_at_the_next(sim: Simulator, kind: str) -> None:
    task_id = created(sim, "apixo")
    sim.fault(kind, route="status", seconds=2)
    with pytest.raises(BROKEN[kind]):
        answered(status(sim, "apixo", task_id, timeout=IMPATIENT))
    assert status(sim, "apixo", task_id).json()["data"]["taskId"] == task_id


def test_a_reset_after_acceptance_is_billed(sim: Simulator) -> None:
    sim.fault("reset", vendor="apixgo", route="create", when="after")
    with pytest.raises(requests.ConnectionError, match="reset"):
        create(sim, "apixgo")
    assert [entry.state for entry in sim.ledger().entries] == ["reserved"]
    assert sim.requests()[0].status is None


def test_a_slow_body_arrives_whole(sim: Simulator) -> None:
    sim.fault("slow_body", route="create", when="after", seconds=0.2)
    assert create(sim, "apimart").json()["data"]["id"]


def test_a_gzipped_reply_is_read_as_any_other(sim: Simulator) -> None:
    sim.fault("gzip", route="create", when="after")
    reply = create(sim, "apimart")
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.json()["data"]["id"]


def test_a_wrong_content_type_holds_the_right_body(sim: Simulator) -> None:
    sim.fault("wrong_content_type", route="create", when="after")
    reply = create(sim, "apimart")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.json()["data"]["id"]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 524])
def test_any_status_and_body_can_be_answered(sim: Simulator, code: int) -> None:
    sim.fault("status", route="create", status=code, body={"error": "busy"}, headers={"Retry-After": "3"})
    reply = create(sim, "apixo")
    assert (reply.status_code, reply.json(), reply.headers["Retry-After"]) == (code, {"error": "busy"}, "3")


def test_a_gateway_answers_in_html(sim: Simulator) -> None:
    sim.fault("status", route="status", status=502, body="<html>Bad Gateway</html>")
    reply = status(sim, "apixo", created(sim, "apixo"))
    assert reply.status_code == 502
    assert reply.headers["Content-Type"].startswith("text/html")


def test_a_submission_can_be_redirected(sim: Simulator) -> None:
    sim.fault("redirect", route="create", status=307, location="http://127.0.0.1:9/elsewhere")
    reply = create(sim, "apimodels", allow_redirects=False)
    assert (reply.status_code, reply.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert sim.ledger().entries == []


def test_a_rule_can_wait_for_the_nth_call_and_last_for_some(sim: Simulator) -> None:
    task_id = created(sim, "apixo")
    sim.fault("status", route="status", nth=2, times=2, status=503)
    seen = [status(sim, "apixo", task_id).status_code for _ in range(4)]
    assert seen == [200, 503, 503, 200]


def test_a_rule_can_be_for_one_vendor_or_one_job(sim: Simulator) -> None:
    first, second = created(sim, "apimart"), created(sim, "apimart")
    sim.fault("status", vendor="apimart", task_id=second, times=None, status=500)
    assert status(sim, "apimart", first).status_code == 200
    assert status(sim, "apimart", second).status_code == 500
    assert status(sim, "apixgo", created(sim, "apixgo")).status_code == 200
    sim.clear_faults()
    assert status(sim, "apimart", second).status_code == 200


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendors_submission_can_go_wrong(sim: Simulator, vendor: str) -> None:
    sim.fault("close", vendor=vendor, route="create", when="after")
    with pytest.raises(requests.ConnectionError):
        create(sim, vendor)
    assert sim.ledger().entries[0].vendor == vendor


def test_p_video_can_be_billed_and_dropped(sim: Simulator) -> None:
    sim.set_speed(1000)
    sim.fault("status", route="p-video", when="after", status=504, body="<html>timeout</html>")
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    reply = requests.post(url, json={"prompt": "a cat"}, headers=AUTH, timeout=TIMEOUT)
    sim.set_speed(0)
    assert reply.status_code == 504
    assert [entry.state for entry in sim.ledger().entries] == ["settled"]


def test_a_client_that_leaves_p_video_has_still_bought_it(sim: Simulator) -> None:
    url = sim.base_url("apimodels") + "/api/v1/video/p-video"
    with pytest.raises(requests.ReadTimeout):
        requests.post(url, json={"prompt": "a cat"}, headers=AUTH, timeout=0.2)
    sim.advance(60)
    assert [entry.state for entry in sim.ledger().entries] == ["settled"]


def test_apimart_answers_409_while_the_first_request_is_in_flight(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    sim.fault("slow_headers", route="create", when="after", seconds=0.5)
    first = threading.Thread(target=create, args=(sim, "apimart"), kwargs={"headers": headers})
    first.start()
    while not sim.ledger().entries:
        time.sleep(0.005)
    assert create(sim, "apimart", headers=headers).status_code == 409
    first.join()
    assert create(sim, "apimart", headers=headers).headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_a_key_is_no_longer_in_flight_once_its_client_has_gone(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    sim.fault("hang", route="create", when="after")
    with pytest.raises(requests.ReadTimeout):
        create(sim, "apimart", headers=headers, timeout=0.2)
    end = time.monotonic() + 5
    while (reply := create(sim, "apimart", headers=headers)).status_code == 409:
        assert time.monotonic() < end
    assert reply.headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_apimart_replays_what_a_reset_has_swallowed(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    sim.fault("reset", route="create", when="after")
    with pytest.raises(requests.ConnectionError):
        create(sim, "apimart", headers=headers)
    reply = create(sim, "apimart", headers=headers)
    assert reply.json()["data"]["id"] == sim.ledger().entries[0].task_id
    assert len(sim.ledger().entries) == 1
