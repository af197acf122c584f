# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the trigger does when its task is killed, moved or cleared."""

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
SENTENCE = "Apixo cannot cancel jobs"


class Client:
    """A client that counts cancellations."""

    def __init__(self, error: Exception | None = None, slow: bool = False) -> None:
        self.cancelled: list[VideoJob] = []
        self.error = error
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.go_on = asyncio.Event()
        if not slow:
            self.go_on.set()

    async def cancel(self, job: VideoJob) -> str:
        self.began.set()
        await self.go_on.wait()
        self.ended.set()
        if self.error:
            raise self.error
        self.cancelled.append(job)
        return SENTENCE


def kill(
    monkeypatch: pytest.MonkeyPatch, state: str | None, client: Client, *, cancel_on_kill: bool = True
) -> VideoTaskTrigger:
    async def task_state(of: Any) -> str | None:
        assert of is killed.task_instance
        return state

    @asynccontextmanager
    async def async_client(hook: VideoGenHook) -> AsyncIterator[Client]:
        assert hook.vidgen_conn_id == "of_the_job"
        yield client

    monkeypatch.setattr(airflow_internals, "task_state", task_state)
    monkeypatch.setattr(VideoGenHook, "async_client", async_client)
    killed = VideoTaskTrigger(
        vidgen_conn_id="of_the_job",
        job=JOB.to_dict(),
        submitted_at="2026-01-01T00:00:00+00:00",
        deadline="2026-01-01T00:30:00+00:00",
        not_before="2026-01-01T00:00:10+00:00",
        cancel_on_kill=cancel_on_kill,
    )
    killed.task_instance = task_instance()
    return killed


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_somebody_ended_has_its_job_cancelled_and_the_log_says_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], state: str
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, state, client).on_kill())
    assert client.cancelled == [JOB]
    assert SENTENCE in logged()


@pytest.mark.parametrize("state", [None, "deferred", "scheduled", "queued", "running", "up_for_retry"])
def test_a_trigger_that_moves_or_whose_task_was_cleared_leaves_the_job_alone(
    monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, state, client).on_kill())
    assert client.cancelled == []


def test_with_cancel_on_kill_off_the_log_says_that_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    client = Client()
    asyncio.run(kill(monkeypatch, "failed", client, cancel_on_kill=False).on_kill())
    assert client.cancelled == []
    assert "task_1 goes on at the vendor and may be billed" in logged()


def test_a_vendor_that_cannot_be_told_is_named_without_its_words(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    client = Client(StatusUnavailable("Apixo did not answer", words="your prompt was a cat"))
    asyncio.run(kill(monkeypatch, "failed", client).on_kill())
    said = logged()
    assert "task_1 could not be cancelled: Apixo did not answer" in said
    assert "a cat" not in said


def test_a_cancellation_goes_on_when_airflow_cuts_on_kill_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_short() -> list[VideoJob]:
        client = Client(slow=True)
        killing = asyncio.create_task(kill(monkeypatch, "failed", client).on_kill())
        await client.began.wait()
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        # The loop keeps only a weak reference to the task that is still at it.
        assert len(video_task._ending) == 1
        client.go_on.set()
        await asyncio.gather(*video_task._ending)
        await asyncio.sleep(0)
        assert not video_task._ending
        return client.cancelled

    assert asyncio.run(cut_short()) == [JOB]
