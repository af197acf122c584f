# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The rate limit of one key: never exceeded, reduced after a 429, and recovering gradually."""

from __future__ import annotations

from copy import copy
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vidgen.limits.rate_limiter import RateLimiter


def _delay(limiter: RateLimiter, now: float) -> float:
    """Return the seconds until a request may be sent, without recording one."""
    return copy(limiter).try_acquire(now)


def _send_for(limiter: RateLimiter, seconds: float, *, since: float = 0.0) -> list[float]:
    """Send as often as allowed, and return the times."""
    now, sent = since, []
    while (now := now + max(0.0, _delay(limiter, now))) < since + seconds:
        limiter.record(now)
        sent.append(now)
    return sent


def _max_per_minute(sent: list[float]) -> int:
    return max((sum(1 for other in sent if at <= other < at + 60) for at in sent), default=0)


@pytest.mark.parametrize("per_minute", [1, 2, 7, 60, 1000])
def test_no_minute_exceeds_the_limit_and_at_least_forty_percent_of_it_is_used(per_minute: int) -> None:
    sent = _send_for(RateLimiter(per_minute, 0.0), 600)
    assert _max_per_minute(sent) <= per_minute
    assert len(sent) >= 0.4 * per_minute * 10


@given(
    per_minute=st.integers(1, 120),
    pauses=st.lists(st.floats(0, 90), min_size=1, max_size=60),
    paused=st.lists(st.booleans(), min_size=1, max_size=7),
)
@settings(deadline=None, max_examples=200)
def test_no_minute_exceeds_the_limit_with_any_pattern_of_pauses(
    per_minute: int, pauses: list[float], paused: list[bool]
) -> None:
    limiter, now, sent = RateLimiter(per_minute, 0.0), 0.0, []
    for number in range(per_minute * 3):
        # The bucket fills up during pauses, and then a burst is possible.
        now += pauses[number % len(pauses)] if paused[number % len(paused)] else 0.0
        now += max(0.0, _delay(limiter, now))
        limiter.record(now)
        sent.append(now)
    assert _max_per_minute(sent) <= per_minute


def test_requests_do_not_wait_without_a_limit() -> None:
    limiter = RateLimiter(None, 0.0)
    for _ in range(1000):
        assert _delay(limiter, 0.0) <= 0
        limiter.record(0.0)


def test_the_bucket_of_a_new_process_is_empty() -> None:
    assert _send_for(RateLimiter(60, 100.0), 2, since=100.0) == [pytest.approx(100 + 60 / 55)]


def test_recorded_requests_delay_the_next_ones() -> None:
    limiter = RateLimiter(60, 0.0)
    for _ in range(10):
        limiter.record(60.0)
    assert _delay(limiter, 60.0) == pytest.approx(6 * 60 / 55)


def test_a_changed_limit_applies_at_once() -> None:
    limiter = RateLimiter(60, 0.0)
    limiter.set_limit(6000)
    assert len(_send_for(limiter, 60)) > 1000
    limiter.set_limit(12)
    assert len(_send_for(limiter, 60, since=60.0)) <= 12


@pytest.mark.parametrize("per_minute", [None, 600])
def test_a_429_blocks_the_key_for_its_retry_after(per_minute: int | None) -> None:
    limiter = RateLimiter(per_minute, 0.0)
    limiter.record(10.0)
    limiter.on_rate_limited(10.0, sent_at=10.0, retry_after=17.0)
    assert _delay(limiter, 10.0) >= 17
    assert _delay(limiter, 27.5) == 0
    limiter.record(27.5)
    assert _delay(limiter, 27.5) > 0


@pytest.mark.parametrize("per_minute", [None, 600])
def test_a_429_halves_the_rate_which_recovers_within_about_a_minute(
    per_minute: int | None,
) -> None:
    limiter = RateLimiter(per_minute, 0.0)
    for tick in range(160):
        limiter.record(tick / 8)  # eight a second for twenty seconds
    limiter.on_rate_limited(20.0, sent_at=20.0, retry_after=0.0)
    sent = _send_for(limiter, 70, since=20.0)
    by_ten_seconds = [sum(1 for at in sent if begin <= at < begin + 10) for begin in range(20, 90, 10)]
    assert 30 <= by_ten_seconds[0] <= 50
    assert all(earlier <= later + 1 for earlier, later in pairwise(by_ten_seconds))
    assert 70 <= by_ten_seconds[-1] <= 92


def test_the_rate_is_unlimited_again_some_minutes_after_a_429_if_no_limit_is_known() -> None:
    limiter = RateLimiter(None, 0.0)
    limiter.record(0.0)
    limiter.on_rate_limited(0.0, sent_at=0.0, retry_after=1.0)
    limiter.record(2.0)
    assert _delay(limiter, 2.0) > 0
    limiter.record(600.0)
    assert _delay(limiter, 600.0) <= 0


def test_a_429_to_a_request_sent_before_an_earlier_429_does_not_reduce_the_rate_again() -> None:
    def delay_after(count: int) -> float:
        limiter = RateLimiter(600, 0.0)
        for tick in range(100):
            limiter.record(tick / 10)
        for number in range(count):
            limiter.on_rate_limited(10.0 + number / 100, sent_at=9.9, retry_after=0.0)
        limiter.record(11.0)
        return _delay(limiter, 11.0)

    assert delay_after(8) == pytest.approx(delay_after(1), rel=0.2)


def test_repeated_429s_without_retry_after_double_the_backoff() -> None:
    limiter, now, before, waits = RateLimiter(None, 0.0), 0.0, 0.0, []
    for _ in range(8):
        limiter.record(now)
        limiter.on_rate_limited(now, sent_at=now, retry_after=None)
        now += _delay(limiter, now) + 1e-3
        waits.append(round(now - before))
        before = now
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from(["record", "429"]), st.none() | st.floats(0, 600)),
        max_size=50,
    ),
    st.none() | st.integers(1, 10_000),
)
def test_the_delay_is_always_finite(
    events: list[tuple[float, str, float | None]], per_minute: int | None
) -> None:
    limiter, now = RateLimiter(per_minute, 0.0), 0.0
    for seconds, event, retry_after in events:
        now += seconds
        now += max(0.0, _delay(limiter, now))
        limiter.record(now)
        if event == "429":
            limiter.on_rate_limited(now, sent_at=now, retry_after=retry_after)
        assert _delay(limiter, now) < 3600
