# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The XCom ``progress``: triggers push it one at a time, and no push blocks the others for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.models import JobState, JobStatus
from airflow_provider_vidgen.polling import Progress
from airflow_provider_vidgen.triggers import progress_xcom
from tests.support.clock import Clock, run_virtually
from tests.support.task_instance import task_instance

COUNT = 40
PROGRESS = Progress(status=JobStatus(state=JobState.RUNNING, raw_state="running"))


def test_xcoms_are_pushed_one_at_a_time(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    concurrent, max_concurrent, sent = 0, 0, 0

    async def push(*_: Any) -> None:
        nonlocal concurrent, max_concurrent, sent
        concurrent += 1
        max_concurrent = max(max_concurrent, concurrent)
        await asyncio.sleep(0.01)
        concurrent -= 1
        sent += 1

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def main() -> None:
        await asyncio.gather(
            *(progress_xcom.push_progress(task_instance(), PROGRESS, has_ended=False) for _ in range(COUNT))
        )

    run_virtually(main(), clock)
    assert (max_concurrent, sent) == (1, COUNT)


def test_an_xcom_without_a_reply_does_not_block_the_others(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    sent = []

    async def push(ti: Any, *_: Any) -> None:
        if ti.task_id == "unanswered":
            await asyncio.get_running_loop().create_future()
        sent.append(ti.task_id)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def main() -> list[Any]:
        tasks = [task_instance(task_id=name) for name in ("unanswered", "answered")]
        return await asyncio.gather(
            *(progress_xcom.push_progress(ti, PROGRESS, has_ended=False) for ti in tasks),
            return_exceptions=True,
        )

    unanswered, answered = run_virtually(main(), clock)
    assert isinstance(unanswered, TimeoutError)
    assert answered is None
    assert sent == ["answered"]


def test_the_last_progress_of_an_ended_job_times_out_soon(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    async def push(ti: Any, *_: Any) -> None:
        await asyncio.sleep(1)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def main() -> float:
        others = [
            asyncio.create_task(progress_xcom.push_progress(task_instance(), PROGRESS, has_ended=False))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await progress_xcom.push_progress(task_instance(), PROGRESS, has_ended=True)
        waited = asyncio.get_running_loop().time() - started
        await asyncio.gather(*others)
        return waited

    assert run_virtually(main(), clock) < 3
