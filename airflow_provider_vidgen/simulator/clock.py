# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Virtual clock: the only source of time for jobs, links, limits and callbacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: In the year 9892. Later timestamps cannot be written as dates.
_MAX_TIME: Final = 250_000_000_000.0


class VirtualClock:
    """A clock that runs ``speed`` times as fast as real time and can be advanced.

    :param start_time: the initial virtual time, in seconds since 1970; the real time when None.
    :param speed: virtual seconds per real second; 0 stops the clock until :meth:`advance`.
    """

    def __init__(self, start_time: float | None = None, speed: float = 1.0) -> None:
        self._virtual = time.time() if start_time is None else start_time
        self._real = time.monotonic()
        self._speed = _validated_speed(speed)
        self._changed = asyncio.Event()

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._speed

    def now(self) -> float:
        """Return the virtual time in seconds since 1970."""
        elapsed = (time.monotonic() - self._real) * self._speed
        return min(_MAX_TIME, round_to_microsecond(self._virtual + elapsed))

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake all waiters.

        :param seconds: virtual seconds, not negative.
        """
        if seconds < 0:
            raise ValueError("the clock cannot be turned back")
        self._virtual = min(_MAX_TIME, round_to_microsecond(self._virtual + seconds))
        self.wake_waiters()

    def set_speed(self, speed: float) -> None:
        """Change the speed from now on.

        :param speed: virtual seconds per real second.
        """
        self._virtual, self._real, self._speed = self.now(), time.monotonic(), _validated_speed(speed)
        self.wake_waiters()

    async def wait_until(self, deadline: Callable[[], float]) -> None:
        """Wait until the virtual time reaches a deadline.

        :param deadline: returns virtual seconds since 1970, or infinity. It is called again after each change
            of the clock, because the deadline itself may have changed.
        """
        while (remaining := deadline() - self.now()) > 0:
            real_seconds = remaining / self._speed if self._speed else None
            await self._wait_for_change(None if real_seconds == float("inf") else real_seconds)

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time.

        :param seconds: virtual seconds.
        """
        end = self.now() + seconds
        await self.wait_until(lambda: end)

    def wake_waiters(self) -> None:
        """Make all waiters compute their deadlines again."""
        # Current waiters hold the old event; later ones must not find theirs already set.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _wait_for_change(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


def round_to_microsecond(seconds: float) -> float:
    """Round a time, so that ten steps of 0.1 s lead to the same time as one step of 1 s.

    :param seconds: virtual seconds since 1970.
    """
    return round(seconds, 6)


def _validated_speed(speed: float) -> float:
    if speed < 0:
        raise ValueError("the speed of the clock cannot be negative")
    return speed
