# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""When a job is polled next and when polling ends, with the time and the jitter as inputs."""

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
from airflow_provider_vidgen.polling import JobPoller, Progress, Schedule

_START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_JOB = VideoJob(vendor="apixo", base_url="https://api.example.com", model="grok-video", task_id="task_1")
_SCHEDULE = Schedule(first_delay=30, interval=5, max_interval=15)
_RUNNING = JobStatus(state=JobState.RUNNING, raw_state="processing")
_NO_LINK = JobStatus(state=JobState.SUCCEEDED, raw_state="success")
_DONE = JobStatus(state=JobState.SUCCEEDED, raw_state="success", result_urls=("https://a.example/v.mp4",))
_FAILED = JobStatus(
    state=JobState.FAILED, raw_state="failed", failure=Failure(category=FailureCategory.INTERNAL)
)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _poller(schedule: Schedule = _SCHEDULE, *, timeout: float = 1800, jitter: float = 0.5) -> JobPoller:
    """Return a poller with a fixed jitter; 0.5 leaves intervals as they are."""
    return JobPoller(_JOB, schedule, submitted_at=_START, deadline=_at(timeout), jitter=lambda: jitter)


# --- delays ----------------------------------------------------------------------------------------


def test_the_first_delay_counts_from_submission() -> None:
    assert _poller(jitter=0).first_delay(_at(0)) == 30
    assert _poller(jitter=0).first_delay(_at(12)) == 18
    assert _poller(jitter=0).first_delay(_at(29.5)) == 0.5
    assert _poller(timeout=20).first_delay(_at(0)) == 20


def test_the_first_delay_has_jitter() -> None:
    assert [_poller(jitter=jitter).first_delay(_at(0)) for jitter in (0, 0.5, 1)] == [30, 31.5, 33]


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 0.0), (0.5, 2.5), (1.0, 5.0)])
def test_after_a_restart_the_first_check_is_due_within_one_interval(jitter: float, delay: float) -> None:
    assert _poller(jitter=jitter).first_delay(_at(30)) == delay


def test_after_a_restart_the_interval_is_as_long_as_before() -> None:
    now, poller = 60.0, _poller()
    for _ in range(3):
        now += poller.after_status(_RUNNING, _at(now)) or 0
    restarted = _poller()
    restarted.first_delay(_at(30 + now - 60))
    assert restarted.after_status(_RUNNING, _at(now)) == poller.after_status(_RUNNING, _at(now))
    old = _poller(jitter=1)
    assert old.first_delay(_at(600)) == 15
    assert old.after_status(_RUNNING, _at(700)) == pytest.approx(16.5)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_after_a_restart_past_the_deadline_the_first_check_is_due_at_once(jitter: float) -> None:
    assert _poller(jitter=jitter).first_delay(_at(1800)) == 0
    assert _poller(jitter=jitter).first_delay(_at(9999)) == 0


def test_the_interval_grows_to_its_maximum() -> None:
    poller = _poller()
    delays = [poller.after_status(_RUNNING, _at(60)) for _ in range(8)]
    assert delays[:3] == [5, 6.25, 7.8125]
    assert delays[-2:] == [15, 15]
    assert delays == sorted(delays)  # type: ignore[type-var]


def test_the_users_own_interval_is_fixed() -> None:
    poller = _poller(_SCHEDULE.with_interval(7))
    assert poller.first_delay(_at(0)) == pytest.approx(7.35)
    assert [poller.after_status(_RUNNING, _at(60)) for _ in range(5)] == [7] * 5
    assert _SCHEDULE.with_interval(None) is _SCHEDULE


def test_jitter_varies_the_interval_by_a_tenth() -> None:
    assert _poller(jitter=0.0).after_status(_RUNNING, _at(60)) == pytest.approx(4.5)
    assert _poller(jitter=1.0).after_status(_RUNNING, _at(60)) == pytest.approx(5.5)


def test_no_delay_exceeds_the_deadline() -> None:
    assert _poller().after_status(_RUNNING, _at(1797)) == 3
    assert _poller().after_error(StatusUnavailable("x", retry_after=600), _at(1790)) == 10
    assert _poller().after_error(JobNotFound("x"), _at(1799)) == 1


# --- the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [_DONE, _FAILED, JobStatus(state=JobState.CANCELLED, raw_state="cancelled")]
)
def test_an_ended_job_is_not_polled_again_even_after_the_deadline(status: JobStatus) -> None:
    assert _poller().after_status(status, _at(60)) is None
    assert _poller().after_status(status, _at(9999)) is None


