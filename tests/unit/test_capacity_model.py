# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Many tasks at one account, with the real gate, pauses, tickets, schedules of checks and pace of a key.

Modelled are Airflow (workers, trigger slots that are given first come, first served) and the vendor.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen import clock as clock_module
from airflow_provider_vidgen.capacity import CapacityQueue
from airflow_provider_vidgen.errors import RateLimited
from airflow_provider_vidgen.limits.account_limits import AccountLimits
from airflow_provider_vidgen.models import JobState, JobStatus
from airflow_provider_vidgen.polling import JobPoller
from tests.support.accounts import job, settings
from tests.support.clock import Clock, run_virtually
from tests.support.state_store import FakeStateStore
from tests.support.task_instance import FakeTaskInstance

SILENT = SimpleNamespace(info=lambda *_: None, warning=lambda *_: None)
A_DAY = 86_400.0
RENDERING = JobStatus(state=JobState.RUNNING, raw_state="running")
VIDEO = JobStatus(state=JobState.SUCCEEDED, raw_state="done", result_urls=("https://cdn.example.com/v",))


class Run:
    """The instances of one mapped task in one run."""

    def __init__(self, instances: int, limit: int | None) -> None:
        self.states: dict[str, str | None] = {f"t_{index}": None for index in range(instances)}
        self.limit = limit
        self._stores = [FakeStateStore() for _ in range(instances)]

    def capacity(self, index: int) -> CapacityQueue:
        """What a look of an instance begins with: nothing is kept in memory."""
        ti = FakeTaskInstance(map_index=index, states=self.states)
        context = {"ti": ti, "task_state_store": self._stores[index]}
        return CapacityQueue(context, limit=self.limit, timeout=A_DAY)

    def may_submit(self, index: int) -> bool:
        try:
            self.capacity(index).wait_for_slot()
        except AirflowRescheduleException:
            return False
        return True


# --- never more than the limit, and everybody gets through ----------------------------------------------


@budget(max_examples=100, deadline=None)
@given(instances=st.integers(1, 40), limit=st.integers(1, 12), choose=st.randoms(use_true_random=False))
def test_the_limit_is_never_exceeded_and_every_instance_finishes(
    instances: int, limit: int, choose: random.Random
) -> None:
    """Any order of starts and ends; some end before they have a job, some fail and are tried again."""
    clock, run = Clock(), Run(instances, limit)
    under_way: set[int] = set()
    looks = 0
    with mock.patch.object(clock_module, "utcnow", clock.now):
        while waiting := [
            index for index in range(instances) if run.states[f"t_{index}"] not in ("success", "failed")
        ]:
            index = choose.choice(waiting)
            looks += 1
            assert looks < 5_000, "somebody waits for nothing"
            if index in under_way:
                under_way.remove(index)
                # The scheduler takes an instance up again only after its retry's delay.
                run.states[f"t_{index}"] = choose.choice(["success", "success", "failed", "up_for_retry"])
            elif choose.random() < 0.05:
                run.states[f"t_{index}"] = "failed"  # its request was wrong, or what comes before it failed
            elif run.may_submit(index):
                under_way.add(index)
                run.states[f"t_{index}"] = "deferred"
                assert len(under_way) <= limit
            else:
                run.states[f"t_{index}"] = "up_for_reschedule"
                # A later one of the same task may be let in only if this one could be.
                assert len(under_way) <= limit
            clock.sleep(15)


# --- how soon a finished video is noticed ---------------------------------------------------------------


