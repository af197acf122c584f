# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Pushing XComs from a trigger, without blocking the event loop, and Airflow's metrics."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import task_runner, xcom
from airflow.sdk.execution_time.comms import SetXCom
from airflow.sdk.observability.metrics import stats_utils

from airflow_provider_vidgen import airflow_internals
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.task_instance import task_instance

PROGRESS = {"state": "running", "percent": 40.0}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Messages to the triggerer's supervisor."""
    messages: list[Any] = []

    async def asend(message: Any) -> None:
        messages.append(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend), raising=False)
    return messages


class Slow(BaseXCom):
    """A backend that stores values elsewhere; it finishes only after the event loop has continued."""

    loop_continued = threading.Event()
    calls: list[dict[str, Any]] = []  # noqa: RUF012

    @staticmethod
    def serialize_value(value: Any, **xcom_id: Any) -> Any:
        assert Slow.loop_continued.wait(timeout=5), "the backend blocks the event loop"
        Slow.calls.append(xcom_id)
        return f"stored elsewhere: {value['percent']:g}"


def push(**ti: Any) -> None:
    asyncio.run(airflow_internals.push_xcom_from_trigger(task_instance(**ti), "progress", PROGRESS))


def test_a_trigger_sends_the_same_xcom_message_as_airflow(sent: list[Any]) -> None:
    push(map_index=3)
    # The message that Airflow itself sends.
    asyncio.run(
        xcom.XCom.aset(key="progress", value=PROGRESS, dag_id="d", task_id="t", run_id="r", map_index=3)
    )
    message, expected = sent
    assert isinstance(message, SetXCom)
    assert message == expected
    assert (message.key, message.task_id, message.map_index) == ("progress", "t", 3)


def test_a_slow_xcom_backend_does_not_block_the_event_loop(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xcom, "XCom", Slow)
    monkeypatch.setattr(Slow, "calls", [])
    monkeypatch.setattr(Slow, "loop_continued", threading.Event())

    async def main() -> None:
        pushing = asyncio.create_task(
            airflow_internals.push_xcom_from_trigger(task_instance(), "progress", PROGRESS)
        )
        await asyncio.sleep(0)
        Slow.loop_continued.set()
        await pushing

    asyncio.run(main())
    assert [message.value for message in sent] == ["stored elsewhere: 40"]
    assert Slow.calls == [{"key": "progress", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}]


def test_a_hanging_xcom_backend_occupies_one_thread_only(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default executor's threads resolve host names and must stay free."""
    release, threads = threading.Event(), []

    class Hanging(BaseXCom):
        @staticmethod
        def serialize_value(value: Any, **_: Any) -> Any:
            threads.append(threading.current_thread().name)
            release.wait(timeout=5)

    monkeypatch.setattr(xcom, "XCom", Hanging)

    async def push_with_timeout() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                airflow_internals.push_xcom_from_trigger(task_instance(), "progress", PROGRESS), 0.02
            )

    async def main() -> None:
        for _ in range(5):
            await push_with_timeout()
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
        release.set()

    asyncio.run(main())
    assert len(threads) == 1
    assert sent == []


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[RecordedMetrics]:
    """The backends that Airflow's configuration made, in a process whose metrics nobody initialised."""
    made: list[RecordedMetrics] = []

    def make() -> RecordedMetrics:
        made.append(RecordedMetrics())
        return made[-1]

    monkeypatch.setattr(stats_utils, "get_stats_factory", lambda: make)
    for name in ("_factory", "_backend", "_registry"):
        monkeypatch.setattr(stats, name, None)
    monkeypatch.setattr(stats, "_export_legacy_names", True)
    return made


@pytest.mark.parametrize("legacy_names", [True, False])
def test_metrics_go_to_the_configured_backend_that_was_prepared_before(
    legacy_names: bool, configured: list[RecordedMetrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", str(legacy_names))
    airflow_internals.prepare_metrics()
    (backend,) = configured
    assert backend.sent == []
    # What is read only where it is needed: 29 kB of YAML.
    assert (stats._registry is not None) is legacy_names
    airflow_internals.metrics_backend().incr("vidgen.submitted", 1, tags={"vendor": "apixo"})
    assert backend.sent == [("vidgen.submitted", 1, {"vendor": "apixo"})]
    assert configured == [backend]


def test_metrics_that_airflow_has_initialised_are_used_as_they_are(
    configured: list[RecordedMetrics],
) -> None:
    backend = RecordedMetrics()
    stats.initialize(factory=lambda: backend, export_legacy_names=False)
    airflow_internals.metrics_backend().incr("vidgen.submitted")
    assert [name for name, _, _ in backend.sent] == ["vidgen.submitted"]
    assert configured == []
