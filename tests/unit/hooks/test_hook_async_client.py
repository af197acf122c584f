# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The client of triggers: connection and imports are fetched once, without blocking the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.execution_time import task_runner

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection
from airflow_provider_vidgen.hooks import video_gen
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from tests.support.accounts import KEY, connection

COUNT = 40
TOKEN = "t0ken-of-the-callback-route"


def get_settings() -> ConnectionSettings:
    async def main() -> ConnectionSettings:
        async with VideoGenHook().async_client() as client:
            return client.settings

    return asyncio.run(main())


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Messages to the triggerer's supervisor; in the event loop they must be sent asynchronously."""
    messages: list[Any] = []

    async def asend(message: Any) -> None:
        messages.append(message)

    def send(message: Any) -> None:
        raise AssertionError("a synchronous message to the supervisor blocks the loop")

    monkeypatch.setattr(
        task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend, send=send), raising=False
    )
    return messages


def test_the_connection_is_fetched_without_other_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo", extra={"max_concurrent": 7}))
    for module in [name for name in sys.modules if name.startswith("airflow.providers.")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "airflow.providers.common.compat.connection", None)
    settings = get_settings()
    assert (settings.vendor.name, settings.api_key, settings.max_concurrent) == ("apixo", KEY, 7)


def test_secrets_of_the_extra_are_masked_in_triggerer_and_supervisor(
    monkeypatch: pytest.MonkeyPatch, supervisor: list[Any]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo", extra={"callback_token": TOKEN}))
    get_settings()
    assert TOKEN not in str(redact(f"the vendor said {TOKEN}"))
    assert any(
        isinstance(message.value, dict) and message.value.get("callback_token") == TOKEN
        for message in supervisor
    )
    assert any(message.value == KEY for message in supervisor)


def test_a_trigger_fetches_its_connection_once_and_asynchronously(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    fetched: list[str] = []
    original = BaseHook.aget_connection

    async def aget_connection(conn_id: str) -> Any:
        fetched.append(conn_id)
        return await original(conn_id)

    def blocking_get_connection(conn_id: str) -> Any:
        raise AssertionError("a synchronous fetch blocks the loop")

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(aget_connection))
    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(blocking_get_connection))
    get_settings()
    assert fetched == ["vidgen_default"]


@pytest.mark.parametrize("extra", ["", "no JSON", "[1, 2]", "null"])
def test_an_extra_without_content_is_reported_as_invalid(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def aget_connection(conn_id: str) -> Any:
        return Connection(conn_id=conn_id, password=KEY, extra=extra)

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(aget_connection))
    with pytest.raises(InvalidConnection, match="vendor"):
        get_settings()


def test_imports_run_once_for_all_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = []
    monkeypatch.setattr(video_gen, "_imported", False)
    monkeypatch.setattr(video_gen, "_import_modules", lambda: imports.append(1))

    async def main() -> None:
        await asyncio.gather(*(video_gen._import_in_thread() for _ in range(COUNT)))

    asyncio.run(main())
    assert (len(imports), video_gen._imported, video_gen._importing) == (1, True, {})


def test_a_cancelled_trigger_does_not_cancel_the_import_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_gen, "_imported", False)
    monkeypatch.setattr(video_gen, "_import_modules", lambda: None)

    async def main() -> None:
        first = asyncio.create_task(video_gen._import_in_thread())
        second = asyncio.create_task(video_gen._import_in_thread())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(main())
    assert video_gen._imported


def test_triggers_that_waited_for_one_fetch_start_one_per_iteration_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    fetches, started = [], 0
    original = VideoGenHook._fetch_settings

    async def slow_fetch(self: VideoGenHook) -> Any:
        fetches.append(1)
        await asyncio.sleep(0.05)
        return await original(self)

    monkeypatch.setattr(VideoGenHook, "_fetch_settings", slow_fetch)

    async def start() -> None:
        nonlocal started
        async with VideoGenHook().async_client():
            started += 1
            await asyncio.sleep(0.2)

    async def main() -> int:
        tasks = [asyncio.create_task(start()) for _ in range(COUNT)]
        max_started = previous = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            max_started, previous = max(max_started, started - previous), started
        return max_started

    assert asyncio.run(main()) <= 2
    assert (len(fetches), started) == (1, COUNT)


def test_the_metrics_backend_is_prepared_once_and_not_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    monkeypatch.setattr(video_gen, "_imported", False)
    threads: list[threading.Thread] = []
    monkeypatch.setattr(metrics, "prepare", lambda: threads.append(threading.current_thread()))
    for _ in range(2):
        get_settings()
    [thread] = threads
    assert thread is not threading.main_thread()
