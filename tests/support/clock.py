# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Clocks that move only when a test sleeps, and an event loop on such a clock."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from airflow_provider_vidgen.simulator import Simulator

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
T = TypeVar("T")


class Clock:
    """A clock that moves only on a sleep."""

    def __init__(self, start: datetime = NOW) -> None:
        self.time = start
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop that skips every wait and moves a clock by its length instead.

    :param clock: the clock that is moved.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(_SkippingSelector(self))
        self._clock = clock
        self._start = clock.now()

    def time(self) -> float:
        return (self._clock.now() - self._start).total_seconds()

    def skip(self, seconds: float) -> None:
        self._clock.time += timedelta(microseconds=math.ceil(seconds * 1e6))


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self._loop.skip(timeout)
        return ready


def run_virtually(main: Coroutine[Any, Any, T], clock: Clock) -> T:
    """Run a coroutine in a :class:`VirtualLoop`."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)


class SimulatorClock:
    """The simulator's clock, which is stopped: a sleep moves it on."""

    def __init__(self, vendors: Simulator) -> None:
        self._vendors = vendors
        self._now = vendors.now()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._vendors.advance(seconds)
        self._now += seconds
