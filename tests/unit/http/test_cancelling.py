# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Cancelling a job at a vendor that can, and at one that cannot."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_vidgen.client import TriggererClient
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection, StatusUnavailable
from airflow_provider_vidgen.http import triggerer
from airflow_provider_vidgen.http.loop_resources import loop_resources
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply

JOB = VideoJob(vendor="apixo", base_url="https://api.apixo.ai", model="grok-video", task_id="task_1")


class Cancels(Apixo):
    """A vendor that can cancel."""

    def cancel_call(self, job: VideoJob) -> HttpCall:
        return HttpCall(method="DELETE", path=f"/jobs/{job.task_id}")


def cancel(
    monkeypatch: pytest.MonkeyPatch, vendor: Apixo, answer: HttpReply | Exception, job: VideoJob = JOB
) -> tuple[str, list[HttpCall]]:
    sent: list[HttpCall] = []

    class Call:
        over_tls = False

        def __init__(self, settings: ConnectionSettings, call: HttpCall) -> None:
            self.call = call

        async def send(self, session: Any, tls: None) -> HttpReply:
            sent.append(self.call)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(triggerer, "PreparedCall", Call)
    settings = ConnectionSettings.read("conn", host="", password="sk-12345678", extra={"vendor": "apixo"})

    async def told() -> str:
        async with loop_resources() as resources:
            return await TriggererClient(replace(settings, vendor=vendor), resources).cancel(job)

    return asyncio.run(told()), sent


def test_a_vendor_that_cannot_cancel_is_sent_nothing_and_the_sentence_speaks_of_the_money(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said, sent = cancel(monkeypatch, Apixo(), HttpReply(status=200))
    assert sent == []
    assert said.startswith("Apixo cannot cancel jobs: apixo job task_1 goes on there and may be billed.")


def test_a_vendor_that_can_cancel_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    said, sent = cancel(monkeypatch, Cancels(), HttpReply(status=204))
    assert [(call.method, call.path) for call in sent] == [("DELETE", "/jobs/task_1")]
    assert said == "Apixo was told to cancel apixo job task_1"


def test_a_refused_cancellation_says_that_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = cancel(monkeypatch, Cancels(), HttpReply(status=409))
    assert said.startswith("Apixo did not cancel (HTTP 409): apixo job task_1 goes on there")


def test_a_vendor_that_does_not_answer_is_an_error_that_names_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StatusUnavailable) as caught:
        cancel(monkeypatch, Cancels(), StatusUnavailable("Apixo did not answer"))
    assert caught.value.job == JOB


def test_another_vendors_job_is_not_cancelled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConnection):
        cancel(monkeypatch, Cancels(), HttpReply(status=200), replace(JOB, vendor="apimart"))
