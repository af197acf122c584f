# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How fast one API key may ask, within one event loop.

A triggerer runs all its triggers in one loop. Several triggerers know nothing of each other; where they share
a key, the vendor's refusals tell each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.limits.rate_limiter import RateLimiter


class AccountLimits:
    """One key at one base URL, within the running event loop."""

    def __init__(self) -> None:
        self._count = count()
        self._limiter = RateLimiter(None, _now())
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._wake_up: asyncio.TimerHandle | None = None

    def limit(self, settings: ConnectionSettings) -> None:
        """Take over the limit, as the connection has it now."""
        self._limiter.limit(settings.rate_limit)

    async def acquire(self, since: float, *, max_wait: float) -> float:
        """
        Wait until a request may go out; the one with the longest wait goes first.

        :param since: the loop's time of the last request of the same job.
        :param max_wait: seconds to wait at most.
        :return: the loop's time of this one.
        :raises TimeoutError: it was not its turn by then.
        """
        now = _now()
        if not self._waiters and self._limiter.try_take(now) <= 0:
            return now
        acquire = asyncio.get_running_loop().create_future()
        heappush(self._waiters, (since, next(self._count), acquire))
        if self._wake_up is None:
            self._admit()
        async with asyncio.timeout(max_wait):
            await acquire
        return _now()

    def on_rate_limited(self, *, sent_at: float, retry_after: float | None) -> None:
        """Slow everybody down: the vendor refused a request that went out at ``sent_at``."""
        self._limiter.on_rate_limited(_now(), sent_at=sent_at, retry_after=retry_after)

    def _admit(self) -> None:
        self._wake_up = None
        while self._waiters:
            acquire = self._waiters[0][2]
            if not acquire.done():
                delay = self._limiter.try_take(_now())
                if delay > 0:
                    self._wake_up = asyncio.get_running_loop().call_later(delay, self._admit)
                    return
                acquire.set_result(None)
            heappop(self._waiters)

    @contextmanager
    def track_job(self, *, just_submitted: bool) -> Iterator[None]:
        """
        Count the requests that a job's task sends from workers, before it is watched and after that: they
        cannot wait for a turn.

        :param just_submitted: a worker has submitted it within the last minute.
        """
        if just_submitted:
            self._limiter.take(_now())
        wakes_a_worker = True
        try:
            yield
        except asyncio.CancelledError:
            wakes_a_worker = False
            raise
        finally:
            if wakes_a_worker:
                self._limiter.take(_now())


def _now() -> float:
    return asyncio.get_running_loop().time()
