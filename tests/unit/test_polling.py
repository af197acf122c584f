# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""When to ask about a job next, and when to give up, with time and chance given from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_vidgen.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    JobLost,
    JobNotFound,
    ResultMissing,
    StatusRateLimited,
    StatusRefused,
    StatusUnavailable,
)
from airflow_provider_vidgen.models import Failure, FailureCategory, JobState, JobStatus, VideoJob
from airflow_provider_vidgen.polling import JobPoller, Schedule

_START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_JOB = VideoJob(vendor="apixo", base_url="https://api.example.com", model="grok-video", task_id="task_1")
_SCHEDULE = Schedule(first=30, interval=5, longest=15)
_RUNNING = JobStatus(state=JobState.RUNNING, raw_state="processing")
_NO_LINK = JobStatus(state=JobState.SUCCEEDED, raw_state="success")
_DONE = JobStatus(state=JobState.SUCCEEDED, raw_state="success", result_urls=("https://a.example/v.mp4",))
_FAILED = JobStatus(
    state=JobState.FAILED, raw_state="failed", failure=Failure(category=FailureCategory.INTERNAL)
)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _watch(schedule: Schedule = _SCHEDULE, *, timeout: float = 1800, jitter: float = 0.5) -> JobPoller:
    """A watch whose chance is fixed: 0.5 is the middle, at which an interval is itself."""
    return JobPoller(_JOB, schedule, submitted_at=_START, deadline=_at(timeout), jitter=lambda: jitter)


# --- when to ask ----------------------------------------------------------------------------------------


def test_the_first_check_waits_from_the_submission_and_not_from_now() -> None:
    assert _watch(jitter=0).first_delay(_at(0)) == 30
    assert _watch(jitter=0).first_delay(_at(12)) == 18
    assert _watch(jitter=0).first_delay(_at(29.5)) == 0.5
    assert _watch(timeout=20).first_delay(_at(0)) == 20


def test_the_jobs_of_one_batch_are_not_asked_about_at_once() -> None:
    assert [_watch(jitter=jitter).first_delay(_at(0)) for jitter in (0, 0.5, 1)] == [30, 31.5, 33]


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 0.0), (0.5, 2.5), (1.0, 5.0)])
def test_a_restart_after_the_head_start_asks_within_one_interval(jitter: float, delay: float) -> None:
    assert _watch(jitter=jitter).first_delay(_at(30)) == delay


def test_a_restart_asks_no_more_often_than_before_it() -> None:
    asked, watch = 60.0, _watch()
    for _ in range(3):
        asked += watch.after_status(_RUNNING, _at(asked)) or 0
    again = _watch()
    again.first_delay(_at(30 + asked - 60))
    assert again.after_status(_RUNNING, _at(asked)) == watch.after_status(_RUNNING, _at(asked))
    old = _watch(jitter=1)
    assert old.first_delay(_at(600)) == 15
    assert old.after_status(_RUNNING, _at(700)) == pytest.approx(16.5)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_a_restart_after_the_deadline_looks_at_once(jitter: float) -> None:
    assert _watch(jitter=jitter).first_delay(_at(1800)) == 0
    assert _watch(jitter=jitter).first_delay(_at(9999)) == 0


def test_the_interval_grows_to_its_cap() -> None:
    watch = _watch()
    waits = [watch.after_status(_RUNNING, _at(60)) for _ in range(8)]
    assert waits[:3] == [5, 6.25, 7.8125]
    assert waits[-2:] == [15, 15]
    assert waits == sorted(waits)  # type: ignore[type-var]


def test_the_users_own_interval_is_fixed() -> None:
    watch = _watch(_SCHEDULE.with_interval(7))
    assert watch.first_delay(_at(0)) == pytest.approx(7.35)
    assert [watch.after_status(_RUNNING, _at(60)) for _ in range(5)] == [7] * 5
    assert _SCHEDULE.with_interval(None) is _SCHEDULE


