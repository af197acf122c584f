# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
When to poll a job next, and when to give up. No I/O and no clock of its own.

One :class:`JobPoller` follows one job. The blocking wait on a worker and the trigger on the triggerer share
it, so both decide by the same rules.
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

#: A job counts as lost after this many checks that did not find it, but not before this time since
#: submission: a new job may not be visible everywhere at the vendor at once.
NOT_FOUND_CHECKS = 3
NOT_FOUND_GRACE = timedelta(minutes=1)
#: Consecutive 401 or 403 replies after which the API key counts as not permitted.
REFUSED_CHECKS = 2
#: Consecutive checks that report success without a link: the state may change before the link is there.
_MISSING_RESULT_CHECKS = 6
#: Consecutive failed checks after which this try stops waiting.
_FAILED_CHECKS = 20
_MAX_BACKOFF = 60.0
#: Fraction by which intervals are varied.
_JITTER = 0.1
#: Seconds between log lines about a job that does not change.
_HEARTBEAT = 600.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """
    The polling intervals of a vendor, in seconds.

    :param first_delay: from submission to the first check.
    :param interval: between the first checks.
    :param max_interval: limit to which the interval grows.
    """

    first_delay: float
    interval: float
    max_interval: float

    def with_interval(self, seconds: float | None) -> Schedule:
        """Return the schedule with the user's fixed interval, if there is one."""
        if seconds is None:
            return self
        return Schedule(first_delay=seconds, interval=seconds, max_interval=seconds)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """
    What is shown of a running job.

    :param status: of the last successful check, ``None`` before the first one.
    :param not_answering_since: when the first of the failed checks since then was due, UTC.
    :param next_check_at: after failed checks, UTC.
    """

    status: JobStatus | None
    not_answering_since: datetime | None = None
    next_check_at: datetime | None = None


class StatusChange(NamedTuple):
    """
    A message for the log.

    :param progress: what to show, or ``None`` if that has not changed.
    """

    message: str
    progress: Progress | None