@dataclass
class Night:
    """
    A mapped task at an account, all of it started at once.

    :param jobs: how many jobs the vendor takes at a time, whatever the connection says.
    :param trigger_slots: ``[triggerer] capacity``.
    """

    vendor: str
    tasks: int
    jobs: int
    trigger_slots: int
    knows_limit: bool
    workers: int = 32
    render: tuple[float, float] = (60.0, 180.0)
    under_way: int = 0
    posts: int = 0
    on_rate_limited: int = 0
    noticed: list[float] = field(default_factory=list)
    _ended: list[int] = field(default_factory=list)

    def play(self, clock: Clock) -> Night:
        random.seed(2026)
        with mock.patch.object(airflow_internals, "unfinished_instances_before", self._unfinished_before):
            run_virtually(self._all(clock), clock)
        return self

    def _unfinished_before(self, ti: Any, limit: int) -> int:
        """As the real one, which the test above uses, without a look at each of thousands."""
        return int(ti.map_index) - bisect_left(self._ended, ti.map_index)

    async def _all(self, clock: Clock) -> None:
        self._clock = clock
        self._run = Run(self.tasks, self.jobs if self.knows_limit else None)
        self._settings = settings(self.vendor)
        self._account = AccountLimits()
        self._account.set_rate_limit(self._settings.rate_limit)
        self._free_workers = asyncio.Semaphore(self.workers)
        self._free_triggers = asyncio.Semaphore(self.trigger_slots)
        await asyncio.gather(*(self._task(index) for index in range(self.tasks)))

    async def _task(self, index: int) -> None:
        while True:
            async with self._free_workers:
                await asyncio.sleep(2)
                try:
                    ends_at = self._look(index)
                    break
                except AirflowRescheduleException as left:
                    until = left.reschedule_date
            await asyncio.sleep((until - self._clock.now()).total_seconds())
        asyncio.get_running_loop().call_at(ends_at, self._end)
        submitted_at = self._clock.now()
        async with self._free_triggers:
            await self._watch(submitted_at, ends_at)
        self.noticed.append(asyncio.get_running_loop().time() - ends_at)
        async with self._free_workers:
            await asyncio.sleep(2)
        insort(self._ended, index)

    def _look(self, index: int) -> float:
        """A worker's leg: submit if it is one's turn, and leave if the vendor has no capacity."""
        capacity = self._run.capacity(index)
        capacity.wait_for_slot()
        self.posts += 1
        if self.under_way >= self.jobs:
            self.on_rate_limited += 1
            capacity.wait_after(RateLimited("full"))
        self.under_way += 1
        return asyncio.get_running_loop().time() + random.uniform(*self.render)

    def _end(self) -> None:
        self.under_way -= 1

    async def _watch(self, submitted_at: Any, ends_at: float) -> None:
        loop, now = asyncio.get_running_loop(), self._clock.now
        deadline = submitted_at + timedelta(seconds=A_DAY)
        watch = JobPoller(job(), self._settings.vendor.schedule, submitted_at=submitted_at, deadline=deadline)
        with self._account.count_worker_requests(just_submitted=True):
            delay: float | None = watch.first_delay(now())
            while delay is not None:
                await asyncio.sleep(delay)
                await self._account.acquire(loop.time() - delay, max_wait=A_DAY)
                delay = watch.after_status(VIDEO if loop.time() >= ends_at else RENDERING, now())


@pytest.mark.parametrize(("jobs", "knows_limit"), [(100, False), (1500, False), (1500, True)])
def test_all_of_two_thousand_finished_jobs_are_polled_before_their_links_expire(
    jobs: int, knows_limit: bool, clock: Clock
) -> None:
    """Apixgo's links live for an hour; the triggerer has a thousand slots, and only jobs take them."""
    night = Night("apixgo", tasks=2000, jobs=jobs, trigger_slots=1000, knows_limit=knows_limit).play(clock)
    assert len(night.noticed) == 2000
    assert max(night.noticed) < 3600 / 10
    assert (night.on_rate_limited == 0) is knows_limit
    assert night.posts == 2000 + night.on_rate_limited


@pytest.mark.parametrize(("vendor", "knows_limit"), [("apixo", True), ("apixo", False), ("apixgo", False)])
def test_two_hundred_jobs_ten_at_a_time_are_polled_within_seconds_of_their_end(
    vendor: str, knows_limit: bool, clock: Clock
) -> None:
    """What the vendor refuses to take says nothing about how often it may be asked."""
    night = Night(vendor, tasks=200, jobs=10, trigger_slots=1000, knows_limit=knows_limit).play(clock)
    assert len(night.noticed) == 200
    assert statistics.median(night.noticed) < 15
    assert max(night.noticed) < 60
