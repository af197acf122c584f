# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Many tasks at one account, with the real capacity queue, poll schedule and rate limit.

Airflow (workers, trigger slots in the order of requests) and the vendor are simulated.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException
from hypothesis import given
from hypothesis import settings as hypothesis_settings
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

DAY = 86_400.0
RENDERING = JobStatus(state=JobState.RUNNING, raw_state="running")
VIDEO = JobStatus(state=JobState.SUCCEEDED, raw_state="done", result_urls=("https://cdn.example.com/v",))


class MappedTask:
    """The instances of one mapped task in one run."""

    def __init__(self, instances: int, limit: int | None) -> None:
        self.states: dict[str, str | None] = {f"t_{index}": None for index in range(instances)}
        self.limit = limit
        self._stores = [FakeStateStore() for _ in range(instances)]

    def capacity(self, index: int) -> CapacityQueue:
        """Return the queue as a new process of an instance creates it: nothing is kept in memory."""
        ti = FakeTaskInstance(map_index=index, states=self.states)
        context = {"ti": ti, "task_state_store": self._stores[index]}
        return CapacityQueue(context, limit=self.limit, timeout=DAY)

    def may_submit(self, index: int) -> bool:
        try:
            self.capacity(index).wait_for_slot()
        except AirflowRescheduleException:
            return False
        return True


# --- the concurrency limit ------------------------------------------------------------------------------


@hypothesis_settings(max_examples=100, deadline=None)
@given(instances=st.integers(1, 40), limit=st.integers(1, 12), choose=st.randoms(use_true_random=False))
def test_the_limit_is_never_exceeded_and_every_instance_finishes(
    instances: int, limit: int, choose: random.Random
) -> None:
    """In any order of starts and ends; some instances end before they have a job, some fail and retry."""
    clock, mapped_task = Clock(), MappedTask(instances, limit)
    states = mapped_task.states
    active_jobs: set[int] = set()
    checks = 0
    with mock.patch.object(clock_module, "utcnow", clock.now):
        while unfinished := [
            index for index in range(instances) if states[f"t_{index}"] not in ("success", "failed")
        ]:
            index = choose.choice(unfinished)
            checks += 1
            assert checks < 5_000, "an instance waits although there is capacity"
            if index in active_jobs:
                active_jobs.remove(index)
                # The scheduler runs an instance again only after its retry delay.
                states[f"t_{index}"] = choose.choice(["success", "success", "failed", "up_for_retry"])
            elif choose.random() < 0.05:
                states[f"t_{index}"] = "failed"  # before it had a job
            elif mapped_task.may_submit(index):
                active_jobs.add(index)
                states[f"t_{index}"] = "deferred"
                assert len(active_jobs) <= limit
            else:
                states[f"t_{index}"] = "up_for_reschedule"
                assert len(active_jobs) <= limit
            clock.sleep(15)


# --- the delay until a finished job is polled -----------------------------------------------------------


