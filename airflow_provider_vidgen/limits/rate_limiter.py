# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How fast one API key may ask. No I/O and no clock of its own.

A token bucket at the account's limit. A refusal (429) closes it for as long as the vendor asks, then the pace
is half of what it was and grows back over a minute, or beyond that where no limit is known. Times are seconds
of one monotonic clock.
"""

from __future__ import annotations

import math

#: Of a limit per minute so much may come at once; the rest is spread, so that no minute has more than all.
_AT_ONCE = 1 / 12
#: Over so many seconds the pace of the past is taken.
_MEMORY = 10.0
_RECOVERY = 60.0
#: Requests a second below which nobody is slowed down.
_SLOWEST = 1 / 10
#: Seconds for which a refusal closes the key if the vendor gives none; doubled by each that follows.
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0
_MOMENT = 1e-6


class RateLimiter:
    """
    The pace of one key.

    It starts empty: a process that is started again must not send a burst on top of what it had sent before.

    :param per_minute: the account's limit, or ``None``.
    :param now: the time.
    """

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._tokens = 0.0
        self._counted_at = now
        self._closed_until = now
        self._slowed_at = -math.inf
        self._pause = _FIRST_PAUSE
        #: The pace right after the last refusal, while it still counts.
        self._floor: float | None = None
        self._recent = 0.0
        self._recent_at = now
        self.limit(per_minute)

    def limit(self, per_minute: float | None) -> None:
        """Take over the account's limit, which may have been changed in the connection."""
        self._at_once = 1.0 if per_minute is None else max(1.0, per_minute * _AT_ONCE)
        #: Requests a second; a limit of one a minute is spread like any other.
        self._fastest = self._pace = (
            math.inf if per_minute is None else max(per_minute - self._at_once, 0.5) / 60
        )

    def try_take(self, now: float) -> float:
        """
        Count a request if one may go out now.

        :return: 0, or the seconds until one may.
        """
        self._refill(now)
        missing = 1 - self._tokens
        wait = max(missing / self._pace if missing > 0 else 0.0, self._closed_until - now)
        # What is left over by rounding would wake the caller again and again at the same moment.
        if wait > _MOMENT:
            return wait
        self._count(now)
        return 0.0

    def take(self, now: float) -> None:
        """Count a request that somebody else sends on this key and that cannot wait here."""
        self._refill(now)
        self._count(now)

    def on_rate_limited(self, now: float, *, sent_at: float, retry_after: float | None) -> None:
        """
        Slow down.

        :param sent_at: when the refused request went out. One that was on its way when an earlier refusal
            came says nothing new about the pace.
        :param retry_after: seconds the vendor asked to wait.
        """
        self._refill(now)
        if sent_at > self._slowed_at:
            before = min(self._recent / _MEMORY, self._pace)
            again = self._floor is not None
            self._pause = min(self._pause * 2, _LONGEST_PAUSE) if again else _FIRST_PAUSE
            self._floor = max(before / 2, _SLOWEST)
            self._slowed_at = now
            # One request may find out whether the key is open again.
            self._tokens = min(self._tokens, 0.0) + 1
        asked = self._pause if retry_after is None else retry_after
        self._closed_until = max(self._closed_until, now + asked)

    def _count(self, now: float) -> None:
        self._tokens -= 1
        self._recent = self._recent * math.exp((self._recent_at - now) / _MEMORY) + 1
        self._recent_at = now

    def _refill(self, now: float) -> None:
        self._pace = self._fastest if self._floor is None else self._grown(self._floor, now)
        if self._pace == math.inf:
            self._tokens = self._at_once
        elif (since := max(self._counted_at, self._closed_until)) < now:
            self._tokens = min(self._tokens + (now - since) * self._pace, self._at_once)
        self._counted_at = now

    def _grown(self, floor: float, now: float) -> float:
        """Return the requests a second that are allowed at this time after a refusal."""
        grown = floor * (1 + max(0.0, now - self._closed_until) / _RECOVERY)
        if grown < min(self._fastest, 8 * floor):
            return grown
        self._floor = None
        return self._fastest
