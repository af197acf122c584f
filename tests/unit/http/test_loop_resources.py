# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the triggers of an event loop share, in a loop with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.http import loop_resources as loop_resources_module
from airflow_provider_vidgen.http.loop_resources import loop_resources
from tests.support.accounts import KEY, settings
from tests.support.clock import Clock, run_virtually


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    return run_virtually(main, Clock())


def _now() -> float:
    return asyncio.get_running_loop().time()


def test_limits_are_shared_per_api_key_and_base_url() -> None:
    async def main() -> int:
        async with loop_resources() as resources:
            limits = [
                resources.limits_for(settings("apixo")),
                resources.limits_for(settings("apixo", extra={"max_concurrent": 3})),
                resources.limits_for(settings("apixo", password=f"{KEY}2")),
                resources.limits_for(settings("apixo", host="https://gateway.example.com")),
            ]
            assert limits[0] is limits[1]
            return len(set(map(id, limits)))

    assert _run(main()) == 3


def test_a_thousand_triggers_fetch_a_connection_once_a_minute() -> None:
    fetches: list[float] = []

    async def fetch() -> ConnectionSettings:
        fetches.append(_now())
        await asyncio.sleep(1)
        return settings()

    async def main() -> None:
        async with loop_resources() as resources:
            await asyncio.gather(*(resources.settings("conn", fetch) for _ in range(1000)))
            await asyncio.sleep(58)
            await resources.settings("conn", fetch)
            await asyncio.sleep(2)
            await resources.settings("conn", fetch)
            resources.invalidate_settings("conn")
            await resources.settings("conn", fetch)

    _run(main())
    assert fetches == [0, pytest.approx(61), pytest.approx(62)]


def test_a_failed_fetch_is_repeated_and_a_cancelled_trigger_does_not_cancel_it() -> None:
    attempts: list[int] = []

    async def fetch() -> ConnectionSettings:
        attempts.append(1)
        await asyncio.sleep(1)
        if len(attempts) == 1:
            raise OSError("the API server is away")
        return settings()

    async def main() -> ConnectionSettings:
        async with loop_resources() as resources:
            with pytest.raises(OSError, match="away"):
                await resources.settings("conn", fetch)
            first = asyncio.create_task(resources.settings("conn", fetch))
            second = asyncio.create_task(resources.settings("conn", fetch))
            await asyncio.sleep(0.5)
            first.cancel()
            return await second

    assert _run(main()).conn_id == "vidgen_default"
    assert len(attempts) == 2


def test_the_resources_are_released_with_their_last_user() -> None:
    async def main() -> None:
        async with loop_resources() as resources:
            resources.limits_for(settings())
            async with loop_resources() as same:
                assert same is resources
            assert not resources.session.closed
        assert resources.session.closed

    _run(main())
    assert not loop_resources_module._resources
