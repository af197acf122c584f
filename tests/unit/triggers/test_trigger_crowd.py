# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A thousand triggers that begin together: what they share is got once, and what they do is spread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.hooks import video_gen
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import JobState, JobStatus
from airflow_provider_vidgen.triggers import progress
from tests.support.accounts import connection
from tests.support.clock import Clock, run_virtually
from tests.support.task_instance import task_instance

MANY = 40
STATUS = JobStatus(state=JobState.RUNNING, raw_state="running")


def test_what_triggers_need_is_imported_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = []
    monkeypatch.setattr(video_gen, "_loaded", False)
    monkeypatch.setattr(video_gen, "_import_for_triggerer", lambda: imports.append(1))

    async def begin() -> None:
        await asyncio.gather(*(video_gen._load_for_triggerer() for _ in range(MANY)))

    asyncio.run(begin())
    assert (len(imports), video_gen._loaded, video_gen._loading) == (1, True, {})


def test_who_is_cancelled_does_not_take_the_import_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_gen, "_loaded", False)
    monkeypatch.setattr(video_gen, "_import_for_triggerer", lambda: None)

    async def begin() -> None:
        first = asyncio.create_task(video_gen._load_for_triggerer())
        second = asyncio.create_task(video_gen._load_for_triggerer())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(begin())
    assert video_gen._loaded


def test_those_that_waited_for_one_lookup_begin_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    lookups, begun = [], 0
    looked_up = VideoGenHook._look_up

    async def slow(self: VideoGenHook) -> Any:
        lookups.append(1)
        await asyncio.sleep(0.05)
        return await looked_up(self)

    monkeypatch.setattr(VideoGenHook, "_look_up", slow)

    async def watch() -> None:
        nonlocal begun
        async with VideoGenHook().async_client():
            begun += 1
            await asyncio.sleep(0.2)

    async def begin() -> int:
        watches = [asyncio.create_task(watch()) for _ in range(MANY)]
        most = before = 0
        while not all(task.done() for task in watches):
            await asyncio.sleep(0)
            most, before = max(most, begun - before), begun
        return most

    assert asyncio.run(begin()) <= 2
    assert (len(lookups), begun) == (1, MANY)


def test_xcoms_are_sent_one_at_a_time(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    under_way, most, sent = 0, 0, 0

    async def push(*_: Any) -> None:
        nonlocal under_way, most, sent
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        sent += 1

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def begin() -> None:
        await asyncio.gather(*(progress.show(task_instance(), STATUS, has_ended=False) for _ in range(MANY)))

    run_virtually(begin(), clock)
    assert (most, sent) == (1, MANY)


def test_an_xcom_that_is_never_answered_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    sent = []

    async def push(ti: Any, *_: Any) -> None:
        if ti.task_id == "unheard":
            await asyncio.get_running_loop().create_future()
        sent.append(ti.task_id)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def begin() -> list[Any]:
        tasks = [task_instance(task_id=name) for name in ("unheard", "heard")]
        return await asyncio.gather(
            *(progress.show(ti, STATUS, has_ended=False) for ti in tasks), return_exceptions=True
        )

    unheard, heard = run_virtually(begin(), clock)
    assert isinstance(unheard, TimeoutError)
    assert heard is None
    assert sent == ["heard"]


def test_a_task_whose_job_has_ended_does_not_stand_in_line_for_long(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    async def push(ti: Any, *_: Any) -> None:
        await asyncio.sleep(1)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)

    async def begin() -> float:
        others = [
            asyncio.create_task(progress.show(task_instance(), STATUS, has_ended=False)) for _ in range(20)
        ]
        await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await progress.show(task_instance(), STATUS, has_ended=True)
        waited = asyncio.get_running_loop().time() - begun
        await asyncio.gather(*others)
        return waited

    assert run_virtually(begin(), clock) < 3
