# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A token bucket for one API key that backs off when the vendor answers 429. No I/O and no clock of its own.

A 429 blocks the key for the vendor's Retry-After. Then the rate is half of what it was, and grows back within
about a minute, or to no limit where none is known. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math

#: Fraction of the limit per minute that may be sent in a burst. The rest is spread, so that no minute exceeds
#: the limit.
_BURST_FRACTION = 1 / 12
#: Time constant in seconds over which the recent rate is averaged.
_AVERAGING_TIME = 10.0
#: Seconds in which the rate after a 429 grows by its initial value.
_RECOVERY_TIME = 60.0
#: Requests per second that are always allowed after a 429.
_MIN_RATE = 1 / 10
#: Seconds for which a 429 without Retry-After blocks the key; doubled by each 429 that follows.
_INITIAL_BACKOFF = 2.0
_MAX_BACKOFF = 60.0
_EPSILON = 1e-6


class RateLimiter:
    """
    The rate limit of one key.

    The bucket starts empty: a restarted process must not send a burst on top of what it sent before.

    :param per_minute: the account's limit, or ``None`` if not known.
    :param now: the current time.
    """

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._tokens = 0.0
        self._refilled_at = now
        self._blocked_until = now
        self._last_rate_limited_at = -math.inf
        self._backoff = _INITIAL_BACKOFF
        #: The rate right after the last 429; ``None`` once the rate has recovered.
        self._reduced_rate: float | None = None
        #: Recent requests, weighted by their age.
        self._recent_requests = 0.0
        self._recorded_at = now
        self.set_limit(per_minute)

    def set_limit(self, per_minute: float | None) -> None:
        """Set the account's limit, which may have changed in the connection."""
        self._burst = 1.0 if per_minute is None else max(1.0, per_minute * _BURST_FRACTION)
        #: Requests per second. A limit of 1 per minute leaves nothing beside the burst, hence the minimum.
        self._max_rate = self._rate = (
            math.inf if per_minute is None else max(per_minute - self._burst, 0.5) / 60
        )

    def try_acquire(self, now: float) -> float:
        """
        Record a request if one may be sent now.

        :return: 0, or the seconds until a request may be sent.
        """
        self._refill(now)
        missing = 1 - self._tokens
        delay = max(missing / self._rate if missing > 0 else 0.0, self._blocked_until - now)
        # A delay that is only a rounding error would wake the caller again and again at the same time.
        if delay > _EPSILON:
            return delay
        self._spend_token(now)
        return 0.0

    def record(self, now: float) -> None:
        """Record a request that was sent with this key without waiting here."""
        self._refill(now)
        self._spend_token(now)

    def on_rate_limited(self, now: float, *, sent_at: float, retry_after: float | None) -> None:
        """
        Back off after a 429.

        :param sent_at: when the refused request was sent. If that was before an earlier 429 arrived, the rate
            was already reduced and stays as it is.
        :param retry_after: the vendor's Retry-After in seconds.
        """
        self._refill(now)
        if sent_at > self._last_rate_limited_at:
            recent_rate = min(self._recent_requests / _AVERAGING_TIME, self._rate)
            repeated = self._reduced_rate is not None
            self._backoff = min(self._backoff * 2, _MAX_BACKOFF) if repeated else _INITIAL_BACKOFF
            self._reduced_rate = max(recent_rate / 2, _MIN_RATE)
            self._last_rate_limited_at = now
            # One request may probe whether the key is accepted again.
            self._tokens = min(self._tokens, 0.0) + 1
        wait = self._backoff if retry_after is None else retry_after
        self._blocked_until = max(self._blocked_until, now + wait)

    def _spend_token(self, now: float) -> None:
        self._tokens -= 1
        decay = math.exp((self._recorded_at - now) / _AVERAGING_TIME)
        self._recent_requests = self._recent_requests * decay + 1
        self._recorded_at = now

    def _refill(self, now: float) -> None:
        self._rate = self._recovered_rate(now)
        if self._rate == math.inf:
            self._tokens = self._burst
        elif (since := max(self._refilled_at, self._blocked_until)) < now:
            self._tokens = min(self._tokens + (now - since) * self._rate, self._burst)
        self._refilled_at = now

    def _recovered_rate(self, now: float) -> float:
        """Return the rate that is allowed by now; it grows after a 429 until it has recovered."""
        if self._reduced_rate is None:
            return self._max_rate
        rate = self._reduced_rate * (1 + max(0.0, now - self._blocked_until) / _RECOVERY_TIME)
        if rate < min(self._max_rate, 8 * self._reduced_rate):
            return rate
        self._reduced_rate = None
        return self._max_rate
