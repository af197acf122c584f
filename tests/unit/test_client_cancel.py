# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Cancel a job, at a vendor that supports it and at one that does not."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from airflow_provider_vidgen.client import TriggererClient
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection, StatusUnavailable
from airflow_provider_vidgen.http import triggerer
from airflow_provider_vidgen.http.loop_resources import LoopResources, loop_resources
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply
from tests.support.accounts import settings

JOB = VideoJob(vendor="apixo", base_url="https://api.apixo.ai", model="grok-video", task_id="task_1")


class Cancels(Apixo):
    """A vendor that supports cancelling."""

    def cancel_call(self, job: VideoJob) -> HttpCall:
        return HttpCall(method="DELETE", path=f"/jobs/{job.task_id}")


def run_cancel(account: ConnectionSettings, job: VideoJob = JOB) -> str:
    async def main() -> str:
        async with loop_resources() as resources:
            return await TriggererClient(account, resources).cancel(job)

    return asyncio.run(main())


def cancel(
    monkeypatch: pytest.MonkeyPatch, vendor: Apixo, reply: HttpReply, job: VideoJob = JOB
) -> tuple[str, list[HttpCall]]:
    """Cancel a job; return the message and the calls that were sent."""
    sent: list[HttpCall] = []

    class Call:
        def __init__(self, settings: ConnectionSettings, call: HttpCall, job: VideoJob) -> None:
            self.call = call

        async def send(self, resources: LoopResources) -> HttpReply:
            sent.append(self.call)
            return reply

    monkeypatch.setattr(triggerer, "PreparedCall", Call)
    return run_cancel(replace(settings("apixo"), vendor=vendor), job), sent


def test_cancel_sends_nothing_if_the_vendor_does_not_support_it_and_warns_about_billing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, sent = cancel(monkeypatch, Apixo(), HttpReply(status=200))
    assert sent == []
    assert message.startswith("Apixo cannot cancel jobs: apixo job task_1 continues there and may be billed.")


def test_cancel_sends_the_vendors_cancel_call(monkeypatch: pytest.MonkeyPatch) -> None:
    message, sent = cancel(monkeypatch, Cancels(), HttpReply(status=204))
    assert [(call.method, call.path) for call in sent] == [("DELETE", "/jobs/task_1")]
    assert message == "Apixo accepted the request to cancel apixo job task_1"


def test_the_message_about_a_refused_cancellation_says_that_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, _ = cancel(monkeypatch, Cancels(), HttpReply(status=409))
    assert message.startswith("Apixo did not cancel (HTTP 409): apixo job task_1 continues there")


def test_the_error_names_the_job_if_the_vendor_does_not_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        unreachable = settings("apixo", host=base_url, extra={"allow_private_urls": True})
        job = replace(JOB, base_url=base_url)
        with pytest.raises(StatusUnavailable, match="did not answer") as caught:
            run_cancel(replace(unreachable, vendor=Cancels()), job)
    assert caught.value.job == job


def test_cancel_refuses_a_job_of_another_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConnection):
        cancel(monkeypatch, Cancels(), HttpReply(status=200), replace(JOB, vendor="apimart"))
