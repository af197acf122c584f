# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""For any sequence of replies, the poller ends in time and never waits past its deadline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_vidgen.errors import (
    DeadlineExceeded,
    JobLost,
    JobNotFound,
    ResultMissing,
    StatusError,
    StatusRateLimited,
    StatusRefused,
    StatusUnavailable,
)
from airflow_provider_vidgen.models import Failure, FailureCategory, JobState, JobStatus, VideoJob
from airflow_provider_vidgen.polling import JobPoller, Schedule

_START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_JOB = VideoJob(vendor="apixo", base_url="https://api.example.com", model="grok-video", task_id="task_1")
_SECONDS = st.floats(0.5, 60)
_STATUSES = st.sampled_from(
    [
        JobStatus(state=JobState.QUEUED, raw_state="pending"),
        JobStatus(state=JobState.RUNNING, raw_state="processing", progress=40.0),
        JobStatus(state=JobState.RUNNING, raw_state="dreaming", state_is_known=False),
        JobStatus(state=JobState.SUCCEEDED, raw_state="success"),
    ]
)
_ENDS = st.sampled_from(
    [
        JobStatus(state=JobState.SUCCEEDED, raw_state="success", result_urls=("https://a.example/v.mp4",)),
        JobStatus(
            state=JobState.FAILED, raw_state="failed", failure=Failure(category=FailureCategory.INTERNAL)
        ),
        JobStatus(state=JobState.CANCELLED, raw_state="cancelled"),
    ]
)
_ERRORS = st.one_of(
    st.builds(StatusUnavailable, st.just("busy"), retry_after=st.none() | st.floats(0, 1e9)),
    st.builds(StatusRateLimited, st.just("slow down"), retry_after=st.none() | st.floats(0, 1e9)),
    st.builds(JobNotFound, st.just("who")),
    st.builds(StatusRefused, st.just("no")),
)


class PollerMachine(RuleBasedStateMachine):
    """A caller that waits for each delay and passes on the replies of a simulated vendor."""

    @initialize(
        first_delay=st.floats(0, 100),
        interval=_SECONDS,
        max_interval=_SECONDS,
        timeout=st.floats(1, 600),
        jitter=st.lists(st.floats(0, 1), min_size=1, max_size=5),
        elapsed=st.floats(0, 700),
    )
    def start(
        self,
        first_delay: float,
        interval: float,
        max_interval: float,
        timeout: float,
        jitter: list[float],
        elapsed: float,
    ) -> None:
        self.schedule = Schedule(
            first_delay=first_delay, interval=min(interval, max_interval), max_interval=max_interval
        )
        self.deadline = _START + timedelta(seconds=timeout)
        self.jitter, self.jitter_calls = jitter, 0
        self.now = _START + timedelta(seconds=elapsed)
        self.ended = False
        self.checks_at_or_after_deadline = 0
        self.poller = self._new_poller()
        self.delay = self.poller.first_delay(self.now)

    def _new_poller(self) -> JobPoller:
        def jitter() -> float:
            self.jitter_calls += 1
            return self.jitter[self.jitter_calls % len(self.jitter)]

        return JobPoller(_JOB, self.schedule, submitted_at=_START, deadline=self.deadline, jitter=jitter)

    def _advance_to_next_check(self) -> None:
        assert self.delay >= 0
        assert self.delay <= max(0.0, (self.deadline - self.now).total_seconds())
        self.now += timedelta(seconds=self.delay)
        self.checks_at_or_after_deadline += self.now >= self.deadline

    @precondition(lambda self: not self.ended)
    @rule(status=_STATUSES)
    def check_succeeds(self, status: JobStatus) -> None:
        self._advance_to_next_check()
        try:
            delay = self.poller.after_status(status, self.now)
        except (DeadlineExceeded, ResultMissing) as error:
            self._end_with(error)
        else:
            assert delay is not None
            assert self.now < self.deadline
            self.delay = delay

    @precondition(lambda self: not self.ended)
    @rule(error=_ERRORS)
    def check_fails(self, error: StatusError) -> None:
        self._advance_to_next_check()
        try:
            self.delay = self.poller.after_error(error, self.now)
        except (DeadlineExceeded, JobLost, StatusRefused, StatusUnavailable) as raised:
            self._end_with(raised)
        else:
            assert self.now < self.deadline

    @precondition(lambda self: not self.ended)
    @rule(status=_ENDS)
    def job_ends(self, status: JobStatus) -> None:
        self._advance_to_next_check()
        assert self.poller.after_status(status, self.now) is None
        self.ended = True

    @precondition(lambda self: not self.ended)
    @rule()
    def restart(self) -> None:
        """Another process takes over; it has the job, the time of submission and the deadline."""
        self.poller = self._new_poller()
        self.delay = self.poller.first_delay(self.now)

    @precondition(lambda self: not self.ended)
    @rule()
    def run_to_the_deadline(self) -> None:
        """A job that never ends is given up after a bounded number of checks."""
        running = JobStatus(state=JobState.RUNNING, raw_state="processing")
        for _ in range(5000):
            if self.ended:
                break
            self.check_succeeds(running)
        assert self.ended

    @precondition(lambda self: self.ended)
    @rule()
    def retry(self) -> None:
        """A retry re-attaches to the same job, with the same deadline."""
        self.poller = self._new_poller()
        self.delay = self.poller.first_delay(self.now)
        self.checks_at_or_after_deadline = 0
        self.ended = False

    def _end_with(self, error: StatusError) -> None:
        assert isinstance(error, JobLost | ResultMissing | StatusRefused | StatusUnavailable) or (
            self.now >= self.deadline
        )
        self.ended = True

    @invariant()
    def at_most_one_check_is_made_at_or_after_the_deadline(self) -> None:
        assert getattr(self, "checks_at_or_after_deadline", 0) <= 1


TestPoller = PollerMachine.TestCase
TestPoller.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
