# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The rate limit that triggers of an event loop share, in a loop with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from airflow_provider_vidgen.limits.account_limits import AccountLimits
from airflow_provider_vidgen.vendors.http_messages import parse_retry_after
from tests.support.accounts import settings
from tests.support.clock import NOW, Clock, run_virtually

FOREVER = float("inf")


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    return run_virtually(main, Clock())


def _limits(vendor: str = "apixo", **extra: Any) -> AccountLimits:
    limits = AccountLimits()
    limits.set_rate_limit(settings(vendor, extra=extra).rate_limit)
    return limits


def _now() -> float:
    return asyncio.get_running_loop().time()


def test_the_job_with_the_oldest_request_is_admitted_first() -> None:
    async def main() -> list[int]:
        limits, order = _limits(), []

        async def check(last_request_at: int) -> None:
            await limits.acquire(last_request_at, max_wait=FOREVER)
            order.append(last_request_at)

        await asyncio.gather(*(check(last_request_at) for last_request_at in (5, 3, 9, 1, 7)))
        return order

    assert _run(main()) == [1, 3, 5, 7, 9]


def test_a_hundred_jobs_share_the_limit_equally() -> None:
    async def main() -> dict[int, int]:
        limits, checks = _limits(), dict.fromkeys(range(100), 0)

        async def poll(job: int) -> None:
            last_request_at = _now()
            while True:
                await asyncio.sleep(5)
                await limits.acquire(last_request_at, max_wait=FOREVER)
                last_request_at = _now()
                checks[job] += 1

        tasks = [asyncio.create_task(poll(job)) for job in checks]
        await asyncio.sleep(1200)
        for task in tasks:
            task.cancel()
        return checks

    checks = _run(main())
    assert sum(checks.values()) == pytest.approx(1100, rel=0.02)
    assert max(checks.values()) - min(checks.values()) <= 1


def test_requests_do_not_wait_without_a_limit_or_a_429() -> None:
    async def main() -> float:
        limits = _limits("apixgo")
        await asyncio.gather(*(limits.acquire(0, max_wait=0) for _ in range(1000)))
        return _now()

    assert _run(main()) == 0


def test_a_429_to_one_job_delays_all_jobs() -> None:
    async def main() -> float:
        limits = _limits("apixgo")
        await limits.acquire(0, max_wait=0)
        limits.on_rate_limited(sent_at=_now(), retry_after=40)
        await limits.acquire(0, max_wait=FOREVER)
        return _now()

    assert _run(main()) >= 40


def test_a_retry_after_of_a_day_is_capped_at_ten_minutes() -> None:
    async def main() -> float:
        limits = _limits("apixgo")
        retry_after_seconds = parse_retry_after({"retry-after": "86400"}, NOW)
        limits.on_rate_limited(sent_at=_now(), retry_after=retry_after_seconds)
        await limits.acquire(0, max_wait=FOREVER)
        return _now()

    assert 600 <= _run(main()) < 700


def test_a_waiter_that_times_out_is_skipped() -> None:
    async def main() -> list[str]:
        limits, outcomes = _limits(), []

        async def check(name: str, last_request_at: float, max_wait: float) -> None:
            try:
                await limits.acquire(last_request_at, max_wait=max_wait)
                outcomes.append(name)
            except TimeoutError:
                outcomes.append(f"{name} gave up")

        limits.on_rate_limited(sent_at=_now(), retry_after=30)
        await asyncio.gather(check("first", 0, 5), check("second", 1, FOREVER))
        return outcomes

    assert _run(main()) == ["first gave up", "second"]


def test_requests_of_workers_count_for_the_rate_limit() -> None:
    async def main() -> float:
        limits = _limits()
        await asyncio.sleep(60)
        for _ in range(5):
            with limits.count_worker_requests(just_submitted=True):
                pass  # counts one submission and one last status check
        start = _now()
        await limits.acquire(0, max_wait=FOREVER)
        return _now() - start

    assert _run(main()) == pytest.approx(6 * 60 / 55, rel=0.01)


def test_no_worker_request_is_counted_for_a_cancelled_trigger() -> None:
    async def main() -> float:
        limits = _limits()
        await asyncio.sleep(60)
        for _ in range(5):
            with pytest.raises(asyncio.CancelledError), limits.count_worker_requests(just_submitted=False):
                raise asyncio.CancelledError
        start = _now()
        await limits.acquire(0, max_wait=FOREVER)
        return _now() - start

    assert _run(main()) == 0
