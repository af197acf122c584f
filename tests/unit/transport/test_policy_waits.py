# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is sent again, and after what wait: the policy alone, without a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_vidgen.errors import (
    BadCredentials,
    JobNotFound,
    NotSent,
    RateLimited,
    StatusRefused,
    StatusUnavailable,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.transport import policy
from tests.support.clock import Clock


class Failing:
    """Fails with each error in turn, then succeeds."""

    def __init__(self, *errors: VidgenError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize("error", [NotSent, RateLimited, VendorUnavailable])
@pytest.mark.parametrize("has_key", [False, True])
def test_what_the_vendor_cannot_have_taken_is_sent_again(error: type[VidgenError], has_key: bool) -> None:
    clock, send = Clock(), Failing(error("x"), error("x"))
    assert policy.submitting(has_key=has_key, when_full="wait", sleep=clock.sleep)(send) == "done"
    assert send.calls == 3
    assert 1 <= clock.slept[0] <= 2
    assert 2 <= clock.slept[1] <= 3


@pytest.mark.parametrize("error", [SubmitOutcomeUnknown, SubmitInFlight, SubmitRefused, BadCredentials])
def test_anything_else_is_sent_once(error: type[VidgenError]) -> None:
    clock, send = Clock(), Failing(error("x"))
    with pytest.raises(error):
        policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(send)
    assert send.calls == 1
    assert clock.slept == []


@pytest.mark.parametrize("error", [SubmitOutcomeUnknown, SubmitInFlight])
def test_under_a_key_an_open_outcome_is_sent_again_a_few_times(error: type[VidgenError]) -> None:
    clock, send = Clock(), Failing(*(error("x") for _ in range(9)))
    with pytest.raises(error):
        policy.submitting(has_key=True, when_full="wait", sleep=clock.sleep)(send)
    assert send.calls == 4


def test_a_refusal_is_final_also_under_a_key() -> None:
    clock, send = Clock(), Failing(BadCredentials("x"))
    with pytest.raises(BadCredentials):
        policy.submitting(has_key=True, when_full="wait", sleep=clock.sleep)(send)
    assert send.calls == 1


def test_a_full_vendor_is_given_up_after_four_requests() -> None:
    clock, send = Clock(), Failing(*(RateLimited("x") for _ in range(9)))
    with pytest.raises(RateLimited):
        policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(send)
    assert send.calls == 4
    assert len(clock.slept) == 3


@pytest.mark.parametrize(
    "make",
    [policy.asking, lambda sleep: policy.submitting(has_key=False, when_full="wait", sleep=sleep)],
)
def test_the_vendors_own_wait_is_honoured(make: Callable[..., Callable[..., str]]) -> None:
    clock = Clock()
    error = StatusUnavailable if make is policy.asking else RateLimited
    assert make(sleep=clock.sleep)(Failing(error("x", retry_after=17.0))) == "done"
    assert clock.slept == [17.0]


def test_a_shorter_wait_than_ours_does_not_hurry_us() -> None:
    clock = Clock()
    policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(
        Failing(RateLimited("x", retry_after=0.0))
    )
    assert clock.slept[0] >= 1


def test_tasks_that_were_refused_together_do_not_come_back_together() -> None:
    waits = set()
    for _ in range(20):
        clock = Clock()
        policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(Failing(RateLimited("x")))
        waits.update(clock.slept)
    assert len(waits) == 20


def test_a_worker_is_not_held_for_longer_than_a_minute_a_wait() -> None:
    clock, send = Clock(), Failing(RateLimited("x", retry_after=61.0))
    with pytest.raises(RateLimited):
        policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(send)
    assert (clock.slept, send.calls) == ([], 1)


def test_a_wait_of_a_minute_is_kept() -> None:
    clock = Clock()
    policy.submitting(has_key=False, when_full="wait", sleep=clock.sleep)(
        Failing(RateLimited("x", retry_after=60.0))
    )
    assert clock.slept == [60.0]


@pytest.mark.parametrize("has_key", [False, True])
def test_a_caller_that_waits_for_capacity_by_itself_is_told_at_once(has_key: bool) -> None:
    clock, send = Clock(), Failing(RateLimited("x", retry_after=3.0))
    with pytest.raises(RateLimited):
        policy.submitting(has_key=has_key, when_full="raise", sleep=clock.sleep)(send)
    assert (clock.slept, send.calls) == ([], 1)


@pytest.mark.parametrize(
    ("error", "calls"),
    [(StatusUnavailable, 4), (StatusRefused, 2), (JobNotFound, 1)],
)
def test_a_single_check_is_repeated_as_often_as_its_error_deserves(
    error: type[VidgenError], calls: int
) -> None:
    clock, ask = Clock(), Failing(*[error("x") for _ in range(9)])
    with pytest.raises(error):
        policy.asking(sleep=clock.sleep)(ask)
    assert ask.calls == calls
    once = Failing(error("x")) if calls > 1 else Failing()
    assert policy.asking(sleep=clock.sleep)(once) == "done"