def test_chance_spreads_the_checks_by_a_tenth() -> None:
    assert _watch(jitter=0.0).after_status(_RUNNING, _at(60)) == pytest.approx(4.5)
    assert _watch(jitter=1.0).after_status(_RUNNING, _at(60)) == pytest.approx(5.5)


def test_no_wait_goes_beyond_the_deadline() -> None:
    assert _watch().after_status(_RUNNING, _at(1797)) == 3
    assert _watch().after_error(StatusUnavailable("x", retry_after=600), _at(1790)) == 10
    assert _watch().after_error(JobNotFound("x"), _at(1799)) == 1


# --- the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [_DONE, _FAILED, JobStatus(state=JobState.CANCELLED, raw_state="cancelled")]
)
def test_a_job_that_has_ended_is_not_asked_about_again_even_after_the_deadline(status: JobStatus) -> None:
    assert _watch().after_status(status, _at(60)) is None
    assert _watch().after_status(status, _at(9999)) is None


def test_the_deadline_is_a_point_in_time_that_no_restart_moves() -> None:
    for _ in range(3):
        watch = _watch(timeout=100)
        assert watch.after_status(_RUNNING, _at(99.9)) == pytest.approx(0.1)
        with pytest.raises(DeadlineExceeded, match="still running") as caught:
            watch.after_status(_RUNNING, _at(100))
        assert caught.value.job == _JOB
        assert not caught.value.fatal


@pytest.mark.parametrize("error", [StatusUnavailable("busy"), JobNotFound("who"), StatusRefused("no")])
def test_a_check_that_fails_at_the_deadline_is_the_last(error: StatusUnavailable) -> None:
    with pytest.raises(DeadlineExceeded, match="could not be asked"):
        _watch(timeout=30).after_error(error, _at(30))


# --- failed checks --------------------------------------------------------------------------------------


def test_failed_checks_are_made_again_ever_more_slowly() -> None:
    watch = _watch()
    waits = [watch.after_error(StatusUnavailable("busy"), _at(60)) for _ in range(6)]
    assert waits == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("error", [StatusUnavailable("busy"), StatusRateLimited("slow down")])
def test_a_users_interval_below_a_second_holds_for_a_failed_check_too(error: StatusUnavailable) -> None:
    assert _watch(_SCHEDULE.with_interval(0.5)).after_error(error, _at(60)) == 0.5


def test_the_vendors_retry_after_is_kept() -> None:
    assert _watch().after_error(StatusUnavailable("busy", retry_after=90), _at(60)) == 90
    assert _watch().after_error(StatusUnavailable("busy", retry_after=1), _at(60)) == 5
    assert _watch().after_error(StatusUnavailable("busy", retry_after=1e300), _at(1000)) == 800


def test_twenty_failed_checks_in_a_row_end_this_try_and_not_the_job() -> None:
    watch, error = _watch(timeout=9999), StatusUnavailable("busy")
    for _ in range(19):
        watch.after_error(error, _at(60))
    with pytest.raises(StatusUnavailable) as caught:
        watch.after_error(error, _at(60))
    assert caught.value is error
    assert not caught.value.fatal


def test_a_vendor_that_is_asked_too_often_is_well_and_only_the_deadline_ends_that() -> None:
    watch, error = _watch(timeout=9999), StatusRateLimited("slow down")
    waits = [watch.after_error(error, _at(60)) for _ in range(100)]
    assert waits[:2] == [5, 6.25]
    assert waits[-1] == 15
    assert watch.after_error(StatusRateLimited("slow down", retry_after=90), _at(60)) == 90
    with pytest.raises(DeadlineExceeded):
        watch.after_error(error, _at(9999))


