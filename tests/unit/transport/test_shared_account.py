# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the triggers of one loop share, in a loop where nobody really waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from airflow_provider_vidgen.transport import shared as shared_module
from airflow_provider_vidgen.transport.account import Account
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from airflow_provider_vidgen.transport.shared import shared
from airflow_provider_vidgen.vendors.retry_after import retry_after
from tests.support.accounts import KEY, settings
from tests.support.clock import NOW, Clock, run_virtually

FOREVER = float("inf")


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    return run_virtually(main, Clock())


def _account(vendor: str = "apixo", **extra: Any) -> Account:
    account = Account()
    account.limit(settings(vendor, extra=extra))
    return account


def _now() -> float:
    return asyncio.get_running_loop().time()


# --- turns ----------------------------------------------------------------------------------------------


def test_the_job_that_has_waited_longest_is_asked_about_first() -> None:
    async def main() -> list[int]:
        account, order = _account(), []

        async def ask(since: int) -> None:
            await account.turn(since, patience=FOREVER)
            order.append(since)

        await asyncio.gather(*(ask(since) for since in (5, 3, 9, 1, 7)))
        return order

    assert _run(main()) == [1, 3, 5, 7, 9]


def test_a_hundred_jobs_share_a_limit_fairly() -> None:
    async def main() -> dict[int, int]:
        account, checks = _account(), dict.fromkeys(range(100), 0)

        async def watch(job: int) -> None:
            asked_at = _now()
            while True:
                await asyncio.sleep(5)
                await account.turn(asked_at, patience=FOREVER)
                asked_at = _now()
                checks[job] += 1

        tasks = [asyncio.create_task(watch(job)) for job in checks]
        await asyncio.sleep(1200)
        for task in tasks:
            task.cancel()
        return checks

    checks = _run(main())
    assert sum(checks.values()) == pytest.approx(1100, rel=0.02)
    assert max(checks.values()) - min(checks.values()) <= 1


def test_without_a_limit_nobody_waits_and_without_a_refusal_neither() -> None:
    async def main() -> float:
        account = _account("apixgo")
        await asyncio.gather(*(account.turn(0, patience=0) for _ in range(1000)))
        return _now()

    assert _run(main()) == 0


def test_a_refusal_of_one_slows_all_down() -> None:
    async def main() -> float:
        account = _account("apixgo")
        await account.turn(0, patience=0)
        account.refused(sent_at=_now(), retry_after=40)
        await account.turn(0, patience=FOREVER)
        return _now()

    assert _run(main()) >= 40


def test_nobody_is_kept_waiting_for_a_day_by_one_header() -> None:
    async def main() -> float:
        account = _account("apixgo")
        asked = retry_after({"retry-after": "86400"}, NOW)
        account.refused(sent_at=_now(), retry_after=asked)
        await account.turn(0, patience=FOREVER)
        return _now()

    assert 600 <= _run(main()) < 700


def test_patience_has_an_end_and_the_turn_goes_to_the_next() -> None:
    async def main() -> list[str]:
        account, told = _account(), []

        async def ask(name: str, since: float, patience: float) -> None:
            try:
                await account.turn(since, patience=patience)
                told.append(name)
            except TimeoutError:
                told.append(f"{name} gave up")

        account.refused(sent_at=_now(), retry_after=30)
        await asyncio.gather(ask("first", 0, 5), ask("second", 1, FOREVER))
        return told

    assert _run(main()) == ["first gave up", "second"]


# --- what the workers send ------------------------------------------------------------------------------


def test_what_the_workers_send_counts_for_the_pace() -> None:
    async def main() -> float:
        account = _account()
        await asyncio.sleep(60)
        for _ in range(5):
            with account.watching(just_submitted=True):
                """Five submissions, and five last looks by the workers."""
        begin = _now()
        await account.turn(0, patience=FOREVER)
        return _now() - begin

    assert _run(main()) == pytest.approx(6 * 60 / 55, rel=0.01)


def test_a_trigger_that_only_moves_wakes_no_worker() -> None:
    async def main() -> float:
        account = _account()
        await asyncio.sleep(60)
        for _ in range(5):
            with pytest.raises(asyncio.CancelledError), account.watching(just_submitted=False):
                raise asyncio.CancelledError
        begin = _now()
        await account.turn(0, patience=FOREVER)
        return _now() - begin

    assert _run(main()) == 0


# --- what is shared -------------------------------------------------------------------------------------


def test_one_account_for_each_key_and_base_url() -> None:
    async def main() -> int:
        async with shared() as ours:
            accounts = [
                ours.account(settings("apixo")),
                ours.account(settings("apixo", extra={"max_concurrent": 3})),
                ours.account(settings("apixo", password=f"{KEY}2")),
                ours.account(settings("apixo", host="https://gateway.example.com")),
            ]
            assert accounts[0] is accounts[1]
            return len(set(map(id, accounts)))

    assert _run(main()) == 3


def test_a_thousand_triggers_look_a_connection_up_once_a_minute() -> None:
    lookups: list[float] = []

    async def look_up() -> ConnectionSettings:
        lookups.append(_now())
        await asyncio.sleep(1)
        return settings()

    async def main() -> None:
        async with shared() as ours:
            await asyncio.gather(*(ours.settings("conn", look_up) for _ in range(1000)))
            await asyncio.sleep(58)
            await ours.settings("conn", look_up)
            await asyncio.sleep(2)
            await ours.settings("conn", look_up)
            ours.forget("conn")
            await ours.settings("conn", look_up)

    _run(main())
    assert lookups == [0, pytest.approx(61), pytest.approx(62)]


def test_a_lookup_that_failed_is_made_again_and_a_cancelled_trigger_takes_it_from_nobody() -> None:
    tries: list[int] = []

    async def look_up() -> ConnectionSettings:
        tries.append(1)
        await asyncio.sleep(1)
        if len(tries) == 1:
            raise OSError("the API server is away")
        return settings()

    async def main() -> ConnectionSettings:
        async with shared() as ours:
            with pytest.raises(OSError, match="away"):
                await ours.settings("conn", look_up)
            first = asyncio.create_task(ours.settings("conn", look_up))
            second = asyncio.create_task(ours.settings("conn", look_up))
            await asyncio.sleep(0.5)
            first.cancel()
            return await second

    assert _run(main()).conn_id == "vidgen_default"
    assert len(tries) == 2


def test_everything_shared_goes_with_its_last_user() -> None:
    async def main() -> None:
        async with shared() as ours:
            ours.account(settings())
            async with shared() as same:
                assert same is ours
            assert not ours.session.closed
        assert ours.session.closed

    _run(main())
    assert not shared_module._shared
