# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A trigger looks up its connection with Airflow's own means, once, and never blocks the event loop."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.execution_time import task_runner

from airflow_provider_vidgen.errors import InvalidConnection
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from tests.support.accounts import KEY, connection

TOKEN = "t0ken-of-the-callback-route"


def look_up() -> ConnectionSettings:
    async def begin() -> ConnectionSettings:
        async with VideoGenHook().async_client() as client:
            return client.settings

    return asyncio.run(begin())


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the triggerer's supervisor is told; in the event loop it may be told asynchronously only."""
    told: list[Any] = []

    async def asend(message: Any) -> None:
        told.append(message)

    def send(message: Any) -> None:
        raise AssertionError("a call that waits for the supervisor blocks the loop")

    monkeypatch.setattr(
        task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend, send=send), raising=False
    )
    return told


def test_it_needs_no_other_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo", extra={"max_concurrent": 7}))
    for module in [name for name in sys.modules if name.startswith("airflow.providers.")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "airflow.providers.common.compat.connection", None)
    settings = look_up()
    assert (settings.vendor.name, settings.api_key, settings.max_concurrent) == ("apixo", KEY, 7)


def test_secrets_of_the_extra_are_masked_in_the_triggerers_log_and_its_supervisors(
    monkeypatch: pytest.MonkeyPatch, supervisor: list[Any]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo", extra={"callback_token": TOKEN}))
    look_up()
    assert TOKEN not in str(redact(f"the vendor said {TOKEN}"))
    assert any(
        isinstance(message.value, dict) and message.value.get("callback_token") == TOKEN
        for message in supervisor
    )
    assert any(message.value == KEY for message in supervisor)


def test_one_trigger_asks_for_its_connection_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    asked: list[str] = []
    found = BaseHook.aget_connection

    async def aget_connection(conn_id: str) -> Any:
        asked.append(conn_id)
        return await found(conn_id)

    def blocks(conn_id: str) -> Any:
        raise AssertionError("a look-up that waits blocks the loop")

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(aget_connection))
    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(blocks))
    look_up()
    assert asked == ["vidgen_default"]


@pytest.mark.parametrize("extra", ["", "no JSON", "[1, 2]", "null"])
def test_an_extra_that_says_nothing_is_reported_as_such(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def aget_connection(conn_id: str) -> Any:
        return Connection(conn_id=conn_id, password=KEY, extra=extra)

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(aget_connection))
    with pytest.raises(InvalidConnection, match="vendor"):
        look_up()