def test_a_new_job_may_be_unknown_for_three_checks_and_one_minute() -> None:
    watch = _watch()
    for second in (10, 20, 30, 40, 59):
        watch.after_error(JobNotFound("who"), _at(second))
    with pytest.raises(JobLost, match="vendor does not know the job") as caught:
        watch.after_error(JobNotFound("who", vendor_code="404", vendor_message="no such job"), _at(60))
    assert (caught.value.job, caught.value.vendor_code, caught.value.vendor_message) == (
        _JOB,
        "404",
        "no such job",
    )
    assert caught.value.fatal


def test_a_job_is_not_lost_before_its_third_unknown_check() -> None:
    watch = _watch()
    for _ in range(2):
        watch.after_error(JobNotFound("who"), _at(600))
    with pytest.raises(JobLost):
        watch.after_error(JobNotFound("who"), _at(600))


def test_a_refused_key_is_tried_once_more() -> None:
    watch, error = _watch(), StatusRefused("no")
    assert watch.after_error(error, _at(60)) == 5
    with pytest.raises(StatusRefused) as caught:
        watch.after_error(error, _at(65))
    assert caught.value is error


def test_finished_without_a_link_is_asked_six_times() -> None:
    watch = _watch()
    for _ in range(5):
        assert watch.after_status(_NO_LINK, _at(60)) is not None
    with pytest.raises(ResultMissing, match="finished but gives no usable link") as caught:
        watch.after_status(_NO_LINK, _at(60))
    assert caught.value.job == _JOB
    watch = _watch()
    watch.after_status(_RUNNING, _at(60))
    for _ in range(5):
        watch.after_status(_NO_LINK, _at(60))
    assert watch.after_status(_DONE, _at(60)) is None


def test_a_good_check_forgives_the_failed_ones_before_it() -> None:
    watch = _watch(timeout=9999)
    for _ in range(3):
        for _ in range(19):
            watch.after_error(StatusUnavailable("busy"), _at(100))
        for _ in range(2):
            watch.after_error(JobNotFound("who"), _at(100))
        watch.after_error(StatusRefused("no"), _at(100))
        watch.after_status(_RUNNING, _at(100))
    assert watch.after_error(StatusUnavailable("busy"), _at(100)) == 5


def test_an_error_that_is_no_failed_check_is_passed_on() -> None:
    error = ConnectionFailed("no name")
    with pytest.raises(ConnectionFailed) as caught:
        _watch().after_error(error, _at(60))
    assert caught.value is error


# --- what is said ---------------------------------------------------------------------------------------


def test_news_is_told_only_when_something_changed() -> None:
    watch = _watch()
    half = JobStatus(state=JobState.RUNNING, raw_state="processing", progress=50.0)
    assert watch.status_change(_RUNNING, _at(30)) == ("apixo job task_1 is running (processing)", True)
    assert watch.status_change(_RUNNING, _at(35)) is None
    assert watch.status_change(half, _at(40)) == ("apixo job task_1 is running (processing, 50 %)", True)
    assert watch.status_change(half, _at(45)) is None
    assert watch.status_change(_RUNNING, _at(50)) is not None


def test_a_job_that_does_not_change_is_told_of_every_ten_minutes() -> None:
    watch = _watch(timeout=99_999)
    told = [at for at in range(0, 3600, 5) if watch.status_change(_RUNNING, _at(at))]
    assert told == [0, 600, 1200, 1800, 2400, 3000]
    assert watch.status_change(_RUNNING, _at(3600)) == (
        "apixo job task_1 is still running (processing)",
        False,
    )


def test_an_unknown_word_is_warned_of_once() -> None:
    watch = _watch()
    odd = JobStatus(state=JobState.RUNNING, raw_state="dreaming", state_is_known=False)
    other = JobStatus(state=JobState.RUNNING, raw_state="pondering", state_is_known=False)
    assert "'dreaming'" in (watch.unknown_state_warning(odd) or "")
    assert watch.unknown_state_warning(odd) is None
    assert "'pondering'" in (watch.unknown_state_warning(other) or "")
    assert watch.unknown_state_warning(odd) is None
    assert watch.unknown_state_warning(_RUNNING) is None
