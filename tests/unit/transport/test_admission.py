# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Who may submit next: in order, never more than there is room for, and nobody waits for ever."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_provider_vidgen.transport.admission import Admission

_SETTLED = 10.0


def _called(admission: Admission, now: float) -> list[Any]:
    called = []
    while (who := admission.next(now)) is not None:
        called.append(who)
    return called


def test_who_asked_first_is_called_first() -> None:
    admission = Admission(2, 0.0)
    for who, since in (("c", 30.0), ("a", 10.0), ("b", 20.0)):
        admission.line_up(who, since)
    assert _called(admission, _SETTLED) == ["a", "b"]


def test_whoever_comes_back_keeps_the_place_of_his_first_coming() -> None:
    admission = Admission(1, 0.0)
    admission.line_up("a", 10.0)
    admission.line_up("b", 20.0)
    assert _called(admission, _SETTLED) == ["a"]
    admission.refused(_SETTLED, retry_after=0.0)
    admission.line_up("a", 10.0)
    assert _called(admission, _SETTLED) == ["a"]


def test_nobody_is_called_before_the_jobs_that_are_there_have_shown_themselves() -> None:
    admission = Admission(10, 0.0)
    admission.line_up("a", 0.0)
    assert _called(admission, 1.0) == []
    assert 0 < admission.delay(1.0) <= _SETTLED


def test_one_is_called_for_each_job_that_ends() -> None:
    admission = Admission(3, 0.0)
    for number in range(3):
        admission.watch(f"job {number}")
    for number in range(5):
        admission.line_up(number, float(number))
    assert _called(admission, _SETTLED) == []
    admission.unwatch("job 1")
    assert _called(admission, _SETTLED) == [0]
    assert admission.watch(0)
    assert _called(admission, _SETTLED) == []
    admission.unwatch("job 0")
    admission.unwatch(0)
    assert _called(admission, _SETTLED) == [1, 2]


def test_room_is_kept_for_who_was_called_and_given_away_if_he_never_comes() -> None:
    admission = Admission(1, 0.0)
    admission.line_up("a", 1.0)
    admission.line_up("b", 2.0)
    assert _called(admission, _SETTLED) == ["a"]
    assert _called(admission, _SETTLED + 60) == []
    assert _called(admission, _SETTLED + 60 + admission.delay(_SETTLED + 60)) == ["b"]
    assert not admission.watch("a")


def test_who_has_left_the_line_is_not_called() -> None:
    admission = Admission(5, 0.0)
    admission.line_up("a", 1.0)
    admission.leave("a")
    assert _called(admission, _SETTLED) == []
    assert not admission.waiting


def test_a_refusal_shows_how_much_room_there_is() -> None:
    admission = Admission(None, 0.0)
    for number in range(4):
        admission.watch(number)
    admission.refused(_SETTLED, retry_after=2.0)
    admission.line_up("a", 1.0)
    admission.line_up("b", 2.0)
    assert _called(admission, _SETTLED + 1) == []
    admission.unwatch(0)
    assert _called(admission, _SETTLED + 1) == []  # the vendor wants two seconds
    assert _called(admission, _SETTLED + 2) == ["a"]
    assert _called(admission, _SETTLED + 3) == []


@pytest.mark.parametrize(("limit", "most"), [(None, 12), (6, 6)])
def test_room_grows_back_with_time_one_by_one_and_not_beyond_the_limit(limit: int | None, most: int) -> None:
    admission = Admission(limit, 0.0)
    for number in range(2):
        admission.watch(f"job {number}")
    admission.refused(0.0, retry_after=0.0)
    for number in range(50):
        admission.line_up(number, float(number))
    under_way = []
    for second in range(1, 301):
        for who in _called(admission, float(second)):
            admission.watch(who)
        under_way.append(50 - admission.waiting + 2)
    assert under_way[20] == 2
    assert max(later - earlier for earlier, later in pairwise(under_way)) == 1
    assert under_way[-1] == most


def test_where_no_job_is_watched_one_at_a_time_tries_ever_more_rarely() -> None:
    """Somebody else has filled the account."""
    admission, now, tries = Admission(10, 0.0), 0.0, []
    for number in range(8):
        admission.refused(now, retry_after=None)
        admission.line_up("a", 1.0)
        admission.line_up(f"later {number}", 50.0)
        now += admission.delay(now)
        assert _called(admission, now)[0] == "a"
        tries.append(now)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits == sorted(waits)
    assert waits[-1] == 60


class AnyCourse(RuleBasedStateMachine):
    """Tasks that come, are called, find room or not, and go; what is believed of the room may be wrong."""

    @initialize(limit=st.none() | st.integers(1, 5))
    def begin(self, limit: int | None) -> None:
        self.now, self.limit = 0.0, limit
        self.admission = Admission(limit, 0.0)
        self.waiting: list[int] = []
        self.called: dict[int, float] = {}
        self.jobs: list[int] = []
        self.count = 0

    @rule()
    def somebody_comes(self) -> None:
        self.count += 1
        self.admission.line_up(self.count, float(self.count))
        self.waiting.append(self.count)

    @rule(retry_after=st.none() | st.floats(0, 600), back=st.booleans())
    def somebody_is_refused(self, retry_after: float | None, back: bool) -> None:
        if self.called:
            who = min(self.called)
            del self.called[who]
            self.admission.refused(self.now, retry_after=retry_after)
            self.admission.line_up(who, float(who))
            self.waiting.append(who)

    @rule()
    def somebody_submits(self) -> None:
        if self.called:
            who = min(self.called)
            assert self.admission.watch(who) == (self.now < self.called.pop(who))
            self.jobs.append(who)

    @rule()
    def a_job_ends(self) -> None:
        if self.jobs:
            self.admission.unwatch(self.jobs.pop())

    @rule()
    def somebody_gives_up(self) -> None:
        if self.waiting:
            self.admission.leave(self.waiting.pop())

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._call()

    def _call(self) -> list[int]:
        self.called = {who: until for who, until in self.called.items() if self.now < until}
        called = _called(self.admission, self.now)
        for who in called:
            assert who == min(self.waiting, key=float)
            self.waiting.remove(who)
            self.called[who] = self.now + 120
        if self.limit is not None and called:
            assert len(self.called) + len(self.jobs) <= max(self.limit, len(self.jobs))
        return called

    @invariant()
    def who_waits_is_called_at_last(self) -> None:
        if not hasattr(self, "admission") or not self.waiting:
            return
        # As long as jobs end, and whoever is called does not come back.
        for who in self.jobs:
            self.admission.unwatch(who)
        self.jobs = []
        for _ in range(200):
            if self._call():
                return
            delay = self.admission.delay(self.now)
            assert 0 <= delay < math.inf
            self.now += delay + 1e-6
        raise AssertionError(f"{self.waiting} are never called")


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