@dataclass
class MappedRunSimulation:
    """
    A mapped task at one account, with all instances started at once.

    :param vendor_limit: jobs that the vendor runs at a time, whatever the connection has.
    :param trigger_slots: ``[triggerer] capacity``.
    """

    vendor: str
    tasks: int
    vendor_limit: int
    trigger_slots: int
    limit_is_known: bool
    workers: int = 32
    render_seconds: tuple[float, float] = (60.0, 180.0)
    active_jobs: int = 0
    posts: int = 0
    refusals: int = 0
    poll_delays: list[float] = field(default_factory=list)
    _ended: list[int] = field(default_factory=list)

    def run(self, clock: Clock) -> MappedRunSimulation:
        random.seed(2026)
        with mock.patch.object(airflow_internals, "unfinished_instances_before", self._unfinished_before):
            run_virtually(self._all(clock), clock)
        return self

    def _unfinished_before(self, ti: Any, limit: int) -> int:
        """Count like the real function, without a loop over thousands of instances."""
        return int(ti.map_index) - bisect_left(self._ended, ti.map_index)

    async def _all(self, clock: Clock) -> None:
        self._clock = clock
        self._mapped_task = MappedTask(self.tasks, self.vendor_limit if self.limit_is_known else None)
        self._settings = settings(self.vendor)
        self._account = AccountLimits()
        self._account.set_rate_limit(self._settings.rate_limit)
        self._free_workers = asyncio.Semaphore(self.workers)
        self._free_trigger_slots = asyncio.Semaphore(self.trigger_slots)
        await asyncio.gather(*(self._task(index) for index in range(self.tasks)))

    async def _task(self, index: int) -> None:
        while True:
            async with self._free_workers:
                await asyncio.sleep(2)
                try:
                    ends_at = self._submit(index)
                    break
                except AirflowRescheduleException as rescheduled:
                    until = rescheduled.reschedule_date
            await asyncio.sleep((until - self._clock.now()).total_seconds())
        asyncio.get_running_loop().call_at(ends_at, self._end)
        submitted_at = self._clock.now()
        async with self._free_trigger_slots:
            await self._poll(submitted_at, ends_at)
        self.poll_delays.append(asyncio.get_running_loop().time() - ends_at)
        async with self._free_workers:
            await asyncio.sleep(2)
        insort(self._ended, index)

    def _submit(self, index: int) -> float:
        """Submit on a worker, unless the queue or the vendor has no capacity; return the job's end."""
        capacity = self._mapped_task.capacity(index)
        capacity.wait_for_slot()
        self.posts += 1
        if self.active_jobs >= self.vendor_limit:
            self.refusals += 1
            capacity.wait_after(RateLimited("full"))
        self.active_jobs += 1
        return asyncio.get_running_loop().time() + random.uniform(*self.render_seconds)

    def _end(self) -> None:
        self.active_jobs -= 1

    async def _poll(self, submitted_at: Any, ends_at: float) -> None:
        loop, now = asyncio.get_running_loop(), self._clock.now
        deadline = submitted_at + timedelta(seconds=DAY)
        poller = JobPoller(
            job(), self._settings.vendor.schedule, submitted_at=submitted_at, deadline=deadline
        )
        with self._account.count_worker_requests(just_submitted=True):
            delay: float | None = poller.first_delay(now())
            while delay is not None:
                await asyncio.sleep(delay)
                await self._account.acquire(loop.time() - delay, max_wait=DAY)
                delay = poller.after_status(VIDEO if loop.time() >= ends_at else RENDERING, now())


@pytest.mark.parametrize(("vendor_limit", "limit_is_known"), [(100, False), (1500, False), (1500, True)])
def test_all_of_two_thousand_finished_jobs_are_polled_before_their_links_expire(
    vendor_limit: int, limit_is_known: bool, clock: Clock
) -> None:
    """Apixgo's links live for an hour; the triggerer has a thousand slots, and only jobs occupy them."""
    simulation = MappedRunSimulation(
        "apixgo", tasks=2000, vendor_limit=vendor_limit, trigger_slots=1000, limit_is_known=limit_is_known
    ).run(clock)
    assert len(simulation.poll_delays) == 2000
    assert max(simulation.poll_delays) < 3600 / 10
    assert (simulation.refusals == 0) is limit_is_known
    assert simulation.posts == 2000 + simulation.refusals


@pytest.mark.parametrize(("vendor", "limit_is_known"), [("apixo", True), ("apixo", False), ("apixgo", False)])
def test_two_hundred_jobs_ten_at_a_time_are_polled_within_seconds_of_their_end(
    vendor: str, limit_is_known: bool, clock: Clock
) -> None:
    """Refused submissions do not slow down status checks."""
    simulation = MappedRunSimulation(
        vendor, tasks=200, vendor_limit=10, trigger_slots=1000, limit_is_known=limit_is_known
    ).run(clock)
    assert len(simulation.poll_delays) == 200
    assert statistics.median(simulation.poll_delays) < 15
    assert max(simulation.poll_delays) < 60
