# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Callbacks: each vendor's retry schedule and body, and callback faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from simulator_calls import create_job, get_status, request_body
from simulator_examples import APIMODELS_RESULT

from airflow_provider_vidgen.simulator import Simulator


class Receiver:
    """A user's callback endpoint. It responds with each of ``statuses`` in turn, the last one repeatedly."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append(dict(self.headers))
                statuses = receiver.statuses
                self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a delivery, which takes real time."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.005)


def create_job_with_callback(sim: Simulator, vendor: str, receiver: Receiver, prompt: str = "a cat") -> str:
    body = request_body(vendor, prompt)
    if vendor == "apixo":
        body["request_type"] = "callback"
    return create_job(sim, vendor, {**body, "callback_url": receiver.url})


def wait_for_attempts(sim: Simulator, count: int) -> list[float]:
    """Wait for a number of attempts, and return the seconds of each after the end of the job."""
    wait_for(lambda: len(sim.callback_attempts()) >= count)
    job = sim.jobs()[0]
    assert job.finishes_at is not None
    return [round(attempt.at - job.finishes_at, 3) for attempt in sim.callback_attempts()]


def test_the_apimodels_callback_has_the_documented_fields(sim: Simulator, receiver: Receiver) -> None:
    sim.options(thumbnails=True)
    task_id = create_job_with_callback(sim, "apimodels", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 1)
    payload = json.loads(receiver.bodies[0])
    assert (payload["code"], payload["msg"]) == (200, "success")
    data = payload["data"]
    assert set(data) == {
        "taskId",
        "model",
        "state",
        "param",
        "resultJson",
        "failCode",
        "failMsg",
        "costTime",
        "completeTime",
        "createTime",
    }
    assert (data["taskId"], data["model"], data["state"]) == (task_id, "xai/grok-video-3", "completed")
    assert json.loads(data["param"])["prompt"] == "a cat"
    result = json.loads(data["resultJson"])
    assert list(result) == list(json.loads(APIMODELS_RESULT))
    assert (len(result["resultUrls"]), result["videoSize"], result["videoDuration"]) == (1, "1280x720", 5)
    assert (data["failCode"], data["failMsg"], data["costTime"]) == (None, None, 20_000)
    assert "Authorization" not in receiver.headers[0]


@pytest.mark.parametrize(("option", "result"), [("null", None), ("empty", '{"resultUrls": []}')])
def test_the_apimodels_callback_of_a_failed_job_has_its_error_code(
    sim: Simulator, receiver: Receiver, option: str, result: str | None
) -> None:
    sim.options(apimodels_failed_result=option)
    create_job_with_callback(sim, "apimodels", receiver, "[sim:fail=CONTENT_VIOLATION]")
    sim.advance(20)
    wait_for_attempts(sim, 1)
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["state"], data["resultJson"], data["failCode"]) == ("failed", result, "CONTENT_VIOLATION")


def test_the_apixo_callback_equals_its_status_response(sim: Simulator, receiver: Receiver) -> None:
    task_id = create_job_with_callback(sim, "apixo", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 1)
    assert json.loads(receiver.bodies[0]) == get_status(sim, "apixo", task_id).json()


def test_apixo_sends_no_callback_for_an_async_request(sim: Simulator, receiver: Receiver) -> None:
    create_job(sim, "apixo", {**request_body("apixo"), "callback_url": receiver.url})
    other = create_job_with_callback(sim, "apixo", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 1)
    assert [attempt.task_id for attempt in sim.callback_attempts()] == [other]


def test_apimodels_retries_after_1_2_and_4_seconds_then_every_minute_for_half_an_hour(
    sim: Simulator, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    create_job_with_callback(sim, "apimodels", receiver)
    sim.advance(20)
    for count, pause in enumerate((1, 2, 4, 60), start=1):
        wait_for_attempts(sim, count)
        sim.advance(pause)
    assert wait_for_attempts(sim, 5) == [0, 1, 3, 7, 67]
    receiver.statuses = [204]
    sim.advance(60)
    assert wait_for_attempts(sim, 6)[-1] == 127
    assert sim.callback_attempts()[-1].outcome == "204"


def test_apixo_retries_after_30_120_and_600_seconds_unless_the_status_is_200(
    sim: Simulator, receiver: Receiver
) -> None:
    receiver.statuses = [204]
    create_job_with_callback(sim, "apixo", receiver)
    sim.advance(20)
    for count, pause in enumerate((30, 120, 600), start=1):
        wait_for_attempts(sim, count)
        sim.advance(pause)
    assert wait_for_attempts(sim, 4) == [0, 30, 150, 750]


def test_a_callback_can_be_delivered_twice(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="duplicate")
    create_job_with_callback(sim, "apixo", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 2)
    assert receiver.bodies[0] == receiver.bodies[1]


def test_a_callback_can_be_late_or_lost(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="late")
    create_job_with_callback(sim, "apixo", receiver)
    sim.advance(20)
    sim.advance(599)
    assert sim.callback_attempts() == []
    sim.advance(1)
    assert wait_for_attempts(sim, 1) == [600]
    sim.options(callbacks="lost")
    create_job_with_callback(sim, "apixo", receiver)
    sim.advance(10_000)
    assert len(sim.callback_attempts()) == 1


def test_a_callback_can_be_forged_before_the_job_has_ended(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="forged")
    task_id = create_job_with_callback(sim, "apimodels", receiver)
    wait_for(lambda: bool(sim.callback_attempts()))
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["taskId"], data["state"]) == (task_id, "completed")
    assert "attacker" in data["resultJson"]
    assert get_status(sim, "apimodels", task_id).json()["data"]["state"] == "pending"


def test_a_callback_can_be_malformed(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="malformed")
    create_job_with_callback(sim, "apimodels", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 1)
    with pytest.raises(ValueError, match=r"delimiter|Unterminated"):
        json.loads(receiver.bodies[0])


def test_a_callback_of_a_succeeded_job_can_have_a_null_result(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="null_result")
    create_job_with_callback(sim, "apimodels", receiver)
    sim.advance(20)
    wait_for_attempts(sim, 1)
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["state"], data["resultJson"]) == ("completed", None)


def test_callbacks_are_sent_to_loopback_addresses_only(sim: Simulator) -> None:
    create_job(
        sim, "apimodels", request_body("apimodels", callback_url="https://your-server.example/callback")
    )
    sim.advance(20)
    wait_for(lambda: bool(sim.callback_attempts()))
    assert [attempt.outcome for attempt in sim.callback_attempts()] == ["not a loopback address"]
