# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The rate limit of one account, shared by all triggers of an event loop.

Triggerers do not coordinate: where several use the same API key, each slows down when the vendor answers 429.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count

from airflow_provider_vidgen.limits.rate_limiter import RateLimiter


class AccountLimits:
    """Limits of one API key at one base URL, within the running event loop."""

    def __init__(self) -> None:
        self._sequence = count()
        self._limiter = RateLimiter(None, _now())
        #: A heap: time of the job's last request, tie-breaker, and the future that admits the waiter.
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def set_rate_limit(self, per_minute: int | None) -> None:
        """Set the account's limit in requests per minute, which may have changed in the connection."""
        self._limiter.set_limit(per_minute)

    async def acquire(self, last_request_at: float, *, max_wait: float) -> float:
        """
        Wait until a request may be sent; the job whose last request is the oldest goes first.

        :param last_request_at: the loop's time of the job's last request.
        :param max_wait: longest wait in seconds.
        :return: the loop's time of this request.
        :raises TimeoutError: the wait was longer than ``max_wait``.
        """
        now = _now()
        if not self._waiters and self._limiter.try_acquire(now) <= 0:
            return now
        admitted = asyncio.get_running_loop().create_future()
        heappush(self._waiters, (last_request_at, next(self._sequence), admitted))
        if self._timer is None:
            self._admit_waiters()
        async with asyncio.timeout(max_wait):
            await admitted
        return _now()

    def on_rate_limited(self, *, sent_at: float, retry_after: float | None) -> None:
        """Slow down all triggers of this account after a 429 to the request sent at ``sent_at``."""
        self._limiter.on_rate_limited(_now(), sent_at=sent_at, retry_after=retry_after)

    def _admit_waiters(self) -> None:
        self._timer = None
        while self._waiters:
            admitted = self._waiters[0][2]
            if not admitted.done():
                delay = self._limiter.try_acquire(_now())
                if delay > 0:
                    self._timer = asyncio.get_running_loop().call_later(delay, self._admit_waiters)
                    return
                admitted.set_result(None)
            heappop(self._waiters)

    @contextmanager
    def count_worker_requests(self, *, just_submitted: bool) -> Iterator[None]:
        """
        Count the requests that workers send for a job before and after its trigger runs.

        Workers do not wait for this limiter, so their requests reduce what is left for checks.

        :param just_submitted: a worker submitted the job within the last minute.
        """
        if just_submitted:
            self._limiter.record(_now())
        resumes_on_worker = True
        try:
            yield
        except asyncio.CancelledError:
            # The trigger moves to another triggerer, or its task was killed.
            resumes_on_worker = False
            raise
        finally:
            if resumes_on_worker:
                self._limiter.record(_now())


def _now() -> float:
    return asyncio.get_running_loop().time()
