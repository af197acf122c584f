# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The worker's transport: limits on replies, and how requests and replies are encoded."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests_mock

from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.errors import StatusUnavailable, SubmitOutcomeUnknown
from airflow_provider_vidgen.http.wire import MAX_REPLY, encode_body, mask_api_key
from airflow_provider_vidgen.http.worker import WorkerTransport
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.vendors.http_messages import HttpCall
from tests.support.accounts import KEY, job, settings
from tests.support.vendor_replies import CREATE, STATUS

ACCOUNT = settings("apixgo")
SUBMIT_CALL = ACCOUNT.vendor.submit_call(VideoRequest(prompt="灯塔", model="grok-image-video"))
STATUS_CALL = ACCOUNT.vendor.status_call(job())


def clock_with_step(step: float) -> Iterator[float]:
    time = 0.0
    while True:
        yield time
        time += step


def test_a_reply_larger_than_the_maximum_is_refused() -> None:
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], content=b" " * (MAX_REPLY + 1))
        web.get(STATUS["apixgo"], content=b" " * (MAX_REPLY + 1))
        with pytest.raises(SubmitOutcomeUnknown, match="Overlong"):
            WorkerTransport(ACCOUNT).submit(SUBMIT_CALL)
        with pytest.raises(StatusUnavailable, match="Overlong"):
            WorkerTransport(ACCOUNT).get(STATUS_CALL)


def test_a_reply_that_arrives_too_slowly_is_refused() -> None:
    clock = clock_with_step(400.0)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], content=b" " * 200_000)
        with pytest.raises(SubmitOutcomeUnknown):
            WorkerTransport(ACCOUNT, monotonic=lambda: next(clock)).submit(SUBMIT_CALL)


def test_a_reply_in_one_chunk_is_never_too_late() -> None:
    clock = clock_with_step(10_000.0)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json={"task_id": "task_1"})
        reply = WorkerTransport(ACCOUNT, monotonic=lambda: next(clock)).submit(SUBMIT_CALL)
    assert json.loads(reply.content) == {"task_id": "task_1"}


def test_header_names_are_lower_case_and_the_api_key_is_masked() -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixgo"], text=f"your key {KEY}", headers={"Retry-After": "3"})
        reply = WorkerTransport(ACCOUNT).get(STATUS_CALL)
    assert reply.headers["retry-after"] == "3"
    assert reply.content == b"your key ***"


def test_a_very_short_api_key_is_not_masked_in_words() -> None:
    assert mask_api_key(b"a cat", settings("apixgo", password="a")) == b"a cat"


def test_a_body_is_compact_json_in_utf_8() -> None:
    assert encode_body(SUBMIT_CALL) == '{"model":"grok-image-video","prompt":"灯塔"}'.encode()
    assert encode_body(HttpCall(method="GET", path="/")) is None


def test_the_outcome_is_unknown_if_the_vendors_parser_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*args: object, **kwargs: object) -> None:
        raise KeyError("data")

    monkeypatch.setattr(ACCOUNT.vendor, "read_submit", crash)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json={"task_id": "task_1"})
        with pytest.raises(SubmitOutcomeUnknown, match=r"could not be read \(KeyError\)"):
            WorkerClient(ACCOUNT).submit(VideoRequest(prompt="灯塔", model="grok-image-video"))
        assert web.call_count == 1
