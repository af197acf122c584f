# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The retry policies alone, without a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_vidgen.errors import (
    BadCredentials,
    ConnectionFailed,
    JobNotFound,
    RateLimited,
    StatusRefused,
    StatusUnavailable,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.http import retry_policy
from tests.support.clock import Clock


class Failing:
    """Raises the errors one after another, then succeeds."""

    def __init__(self, *errors: VidgenError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize("error", [ConnectionFailed, RateLimited, VendorUnavailable])
@pytest.mark.parametrize("has_idempotency_key", [False, True])
def test_a_request_that_the_vendor_cannot_have_accepted_is_retried(
    error: type[VidgenError], has_idempotency_key: bool
) -> None:
    clock, send = Clock(), Failing(error("x"), error("x"))
    assert (
        retry_policy.submit_policy(
            has_idempotency_key=has_idempotency_key, when_at_capacity="wait", sleep=clock.sleep
        )(send)
        == "done"
    )
    assert send.calls == 3
    assert 1 <= clock.slept[0] <= 2
    assert 2 <= clock.slept[1] <= 3


@pytest.mark.parametrize("error", [SubmitOutcomeUnknown, SubmitInFlight, SubmitRefused, BadCredentials])
def test_any_other_failed_submission_is_not_retried(error: type[VidgenError]) -> None:
    clock, send = Clock(), Failing(error("x"))
    with pytest.raises(error):
        retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
            send
        )
    assert send.calls == 1
    assert clock.slept == []


@pytest.mark.parametrize("error", [SubmitOutcomeUnknown, SubmitInFlight])
def test_an_unknown_outcome_is_retried_with_an_idempotency_key(error: type[VidgenError]) -> None:
    clock, send = Clock(), Failing(*(error("x") for _ in range(9)))
    with pytest.raises(error):
        retry_policy.submit_policy(has_idempotency_key=True, when_at_capacity="wait", sleep=clock.sleep)(send)
    assert send.calls == 4


def test_a_refusal_is_not_retried_even_with_an_idempotency_key() -> None:
    clock, send = Clock(), Failing(BadCredentials("x"))
    with pytest.raises(BadCredentials):
        retry_policy.submit_policy(has_idempotency_key=True, when_at_capacity="wait", sleep=clock.sleep)(send)
    assert send.calls == 1


def test_a_vendor_without_capacity_gets_at_most_four_requests() -> None:
    clock, send = Clock(), Failing(*(RateLimited("x") for _ in range(9)))
    with pytest.raises(RateLimited):
        retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
            send
        )
    assert send.calls == 4
    assert len(clock.slept) == 3


@pytest.mark.parametrize(
    "policy",
    [
        retry_policy.status_policy,
        lambda sleep: retry_policy.submit_policy(
            has_idempotency_key=False, when_at_capacity="wait", sleep=sleep
        ),
    ],
)
def test_retry_after_is_honoured(policy: Callable[..., Callable[..., str]]) -> None:
    clock = Clock()
    error = StatusUnavailable if policy is retry_policy.status_policy else RateLimited
    assert policy(sleep=clock.sleep)(Failing(error("x", retry_after=17.0))) == "done"
    assert clock.slept == [17.0]


def test_a_retry_after_shorter_than_the_backoff_is_ignored() -> None:
    clock = Clock()
    retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
        Failing(RateLimited("x", retry_after=0.0))
    )
    assert clock.slept[0] >= 1


def test_the_backoff_has_jitter() -> None:
    waits = set()
    for _ in range(20):
        clock = Clock()
        retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
            Failing(RateLimited("x"))
        )
        waits.update(clock.slept)
    assert len(waits) == 20


def test_a_retry_after_of_more_than_a_minute_ends_the_retries() -> None:
    clock, send = Clock(), Failing(RateLimited("x", retry_after=61.0))
    with pytest.raises(RateLimited):
        retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
            send
        )
    assert (clock.slept, send.calls) == ([], 1)


def test_a_retry_after_of_one_minute_is_honoured() -> None:
    clock = Clock()
    retry_policy.submit_policy(has_idempotency_key=False, when_at_capacity="wait", sleep=clock.sleep)(
        Failing(RateLimited("x", retry_after=60.0))
    )
    assert clock.slept == [60.0]


@pytest.mark.parametrize("has_idempotency_key", [False, True])
def test_rate_limited_is_raised_at_once_if_the_caller_waits_for_capacity(has_idempotency_key: bool) -> None:
    clock, send = Clock(), Failing(RateLimited("x", retry_after=3.0))
    with pytest.raises(RateLimited):
        retry_policy.submit_policy(
            has_idempotency_key=has_idempotency_key, when_at_capacity="raise", sleep=clock.sleep
        )(send)
    assert (clock.slept, send.calls) == ([], 1)


@pytest.mark.parametrize(
    ("error", "calls"),
    [(StatusUnavailable, 4), (StatusRefused, 2), (JobNotFound, 1)],
)
def test_the_number_of_attempts_of_a_status_check_depends_on_the_error(
    error: type[VidgenError], calls: int
) -> None:
    clock, check = Clock(), Failing(*[error("x") for _ in range(9)])
    with pytest.raises(error):
        retry_policy.status_policy(sleep=clock.sleep)(check)
    assert check.calls == calls
    once = Failing(error("x")) if calls > 1 else Failing()
    assert retry_policy.status_policy(sleep=clock.sleep)(once) == "done"
