# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The one place where a trigger writes: progress, as Airflow wants it, and never in the loop's way."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import task_runner, xcom
from airflow.sdk.execution_time.comms import SetXCom

from airflow_provider_vidgen import airflow_internals
from tests.support.task_instance import task_instance

PROGRESS = {"state": "running", "progress": 40.0}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the triggerer's supervisor is sent."""
    messages: list[Any] = []

    async def asend(message: Any) -> None:
        messages.append(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend), raising=False)
    return messages


class Slow(BaseXCom):
    """A backend that stores what it is given elsewhere; it has done so once the loop has come round."""

    loop_came_round = threading.Event()
    given: list[dict[str, Any]] = []  # noqa: RUF012

    @staticmethod
    def serialize_value(value: Any, **where: Any) -> Any:
        assert Slow.loop_came_round.wait(timeout=5), "the loop stands still while the backend stores"
        Slow.given.append(where)
        return f"stored elsewhere: {value['progress']:g}"


def push(**ti: Any) -> None:
    asyncio.run(airflow_internals.push_xcom_from_trigger(task_instance(**ti), "progress", PROGRESS))


def test_the_xcom_of_a_trigger_is_set_as_airflow_sets_it(sent: list[Any]) -> None:
    push(map_index=3)
    # What Airflow itself would have sent.
    asyncio.run(
        xcom.XCom.aset(key="progress", value=PROGRESS, dag_id="d", task_id="t", run_id="r", map_index=3)
    )
    ours, airflows = sent
    assert isinstance(ours, SetXCom)
    assert ours == airflows
    assert (ours.key, ours.task_id, ours.map_index) == ("progress", "t", 3)


def test_a_backend_that_stores_elsewhere_does_not_hold_up_the_loop(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xcom, "XCom", Slow)
    monkeypatch.setattr(Slow, "given", [])
    monkeypatch.setattr(Slow, "loop_came_round", threading.Event())

    async def begin() -> None:
        pushing = asyncio.create_task(
            airflow_internals.push_xcom_from_trigger(task_instance(), "progress", PROGRESS)
        )
        await asyncio.sleep(0)
        Slow.loop_came_round.set()
        await pushing

    asyncio.run(begin())
    assert [message.value for message in sent] == ["stored elsewhere: 40"]
    assert Slow.given == [{"key": "progress", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}]


def test_a_backend_that_hangs_takes_no_more_than_one_thread(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's own threads look up host names; they must stay free."""
    answers, begun = threading.Event(), []

    class Hanging(BaseXCom):
        @staticmethod
        def serialize_value(value: Any, **_: Any) -> Any:
            begun.append(threading.current_thread().name)
            answers.wait(timeout=5)

    monkeypatch.setattr(xcom, "XCom", Hanging)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                airflow_internals.push_xcom_from_trigger(task_instance(), "progress", PROGRESS), 0.02
            )

    async def begin() -> None:
        for _ in range(5):
            await give_up()
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
        answers.set()

    asyncio.run(begin())
    assert len(begun) == 1
    assert sent == []
