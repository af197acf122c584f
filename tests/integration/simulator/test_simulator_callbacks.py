# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Callbacks: each vendor's schedule and payload, and what goes wrong with them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from simulator_calls import created, order, status
from simulator_examples import APIMODELS_RESULT

from airflow_provider_vidgen.simulator import Simulator


class Receiver:
    """A user's callback endpoint.

    :param answers: the statuses to answer with, in turn; the last one stays.
    """

    def __init__(self) -> None:
        self.answers = [200]
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append(dict(self.headers))
                answers = receiver.answers
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.server.shutdown()
    running.server.server_close()


def eventually(true: Callable[[], bool]) -> None:
    """Wait for a delivery, which is real traffic and takes real time."""
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def ordered(sim: Simulator, vendor: str, receiver: Receiver, words: str = "a cat") -> str:
    body = order(vendor, words)
    if vendor == "apixo":
        body["request_type"] = "callback"
    return created(sim, vendor, {**body, "callback_url": receiver.url})


def attempts(sim: Simulator, count: int) -> list[float]:
    """Wait for so many attempts, and say when each was, from the end of the job."""
    eventually(lambda: len(sim.callback_attempts()) >= count)
    job = sim.jobs()[0]
    assert job.finishes_at is not None
    return [round(delivery.at - job.finishes_at, 3) for delivery in sim.callback_attempts()]


def test_apimodels_calls_back_as_its_document_says(sim: Simulator, receiver: Receiver) -> None:
    sim.options(thumbnails=True)
    task_id = ordered(sim, "apimodels", receiver)
    sim.advance(20)
    attempts(sim, 1)
    told = json.loads(receiver.bodies[0])
    assert (told["code"], told["msg"]) == (200, "success")
    data = told["data"]
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
    told = json.loads(data["resultJson"])
    assert list(told) == list(json.loads(APIMODELS_RESULT))
    assert (len(told["resultUrls"]), told["videoSize"], told["videoDuration"]) == (1, "1280x720", 5)
    assert (data["failCode"], data["failMsg"], data["costTime"]) == (None, None, 20_000)
    assert "Authorization" not in receiver.headers[0]


@pytest.mark.parametrize(("option", "result"), [("null", None), ("empty", '{"resultUrls": []}')])
def test_a_failed_apimodels_job_calls_back_with_its_code(
    sim: Simulator, receiver: Receiver, option: str, result: str | None
) -> None:
    sim.options(apimodels_failed_result=option)
    ordered(sim, "apimodels", receiver, "[sim:fail=CONTENT_VIOLATION]")
    sim.advance(20)
    attempts(sim, 1)
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["state"], data["resultJson"], data["failCode"]) == ("failed", result, "CONTENT_VIOLATION")


def test_apixo_calls_back_with_its_status_reply(sim: Simulator, receiver: Receiver) -> None:
    task_id = ordered(sim, "apixo", receiver)
    sim.advance(20)
    attempts(sim, 1)
    assert json.loads(receiver.bodies[0]) == status(sim, "apixo", task_id).json()


def test_apixo_does_not_call_back_for_an_async_request(sim: Simulator, receiver: Receiver) -> None:
    created(sim, "apixo", {**order("apixo"), "callback_url": receiver.url})
    other = ordered(sim, "apixo", receiver)
    sim.advance(20)
    attempts(sim, 1)
    assert [delivery.task_id for delivery in sim.callback_attempts()] == [other]


def test_apimodels_tries_again_after_1_2_and_4_seconds_and_then_for_half_an_hour(
    sim: Simulator, receiver: Receiver
) -> None:
    receiver.answers = [500]
    ordered(sim, "apimodels", receiver)
    sim.advance(20)
    for count, pause in enumerate((1, 2, 4, 60), start=1):
        attempts(sim, count)
        sim.advance(pause)
    assert attempts(sim, 5) == [0, 1, 3, 7, 67]
    receiver.answers = [204]
    sim.advance(60)
    assert attempts(sim, 6)[-1] == 127
    assert sim.callback_attempts()[-1].outcome == "204"


def test_apixo_tries_again_after_30_120_and_600_seconds_and_wants_200(
    sim: Simulator, receiver: Receiver
) -> None:
    receiver.answers = [204]
    ordered(sim, "apixo", receiver)
    sim.advance(20)
    for count, pause in enumerate((30, 120, 600), start=1):
        attempts(sim, count)
        sim.advance(pause)
    assert attempts(sim, 4) == [0, 30, 150, 750]


def test_a_callback_can_come_twice(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="duplicate")
    ordered(sim, "apixo", receiver)
    sim.advance(20)
    attempts(sim, 2)
    assert receiver.bodies[0] == receiver.bodies[1]


def test_a_callback_can_come_late_or_never(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="late")
    ordered(sim, "apixo", receiver)
    sim.advance(20)
    sim.advance(599)
    assert sim.callback_attempts() == []
    sim.advance(1)
    assert attempts(sim, 1) == [600]
    sim.options(callbacks="lost")
    ordered(sim, "apixo", receiver)
    sim.advance(10_000)
    assert len(sim.callback_attempts()) == 1


def test_a_callback_can_be_forged_before_the_job_has_ended(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="forged")
    task_id = ordered(sim, "apimodels", receiver)
    eventually(lambda: bool(sim.callback_attempts()))
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["taskId"], data["state"]) == (task_id, "completed")
    assert "attacker" in data["resultJson"]
    assert status(sim, "apimodels", task_id).json()["data"]["state"] == "pending"


def test_a_callback_can_be_malformed(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="malformed")
    ordered(sim, "apimodels", receiver)
    sim.advance(20)
    attempts(sim, 1)
    with pytest.raises(ValueError, match=r"delimiter|Unterminated"):
        json.loads(receiver.bodies[0])


def test_a_callback_of_a_success_can_lack_the_result(sim: Simulator, receiver: Receiver) -> None:
    sim.options(callbacks="null_result")
    ordered(sim, "apimodels", receiver)
    sim.advance(20)
    attempts(sim, 1)
    data = json.loads(receiver.bodies[0])["data"]
    assert (data["state"], data["resultJson"]) == ("completed", None)


def test_nothing_is_sent_beyond_loopback(sim: Simulator) -> None:
    created(sim, "apimodels", order("apimodels", callback_url="https://your-server.example/callback"))
    sim.advance(20)
    eventually(lambda: bool(sim.callback_attempts()))
    assert [delivery.outcome for delivery in sim.callback_attempts()] == ["not a loopback address"]
