# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Whatever a vendor answers, in whatever order: the watch ends in time and never waits past its deadline."""

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


class AnyCourse(RuleBasedStateMachine):
    """A caller that waits as told and feeds back what a made-up vendor answers."""

    @initialize(
        first=st.floats(0, 100),
        interval=_SECONDS,
        longest=_SECONDS,
        timeout=st.floats(1, 600),
        chance=st.lists(st.floats(0, 1), min_size=1, max_size=5),
        started=st.floats(0, 700),
    )
    def start(
        self,
        first: float,
        interval: float,
        longest: float,
        timeout: float,
        chance: list[float],
        started: float,
    ) -> None:
        self.schedule = Schedule(first=first, interval=min(interval, longest), longest=longest)
        self.deadline = _START + timedelta(seconds=timeout)
        self.chance, self.drawn = chance, 0
        self.now = _START + timedelta(seconds=started)
        self.ended = False
        self.checks_at_or_after_deadline = 0
        self.watch = self._new_watch()
        self.wait = self.watch.first_delay(self.now)

    def _new_watch(self) -> JobPoller:
        def jitter() -> float:
            self.drawn += 1
            return self.chance[self.drawn % len(self.chance)]

        return JobPoller(_JOB, self.schedule, submitted_at=_START, deadline=self.deadline, jitter=jitter)

    def _reach_the_next_check(self) -> None:
        assert self.wait >= 0
        assert self.wait <= max(0.0, (self.deadline - self.now).total_seconds())
        self.now += timedelta(seconds=self.wait)
        self.checks_at_or_after_deadline += self.now >= self.deadline

    @precondition(lambda self: not self.ended)
    @rule(status=_STATUSES)
    def look(self, status: JobStatus) -> None:
        self._reach_the_next_check()
        try:
            wait = self.watch.after_status(status, self.now)
        except (DeadlineExceeded, ResultMissing) as error:
            self._end(error)
        else:
            assert wait is not None
            assert self.now < self.deadline
            self.wait = wait

    @precondition(lambda self: not self.ended)
    @rule(error=_ERRORS)
    def fail_to_look(self, error: StatusError) -> None:
        self._reach_the_next_check()
        try:
            self.wait = self.watch.after_error(error, self.now)
        except (DeadlineExceeded, JobLost, StatusRefused, StatusUnavailable) as raised:
            self._end(raised)
        else:
            assert self.now < self.deadline

    @precondition(lambda self: not self.ended)
    @rule(status=_ENDS)
    def see_the_end(self, status: JobStatus) -> None:
        self._reach_the_next_check()
        assert self.watch.after_status(status, self.now) is None
        self.ended = True

    @precondition(lambda self: not self.ended)
    @rule()
    def restart(self) -> None:
        """Another process takes over: what it knows is the job, the submission and the deadline."""
        self.watch = self._new_watch()
        self.wait = self.watch.first_delay(self.now)

    @precondition(lambda self: not self.ended)
    @rule()
    def let_it_run_to_its_deadline(self) -> None:
        """However it began: a job that never ends is given up, and in a bounded number of checks."""
        running = JobStatus(state=JobState.RUNNING, raw_state="processing")
        for _ in range(5000):
            if self.ended:
                break
            self.look(running)
        assert self.ended

    @precondition(lambda self: self.ended)
    @rule()
    def try_again(self) -> None:
        """A retry attaches to the same job, with the same deadline."""
        self.watch = self._new_watch()
        self.wait = self.watch.first_delay(self.now)
        self.checks_at_or_after_deadline = 0
        self.ended = False

    def _end(self, error: StatusError) -> None:
        assert isinstance(error, JobLost | ResultMissing | StatusRefused | StatusUnavailable) or (
            self.now >= self.deadline
        )
        self.ended = True

    @invariant()
    def at_most_one_check_comes_at_the_deadline_or_later(self) -> None:
        assert getattr(self, "checks_at_or_after_deadline", 0) <= 1


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
