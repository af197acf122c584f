# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Replies that are too big or take too long, and what of a reply is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests_mock

from airflow_provider_vidgen.errors import StatusUnavailable, SubmitOutcomeUnknown
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.transport.client import WorkerClient
from airflow_provider_vidgen.transport.sync import WorkerTransport
from airflow_provider_vidgen.transport.wire import MAX_REPLY, encode, without_key
from airflow_provider_vidgen.vendors.exchange import HttpCall
from tests.support.accounts import KEY, job, settings
from tests.support.vendor_replies import CREATE, STATUS

TOLD = settings("apixgo")
SUBMIT = TOLD.vendor.submit_call(VideoRequest(prompt="灯塔", model="grok-image-video"))
LOOK = TOLD.vendor.status_call(job())


def ticking(step: float) -> Iterator[float]:
    moment = 0.0
    while True:
        yield moment
        moment += step


def test_a_reply_without_end_is_no_answer() -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], content=b" " * (MAX_REPLY + 1))
        web.get(STATUS["apixgo"], content=b" " * (MAX_REPLY + 1))
        with pytest.raises(SubmitOutcomeUnknown, match="Overlong"):
            WorkerTransport(TOLD).submit(SUBMIT)
        with pytest.raises(StatusUnavailable, match="Overlong"):
            WorkerTransport(TOLD).get(LOOK)


def test_a_reply_that_drips_beyond_all_patience_is_no_answer() -> None:
    slow = ticking(400.0)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], content=b" " * 200_000)
        with pytest.raises(SubmitOutcomeUnknown):
            WorkerTransport(TOLD, monotonic=lambda: next(slow)).submit(SUBMIT)


def test_a_reply_that_is_whole_with_its_first_piece_is_never_too_late() -> None:
    slow = ticking(10_000.0)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json={"task_id": "task_1"})
        reply = WorkerTransport(TOLD, monotonic=lambda: next(slow)).submit(SUBMIT)
    assert json.loads(reply.content) == {"task_id": "task_1"}


def test_header_names_are_lower_case_and_the_key_is_masked() -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], text=f"your key {KEY}", headers={"Retry-After": "3"})
        reply = WorkerTransport(TOLD).get(LOOK)
    assert reply.headers["retry-after"] == "3"
    assert reply.content == b"your key ***"


def test_a_key_too_short_to_be_one_does_not_blank_out_words() -> None:
    assert without_key(b"a cat", settings("apixgo", password="a")) == b"a cat"


def test_a_body_is_compact_json_in_utf_8() -> None:
    assert encode(SUBMIT) == '{"model":"grok-image-video","prompt":"灯塔"}'.encode()
    assert encode(HttpCall(method="GET", path="/")) is None


def test_an_answer_that_a_vendors_file_stumbles_over_leaves_the_outcome_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stumble(*args: object, **kwargs: object) -> None:
        raise KeyError("data")

    monkeypatch.setattr(TOLD.vendor, "read_submit", stumble)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json={"task_id": "task_1"})
        with pytest.raises(SubmitOutcomeUnknown, match=r"could not be read \(KeyError\)"):
            WorkerClient(TOLD).submit(VideoRequest(prompt="灯塔", model="grok-image-video"))
        assert web.call_count == 1
