# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger that waits for room: it submits nothing, and says only whether there is room."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from fakes import KEY, NOW, Clock, connection, run_virtually, task_instance

from airflow_provider_vidgen.errors import InvalidConnection
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.transport import aio
from airflow_provider_vidgen.transport.shared import shared
from airflow_provider_vidgen.triggers import vendor_room
from airflow_provider_vidgen.triggers.vendor_room import VendorRoomTrigger

#: What version 0.1.0 leaves in the databases of its users. Never change it, only add to it.
WRITTEN_BY_0_1_0: dict[str, Any] = {
    "vidgen_conn_id": "vidgen_default",
    "since": "2026-11-20T12:00:00+00:00",
    "until": "2026-11-20T12:30:00+00:00",
    "not_before": "2026-11-20T12:00:10+00:00",
}


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    def prepare(*_: Any) -> None:
        raise AssertionError("nothing is sent")

    monkeypatch.setattr(aio, "FreeCall", prepare)
    monkeypatch.setattr(vendor_room, "utcnow", clock.now)
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))


def _trigger(**changes: Any) -> VendorRoomTrigger:
    trigger = VendorRoomTrigger(**{**WRITTEN_BY_0_1_0, **changes})
    trigger.task_instance = task_instance()
    return trigger


async def _event(trigger: VendorRoomTrigger) -> dict[str, Any]:
    (event,) = [event.payload async for event in trigger.run()]
    assert set(event) == {"v", "reason", "task_id", "message"}
    assert (event["v"], event["task_id"]) == (1, "")
    return dict(event)


def test_a_trigger_goes_through_json_and_back() -> None:
    path, kwargs = _trigger(refused_at=NOW.isoformat(), retry_after=2.5).serialize()
    assert path == "airflow_provider_vidgen.triggers.vendor_room.VendorRoomTrigger"
    _, again = VendorRoomTrigger(**json.loads(json.dumps(kwargs))).serialize()
    assert again == kwargs
    assert KEY not in json.dumps(kwargs)


def test_room_is_told_but_not_before_the_task_may_wake(clock: Clock) -> None:
    assert run_virtually(_event(_trigger()), clock)["reason"] == "room"
    assert clock.now() - NOW >= timedelta(seconds=10)


def test_a_refusal_waits_as_long_as_the_vendor_asks(clock: Clock) -> None:
    trigger = _trigger(refused_at=NOW.isoformat(), retry_after=300.0)
    assert run_virtually(_event(trigger), clock)["reason"] == "room"
    assert clock.now() - NOW >= timedelta(seconds=300)


def test_a_restart_takes_an_old_refusal_for_nothing(clock: Clock) -> None:
    old = (NOW - timedelta(minutes=5)).isoformat()
    run_virtually(_event(_trigger(refused_at=old, retry_after=300.0)), clock)
    assert clock.now() - NOW < timedelta(seconds=30)


def test_without_room_until_the_end_that_is_told(clock: Clock) -> None:
    async def main() -> dict[str, Any]:
        async with VideoGenHook().async_client() as client, shared():
            with client.account.watching("other", just_submitted=False):
                return await _event(_trigger())

    clock_of_one = connection("apixo", extra={"max_concurrent": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", clock_of_one)
        assert run_virtually(main(), clock)["reason"] == "no_room"
    assert clock.now() - NOW >= timedelta(minutes=30)


@pytest.mark.parametrize("error", [InvalidConnection("x", []), RuntimeError(KEY)])
def test_what_goes_wrong_is_an_event_and_its_text_stays_out_of_the_log(
    error: Exception, clock: Clock, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    async def look_up(self: VideoGenHook) -> None:
        raise error

    monkeypatch.setattr(VideoGenHook, "_look_up", look_up)
    assert run_virtually(_event(_trigger()), clock)["reason"] == "trouble"
    told = logged()
    assert "Room cannot be waited for" in told
    assert KEY not in told


def test_cancellation_is_not_an_event(clock: Clock) -> None:
    async def main() -> None:
        task = asyncio.create_task(_event(_trigger()))
        await asyncio.sleep(1)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        run_virtually(main(), clock)
