# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
When to ask about a job next, and when to give up. No I/O and no clock of its own.

One :class:`Watch` follows one job. The blocking wait on a worker and the trigger on the triggerer both feed
it what each check brought and do what it says, so the two can never disagree.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from airflow_provider_vidgen.errors import (
    DeadlineExceeded,
    JobLost,
    JobNotFound,
    ResultMissing,
    StatusRateLimited,
    StatusRefused,
    StatusUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.models import JobState, JobStatus, VideoJob

#: A new job may not be known everywhere at the vendor at once.
NOT_FOUND_CHECKS = 3
NOT_FOUND_FOR = timedelta(minutes=1)
#: So many refusals in a row, and the key may not ask: one that was good a moment ago is tried once more.
REFUSED_CHECKS = 2
#: "Finished" may come before the link does.
_CHECKS_FOR_A_LINK = 6
#: So many failed checks in a row, and the vendor is out of reach for this try.
_FAILED_CHECKS = 20
_SLOWEST_AFTER_FAILURE = 60.0
_JITTER = 0.1
#: Seconds after which a job that does not change is told of again.
_HEARTBEAT = 600.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """
    When a vendor wants to be asked, in seconds.

    :param first: from the submission to the first check.
    :param interval: between the first checks.
    :param longest: what the interval grows to.
    """

    first: float
    interval: float
    longest: float

    def with_interval(self, seconds: float | None) -> Schedule:
        """Return the schedule with the user's own fixed interval, if there is one."""
        return self if seconds is None else Schedule(first=seconds, interval=seconds, longest=seconds)


class StatusChange(NamedTuple):
    """
    A line for the log.

    :param changed: the job's state or progress did; else it is a sign of life.
    """

    line: str
    changed: bool


class JobPoller:
    """
    Follow one job from check to check.

    :param job: the job, for messages.
    :param schedule: when to ask.
    :param submitted_at: when the job was submitted, UTC.
    :param deadline: when to stop waiting, UTC; counted from submission, so a restart does not move it.
    :param jitter: a number from 0 to 1; ``random.random`` unless a test says otherwise.
    """

    def __init__(
        self,
        job: VideoJob,
        schedule: Schedule,
        *,
        submitted_at: datetime,
        deadline: datetime,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.job = job
        self.schedule = schedule
        self.submitted_at = submitted_at
        self.deadline = deadline
        self._jitter = jitter
        self._interval = schedule.interval
        self._failures = 0
        self._not_found = 0
        self._refused = 0
        self._without_link = 0
        self._seen: tuple[str, float | None] | None = None
        self._told_at = submitted_at.timestamp()
        self._warned: set[str] = set()

    def first_delay(self, now: datetime) -> float:
        """Return the seconds until the first check; the vendor's head start counts from submission."""
        due = self.submitted_at + timedelta(seconds=self.schedule.first)
        remaining = (due - now).total_seconds()
        if remaining > 0:
            # Jobs of one batch are not asked about all at once.
            return self._no_later_than_deadline(
                remaining + self._jitter() * _JITTER * self.schedule.first, now
            )
        # An older job is asked about as rarely as it would be by now, and so is each after a restart.
        while remaining < 0 and self._interval < self.schedule.longest:
            remaining += self._interval
            self._grow()
        return self._no_later_than_deadline(self._jitter() * self._interval, now)

    def after_status(self, status: JobStatus, now: datetime) -> float | None:
        """
        Take in what a check found.

        :return: seconds until the next check, or ``None``: the job has ended.
        :raises ResultMissing: the vendor keeps calling it finished without a usable link.
        :raises DeadlineExceeded: it did not end in time.
        """
        self._failures = self._not_found = self._refused = 0
        if status.has_video or status.state in (JobState.FAILED, JobState.CANCELLED):
            return None
        self._without_link = self._without_link + 1 if status.state is JobState.SUCCEEDED else 0
        if self._without_link >= _CHECKS_FOR_A_LINK:
            raise ResultMissing("The vendor calls the job finished but gives no usable link", job=self.job)
        self._stop_at_deadline(now, f"The job was still {status.state} ({status.raw_state}) at its deadline")
        return self._next(now)

    def after_error(self, error: VidgenError, now: datetime) -> float:
        """
        Take in that a check failed.

        :return: seconds until the next check.
        :raises VidgenError: the budget for such failures is used up.
        """
        wait = 0.0
        if isinstance(error, JobNotFound):
            self._not_found += 1
            if self._not_found >= NOT_FOUND_CHECKS and now >= self.submitted_at + NOT_FOUND_FOR:
                raise JobLost(
                    "The vendor does not know the job",
                    job=self.job,
                    vendor_code=error.vendor_code,
                    vendor_message=error.vendor_message,
                ) from None
        elif isinstance(error, StatusRefused):
            self._refused += 1
            if self._refused >= REFUSED_CHECKS:
                raise error
        elif isinstance(error, StatusRateLimited):
            # The vendor is well, and asked too often; by whom is not known.
            wait = max(self._next(now), error.retry_after or 0.0)
        elif isinstance(error, StatusUnavailable):
            self._failures += 1
            if self._failures >= _FAILED_CHECKS:
                raise error
            wait = min(self.schedule.interval * 2 ** min(self._failures - 1, 16), _SLOWEST_AFTER_FAILURE)
            wait = max(wait, error.retry_after or 0.0)
        else:
            raise error
        self._stop_at_deadline(now, f"The vendor could not be asked before the deadline ({error.summary})")
        return self._no_later_than_deadline(wait, now) if wait else self._next(now)

    def status_change(self, status: JobStatus, now: datetime) -> StatusChange | None:
        """Return what the log should say: what has changed since the last check, or now and then the same."""
        seen = (status.raw_state, status.progress)
        changed = seen != self._seen
        if not changed and now.timestamp() - self._told_at < _HEARTBEAT:
            return None
        self._seen, self._told_at = seen, now.timestamp()
        progress = "" if status.progress is None else f", {status.progress:g} %"
        still = "" if changed else "still "
        return StatusChange(f"{self.job} is {still}{status.state} ({status.raw_state}{progress})", changed)

    def unknown_state_warning(self, status: JobStatus) -> str | None:
        """Return a warning, once for each word, if the vendor's state is not one we know."""
        if status.state_is_known or status.raw_state in self._warned:
            return None
        self._warned.add(status.raw_state)
        return f"{self.job} has the unknown state {status.raw_state!r}; it counts as still running"

    def remaining(self, now: datetime) -> float:
        """Return the seconds until the deadline."""
        # Through timestamps, as subtracting pendulum's times takes five times as long.
        return round(self.deadline.timestamp() - now.timestamp(), 6)

    def _next(self, now: datetime) -> float:
        wait = self._interval
        self._grow()
        return self._no_later_than_deadline(wait * (1 + _JITTER * (2 * self._jitter() - 1)), now)

    def _grow(self) -> None:
        self._interval = min(self._interval * 1.25, self.schedule.longest)

    def _no_later_than_deadline(self, seconds: float, now: datetime) -> float:
        return max(0.0, min(seconds, self.remaining(now)))

    def _stop_at_deadline(self, now: datetime, summary: str) -> None:
        if now >= self.deadline:
            raise DeadlineExceeded(summary, job=self.job)
