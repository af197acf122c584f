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

from airflow_provider_vidgen.transport.pacer import Pacer
from airflow_provider_vidgen.transport.settings import ConnectionSettings


class Account:
    """One key at one base URL, within the running event loop."""

    def __init__(self) -> None:
        self._count = count()
        self._pacer = Pacer(None, _now())
        self._turns: list[tuple[float, int, asyncio.Future[None]]] = []
        self._next_turn: asyncio.TimerHandle | None = None

    def limit(self, settings: ConnectionSettings) -> None:
        """Take over the limit, as the connection has it now."""
        self._pacer.limit(settings.pace)

    async def turn(self, since: float, *, patience: float) -> float:
        """
        Wait until a request may go out; the one with the longest wait goes first.

        :param since: the loop's time of the last request of the same job.
        :param patience: seconds to wait at most.
        :return: the loop's time of this one.
        :raises TimeoutError: it was not its turn by then.
        """
        now = _now()
        if not self._turns and self._pacer.try_take(now) <= 0:
            return now
        turn = asyncio.get_running_loop().create_future()
        heappush(self._turns, (since, next(self._count), turn))
        if self._next_turn is None:
            self._give_turns()
        async with asyncio.timeout(patience):
            await turn
        return _now()

    def refused(self, *, sent_at: float, retry_after: float | None) -> None:
        """Slow everybody down: the vendor refused a request that went out at ``sent_at``."""
        self._pacer.refused(_now(), sent_at=sent_at, retry_after=retry_after)

    def _give_turns(self) -> None:
        self._next_turn = None
        while self._turns:
            turn = self._turns[0][2]
            if not turn.done():
                delay = self._pacer.try_take(_now())
                if delay > 0:
                    self._next_turn = asyncio.get_running_loop().call_later(delay, self._give_turns)
                    return
                turn.set_result(None)
            heappop(self._turns)

    @contextmanager
    def watching(self, *, just_submitted: bool) -> Iterator[None]:
        """
        Count the requests that a job's task sends from workers, before it is watched and after that: they
        cannot wait for a turn.

        :param just_submitted: a worker has submitted it within the last minute.
        """
        if just_submitted:
            self._pacer.take(_now())
        wakes_a_worker = True
        try:
            yield
        except asyncio.CancelledError:
            wakes_a_worker = False
            raise
        finally:
            if wakes_a_worker:
                self._pacer.take(_now())


def _now() -> float:
    return asyncio.get_running_loop().time()
