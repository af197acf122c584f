# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Virtual time: everything in the simulator that takes time takes it from here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: In the year 9892: later ones cannot be written as dates.
_END: Final = 250_000_000_000.0


class VirtualClock:
    """A clock that runs ``speed`` times as fast as the real one and can be pushed forward.

    :param start: the virtual time at the beginning, in seconds since 1970; the real time when left out.
    :param speed: virtual seconds for each real second; 0 stands still until :meth:`advance`.
    """

    def __init__(self, start: float | None = None, speed: float = 1.0) -> None:
        self._virtual = time.time() if start is None else start
        self._real = time.monotonic()
        self._speed = checked_speed(speed)
        self._changed = asyncio.Event()

    @property
    def speed(self) -> float:
        """Virtual seconds for each real second."""
        return self._speed

    def now(self) -> float:
        """Virtual seconds since 1970."""
        return min(_END, to_microsecond(self._virtual + (time.monotonic() - self._real) * self._speed))

    def advance(self, seconds: float) -> None:
        """Jump forward and wake whoever waits.

        :param seconds: how far; time never runs backwards.
        """
        if seconds < 0:
            raise ValueError("the clock cannot be turned back")
        self._virtual = min(_END, to_microsecond(self._virtual + seconds))
        self._wake()

    def set_speed(self, speed: float) -> None:
        """Go on from now at another speed.

        :param speed: virtual seconds for each real second.
        """
        self._virtual, self._real, self._speed = self.now(), time.monotonic(), checked_speed(speed)
        self._wake()

    async def wait_until(self, moment: Callable[[], float]) -> None:
        """Return once the virtual time has come.

        :param moment: gives virtual seconds since 1970, or infinity; asked again whenever the clock is
            touched, because what is waited for may have moved.
        """
        while (left := moment() - self.now()) > 0:
            real = left / self._speed if self._speed else None
            await self._next_change(None if real == float("inf") else real)

    async def sleep(self, seconds: float) -> None:
        """Let virtual time go by.

        :param seconds: how much of it.
        """
        end = self.now() + seconds
        await self.wait_until(lambda: end)

    async def _next_change(self, patience: float | None) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        # Those who wait hold the old event; those who come later must not find it already set.
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()


def to_microsecond(moment: float) -> float:
    """Round a time, so that ten steps of 0.1 s lead to the same moment as one of 1 s.

    :param moment: virtual seconds since 1970.
    """
    return round(moment, 6)


def checked_speed(speed: float) -> float:
    """Refuse a clock that runs backwards.

    :param speed: virtual seconds for each real second.
    """
    if speed < 0:
        raise ValueError("the speed of the clock cannot be negative")
    return speed