def test_a_restart_does_not_move_the_deadline() -> None:
    for _ in range(3):
        poller = _poller(timeout=100)
        assert poller.after_status(_RUNNING, _at(99.9)) == pytest.approx(0.1)
        with pytest.raises(DeadlineExceeded, match="still running") as caught:
            poller.after_status(_RUNNING, _at(100))
        assert caught.value.job == _JOB
        assert not caught.value.fatal


@pytest.mark.parametrize("error", [StatusUnavailable("busy"), JobNotFound("who"), StatusRefused("no")])
def test_a_failed_check_at_the_deadline_raises_deadline_exceeded(error: StatusUnavailable) -> None:
    with pytest.raises(
        DeadlineExceeded, match=r"last status check failed .* by its deadline, \d{4}-\d\d-\d\dT"
    ):
        _poller(timeout=30).after_error(error, _at(30))


# --- failed checks --------------------------------------------------------------------------------------


def test_failed_checks_back_off_exponentially() -> None:
    poller = _poller()
    delays = [poller.after_error(StatusUnavailable("busy"), _at(60)) for _ in range(6)]
    assert delays == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("error", [StatusUnavailable("busy"), StatusRateLimited("slow down")])
def test_a_poll_interval_below_a_second_applies_after_a_failed_check_too(error: StatusUnavailable) -> None:
    assert _poller(_SCHEDULE.with_interval(0.5)).after_error(error, _at(60)) == 0.5


def test_retry_after_is_honoured_up_to_the_deadline() -> None:
    assert _poller().after_error(StatusUnavailable("busy", retry_after=90), _at(60)) == 90
    assert _poller().after_error(StatusUnavailable("busy", retry_after=1), _at(60)) == 5
    assert _poller().after_error(StatusUnavailable("busy", retry_after=1e300), _at(1000)) == 800


def test_twenty_consecutive_failed_checks_raise_a_retryable_error() -> None:
    poller, error = _poller(timeout=9999), StatusUnavailable("busy")
    for _ in range(19):
        poller.after_error(error, _at(60))
    with pytest.raises(StatusUnavailable) as caught:
        poller.after_error(error, _at(60))
    assert caught.value is error
    assert not caught.value.fatal


def test_any_number_of_429s_is_tolerated_until_the_deadline() -> None:
    poller, error = _poller(timeout=9999), StatusRateLimited("slow down")
    delays = [poller.after_error(error, _at(60)) for _ in range(100)]
    assert delays[:2] == [5, 6.25]
    assert delays[-1] == 15
    assert poller.after_error(StatusRateLimited("slow down", retry_after=90), _at(60)) == 90
    with pytest.raises(DeadlineExceeded):
        poller.after_error(error, _at(9999))


def test_a_job_is_not_lost_within_a_minute_of_submission() -> None:
    poller = _poller()
    for second in (10, 20, 30, 40, 59):
        poller.after_error(JobNotFound("who"), _at(second))
    with pytest.raises(JobLost, match="vendor does not know the job") as caught:
        poller.after_error(JobNotFound("who", vendor_code="404", vendor_message="no such job"), _at(60))
    assert (caught.value.job, caught.value.vendor_code, caught.value.vendor_message) == (
        _JOB,
        "404",
        "no such job",
    )
    assert caught.value.fatal


def test_a_job_is_not_lost_before_the_third_not_found() -> None:
    poller = _poller()
    for _ in range(2):
        poller.after_error(JobNotFound("who"), _at(600))
    with pytest.raises(JobLost):
        poller.after_error(JobNotFound("who"), _at(600))


def test_one_refused_check_is_tolerated() -> None:
    poller, error = _poller(), StatusRefused("no")
    assert poller.after_error(error, _at(60)) == 5
    with pytest.raises(StatusRefused) as caught:
        poller.after_error(error, _at(65))
    assert caught.value is error


def test_success_without_a_link_is_tolerated_five_times() -> None:
    poller = _poller()
    for _ in range(5):
        assert poller.after_status(_NO_LINK, _at(60)) is not None
    with pytest.raises(ResultMissing, match="success without a usable link") as caught:
        poller.after_status(_NO_LINK, _at(60))
    assert caught.value.job == _JOB
    poller = _poller()
    poller.after_status(_RUNNING, _at(60))
    for _ in range(5):
        poller.after_status(_NO_LINK, _at(60))
    assert poller.after_status(_DONE, _at(60)) is None


def test_a_successful_check_resets_all_budgets() -> None:
    poller = _poller(timeout=9999)
    for _ in range(3):
        for _ in range(19):
            poller.after_error(StatusUnavailable("busy"), _at(100))
        for _ in range(2):
            poller.after_error(JobNotFound("who"), _at(100))
        poller.after_error(StatusRefused("no"), _at(100))
        poller.after_status(_RUNNING, _at(100))
    assert poller.after_error(StatusUnavailable("busy"), _at(100)) == 5


