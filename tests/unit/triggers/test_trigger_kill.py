# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What ``on_kill`` does when a task is killed or cleared, or its trigger moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.triggers import video_task
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from tests.support.task_instance import task_instance

JOB = VideoJob(vendor="apixo", base_url="https://api.apixo.ai", model="grok-video", task_id="task_1")
MESSAGE = "Apixo cannot cancel jobs"


class Client:
    """A client that records cancellations."""

    def __init__(self, error: Exception | None = None, slow: bool = False) -> None:
        self.cancelled: list[VideoJob] = []
        self.error = error
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self.released = asyncio.Event()
        if not slow:
            self.released.set()

    async def cancel(self, job: VideoJob) -> str:
        self.started.set()
        await self.released.wait()
        self.ended.set()
        if self.error:
            raise self.error
        self.cancelled.append(job)
        return MESSAGE


def kill(
    monkeypatch: pytest.MonkeyPatch, state: str | None, client: Client, *, cancel_on_kill: bool = True
) -> VideoTaskTrigger:
    async def task_state(of: Any) -> str | None:
        assert of is trigger.task_instance
        return state

    @asynccontextmanager
    async def async_client(hook: VideoGenHook) -> AsyncIterator[Client]:
        assert hook.vidgen_conn_id == "of_the_job"
        yield client

    monkeypatch.setattr(airflow_internals, "task_state", task_state)
    monkeypatch.setattr(VideoGenHook, "async_client", async_client)
    trigger = VideoTaskTrigger(
        vidgen_conn_id="of_the_job",
        job=JOB.to_dict(),
        submitted_at="2026-01-01T00:00:00+00:00",
        deadline="2026-01-01T00:30:00+00:00",
        not_before="2026-01-01T00:00:10+00:00",
        cancel_on_kill=cancel_on_kill,
    )
    trigger.task_instance = task_instance()
    return trigger


@pytest.mark.parametrize("state", ["failed", "success"])
def test_the_job_of_a_task_marked_failed_or_success_is_cancelled_and_the_outcome_logged(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], state: str
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, state, client).on_kill())
    assert client.cancelled == [JOB]
    assert MESSAGE in logged()


@pytest.mark.parametrize("state", [None, "deferred", "scheduled", "queued", "running", "up_for_retry"])
def test_the_job_is_not_cancelled_if_the_trigger_moves_or_the_task_was_cleared(
    monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, state, client).on_kill())
    assert client.cancelled == []


def test_without_cancel_on_kill_the_log_says_that_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, "failed", client, cancel_on_kill=False).on_kill())
    assert client.cancelled == []
    assert "task_1 continues at the vendor and may be billed" in logged()


def test_a_failed_cancellation_is_logged_without_the_vendors_message(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    client = Client(StatusUnavailable("Apixo did not answer", vendor_message="your prompt was a cat"))
    asyncio.run(kill(monkeypatch, "failed", client).on_kill())
    log = logged()
    assert "task_1 could not be cancelled: Apixo did not answer" in log
    assert "a cat" not in log


def test_the_cancellation_continues_if_airflow_cancels_on_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[VideoJob]:
        client = Client(slow=True)
        killing = asyncio.create_task(kill(monkeypatch, "failed", client).on_kill())
        await client.started.wait()
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        # The event loop keeps only weak references, so the module must keep the running task.
        assert len(video_task._cancellations) == 1
        client.released.set()
        await asyncio.gather(*video_task._cancellations)
        await asyncio.sleep(0)
        assert not video_task._cancellations
        return client.cancelled

    assert asyncio.run(main()) == [JOB]