class JobPoller:
    """
    Decide after each check of a job when the next one is due.

    :param job: the job, for messages.
    :param schedule: the vendor's or the user's intervals.
    :param submitted_at: when the job was submitted, UTC.
    :param deadline: when to stop waiting, UTC; counted from submission, so a restart does not move it.
    :param jitter: returns a number from 0 to 1.
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
        self._failed_checks = 0
        self._not_found_checks = 0
        self._refused_checks = 0
        self._missing_result_checks = 0
        self._last_logged: tuple[str, float | None] | None = None
        self._last_logged_at = submitted_at.timestamp()
        self._unknown_states: set[str] = set()
        self._last_status: JobStatus | None = None
        self._not_answering_since: datetime | None = None
        self._outage_shown = False

    def first_delay(self, now: datetime) -> float:
        """Return the seconds until the first check; the vendor's first delay counts from submission."""
        due = self.submitted_at + timedelta(seconds=self.schedule.first_delay)
        remaining = (due - now).total_seconds()
        if remaining > 0:
            # Jittered, so that the jobs of one batch are not polled all at once.
            return self._until_deadline(remaining + self._jitter() * _JITTER * self.schedule.first_delay, now)
        # After a restart the interval is as long as it would have grown to by now.
        while remaining < 0 and self._interval < self.schedule.max_interval:
            remaining += self._interval
            self._increase_interval()
        return self._until_deadline(self._jitter() * self._interval, now)

    def after_status(self, status: JobStatus, now: datetime) -> float | None:
        """
        Process the result of a check.

        :return: seconds until the next check, or ``None``: the job has ended.
        :raises ResultMissing: the vendor keeps reporting success without a usable link.
        :raises DeadlineExceeded: the job did not end in time.
        """
        self._failed_checks = self._not_found_checks = self._refused_checks = 0
        if status.has_video or status.state in (JobState.FAILED, JobState.CANCELLED):
            return None
        succeeded = status.state is JobState.SUCCEEDED
        self._missing_result_checks = self._missing_result_checks + 1 if succeeded else 0
        if self._missing_result_checks >= _MISSING_RESULT_CHECKS:
            raise ResultMissing("The vendor reports success without a usable link", job=self.job)
        self._check_deadline(now, f"The job was still {status.state} ({status.raw_state}) at its deadline")
        return self._next_delay(now)

    def after_error(self, error: VidgenError, now: datetime) -> float:
        """
        Process a failed check.

        :return: seconds until the next check.
        :raises VidgenError: the budget for such failures is used up.
        """
        backoff = 0.0
        if isinstance(error, JobNotFound):
            self._not_found_checks += 1
            if self._not_found_checks >= NOT_FOUND_CHECKS and now >= self.submitted_at + NOT_FOUND_GRACE:
                raise JobLost(
                    "The vendor does not know the job",
                    job=self.job,
                    vendor_code=error.vendor_code,
                    vendor_message=error.vendor_message,
                ) from None
        elif isinstance(error, StatusRefused):
            self._refused_checks += 1
            if self._refused_checks >= REFUSED_CHECKS:
                raise error
        elif isinstance(error, StatusRateLimited):
            # Not a failure of the vendor, and other users of the key may be the cause: no budget applies.
            backoff = max(self._next_delay(now), error.retry_after or 0.0)
        elif isinstance(error, StatusUnavailable):
            self._failed_checks += 1
            if self._failed_checks >= _FAILED_CHECKS:
                raise error
            backoff = min(self.schedule.interval * 2 ** min(self._failed_checks - 1, 16), _MAX_BACKOFF)
            backoff = max(backoff, error.retry_after or 0.0)
        else:
            raise error
        self._check_deadline(
            now, f"The last status check failed ({error.summary}); the job had not ended by its deadline"
        )
        return self._until_deadline(backoff, now) if backoff else self._next_delay(now)

    def failed_check(self, error: VidgenError, delay: float, now: datetime) -> StatusChange | None:
        """
        Return what to log after a failed check: the first one, and then ever fewer.

        An outage is shown from the second failed check on, because a single one is not worth a write.

        :param delay: seconds until the next check, as :meth:`after_error` returned it.
        """
        if isinstance(error, StatusRateLimited):
            return None
        # Without the vendor's message, which may repeat the prompt.
        next_check = f"checking again in {delay:.0f} s. The job is not affected."
        if not isinstance(error, StatusUnavailable):
            return StatusChange(f"{self.job}: {error.summary}; {next_check}", None)
        self._not_answering_since = since = self._not_answering_since or now
        if self._failed_checks & (self._failed_checks - 1):
            return None
        self._outage_shown = self._outage_shown or self._failed_checks > 1
        message = f"{self.job}: not answered since {since:%H:%M:%S} UTC ({error.summary}); {next_check}"
        progress = Progress(
            status=self._last_status,
            not_answering_since=since,
            next_check_at=now + timedelta(seconds=delay),
        )
        return StatusChange(message, progress if self._outage_shown else None)

    def status_change(self, status: JobStatus, now: datetime) -> StatusChange | None:
        """Return what to log: a change since the last check, or a heartbeat after ten minutes without one."""
        current = (status.raw_state, status.progress)
        changed = current != self._last_logged or self._outage_shown
        outage = self._not_answering_since
        self._last_status, self._not_answering_since, self._outage_shown = status, None, False
        if not changed and outage is None and now.timestamp() - self._last_logged_at < _HEARTBEAT:
            return None
        self._last_logged, self._last_logged_at = current, now.timestamp()
        percent = "" if status.progress is None else f", {status.progress:g} %"
        still = "" if changed else "still "
        message = f"{self.job} is {still}{status.state} ({status.raw_state}{percent})"
        if outage is not None:
            message += f"; the vendor answers again after {(now - outage).total_seconds():.0f} s"
        return StatusChange(message, Progress(status=status) if changed else None)

    def unknown_state_warning(self, status: JobStatus) -> str | None:
        """Return a warning about a state of the vendor that is not known, once for each such state."""
        if status.state_is_known or status.raw_state in self._unknown_states:
            return None
        self._unknown_states.add(status.raw_state)
        return f"{self.job} has the unknown state {status.raw_state!r}; it counts as still running"

    def remaining(self, now: datetime) -> float:
        """Return the seconds until the deadline."""
        # Through timestamps, as subtracting pendulum's times takes five times as long.
        return round(self.deadline.timestamp() - now.timestamp(), 6)

    def _next_delay(self, now: datetime) -> float:
        delay = self._interval
        self._increase_interval()
        return self._until_deadline(delay * (1 + _JITTER * (2 * self._jitter() - 1)), now)

    def _increase_interval(self) -> None:
        self._interval = min(self._interval * 1.25, self.schedule.max_interval)

    def _until_deadline(self, seconds: float, now: datetime) -> float:
        return max(0.0, min(seconds, self.remaining(now)))

    def _check_deadline(self, now: datetime, summary: str) -> None:
        if now >= self.deadline:
            deadline = self.deadline.isoformat(timespec="seconds")
            raise DeadlineExceeded(f"{summary}, {deadline}", job=self.job)