def test_an_error_that_is_not_about_the_status_check_is_raised() -> None:
    error = ConnectionFailed("no name")
    with pytest.raises(ConnectionFailed) as caught:
        _poller().after_error(error, _at(60))
    assert caught.value is error


# --- messages ---------------------------------------------------------------------------------------


def test_a_status_change_is_returned_only_if_something_changed() -> None:
    poller = _poller()
    half = JobStatus(state=JobState.RUNNING, raw_state="processing", progress=50.0)
    assert poller.status_change(_RUNNING, _at(30)) == (
        "apixo job task_1 is running (processing)",
        Progress(status=_RUNNING),
    )
    assert poller.status_change(_RUNNING, _at(35)) is None
    assert poller.status_change(half, _at(40)) == (
        "apixo job task_1 is running (processing, 50 %)",
        Progress(status=half),
    )
    assert poller.status_change(half, _at(45)) is None
    assert poller.status_change(_RUNNING, _at(50)) is not None


def test_an_unchanged_job_has_a_heartbeat_every_ten_minutes() -> None:
    poller = _poller(timeout=99_999)
    heartbeats = [at for at in range(0, 3600, 5) if poller.status_change(_RUNNING, _at(at))]
    assert heartbeats == [0, 600, 1200, 1800, 2400, 3000]
    assert poller.status_change(_RUNNING, _at(3600)) == (
        "apixo job task_1 is still running (processing)",
        None,
    )


def test_one_failed_check_is_logged_and_an_outage_is_shown_and_logged_ever_less() -> None:
    poller = _poller(timeout=99_999)
    poller.status_change(_RUNNING, _at(0))
    changes = []
    for number in range(1, 17):
        delay = poller.after_error(StatusUnavailable("HTTP 503", job=_JOB), _at(number))
        changes.append(poller.failed_check(StatusUnavailable("HTTP 503", job=_JOB), delay, _at(number)))
    logged = {number: change for number, change in enumerate(changes, 1) if change is not None}
    assert list(logged) == [1, 2, 4, 8, 16]
    assert logged[1] == (
        "apixo job task_1: not answered since 12:00:01 UTC (HTTP 503); checking again in 5 s. "
        "The job is not affected.",
        None,
    )
    assert logged[4].progress == Progress(
        status=_RUNNING, not_answering_since=_at(1), next_check_at=_at(4) + timedelta(seconds=40)
    )


def test_the_end_of_an_outage_is_logged_and_shown_although_the_job_has_not_changed() -> None:
    poller = _poller()
    poller.status_change(_RUNNING, _at(0))
    for at in (5, 10):
        poller.failed_check(
            StatusUnavailable("x"), poller.after_error(StatusUnavailable("x"), _at(at)), _at(at)
        )
    assert poller.status_change(_RUNNING, _at(25)) == (
        "apixo job task_1 is running (processing); the vendor answers again after 20 s",
        Progress(status=_RUNNING),
    )
    assert poller.status_change(_RUNNING, _at(30)) is None


def test_the_end_of_a_single_failed_check_is_only_logged() -> None:
    poller = _poller()
    poller.status_change(_RUNNING, _at(0))
    poller.failed_check(StatusUnavailable("x"), poller.after_error(StatusUnavailable("x"), _at(5)), _at(5))
    assert poller.status_change(_RUNNING, _at(10)) == (
        "apixo job task_1 is still running (processing); the vendor answers again after 5 s",
        None,
    )


def test_a_reply_is_no_outage() -> None:
    poller = _poller()
    limited, refused = StatusRateLimited("429", job=_JOB), StatusRefused("HTTP 401", job=_JOB)
    assert poller.failed_check(limited, 5, _at(5)) is None
    assert poller.failed_check(refused, 5, _at(5)) == (
        "apixo job task_1: HTTP 401; checking again in 5 s. The job is not affected.",
        None,
    )
    assert poller.status_change(_RUNNING, _at(6)) == (
        "apixo job task_1 is running (processing)",
        Progress(status=_RUNNING),
    )


def test_an_unknown_state_is_warned_about_once() -> None:
    poller = _poller()
    unknown = JobStatus(state=JobState.RUNNING, raw_state="dreaming", state_is_known=False)
    other = JobStatus(state=JobState.RUNNING, raw_state="pondering", state_is_known=False)
    assert "'dreaming'" in (poller.unknown_state_warning(unknown) or "")
    assert poller.unknown_state_warning(unknown) is None
    assert "'pondering'" in (poller.unknown_state_warning(other) or "")
    assert poller.unknown_state_warning(unknown) is None
    assert poller.unknown_state_warning(_RUNNING) is None
