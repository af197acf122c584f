# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Wait for a job, deferred or on the worker.

A trigger's event is not trusted: the job is checked again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn

from airflow_provider_vidgen import airflow_internals, clock
from airflow_provider_vidgen.errors import (
    DeadlineExceeded,
    JobLost,
    JobNotFound,
    ResultMissing,
    StatusError,
    StatusRefused,
    StatusUnavailable,
    TriggerError,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import JobState, JobStatus, VideoJob
from airflow_provider_vidgen.polling import Progress
from airflow_provider_vidgen.triggers.events import Reason, read_event
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from airflow_provider_vidgen.video_status import PROGRESS_KEY
from airflow_provider_vidgen.xcom import build_progress

_log = logging.getLogger(__name__)

#: Airflow's timeout of the deferral is this much later than the deadline, so that the deadline, which keeps
#: the job, applies first.
_DEFERRAL_MARGIN = timedelta(minutes=10)


class JobWait:
    """
    The wait of one task for one job.

    :param hook: the hook of the job's connection.
    :param submitted_at: when the job was submitted, UTC.
    :param deadline: when this try stops waiting, UTC.
    :param poll_interval: seconds between checks; ``None`` takes the vendor's schedule.
    :param cancel_on_kill: cancel the job when the deferred task is marked failed or successful.
    """

    def __init__(
        self,
        hook: VideoGenHook,
        job: VideoJob,
        *,
        submitted_at: datetime,
        deadline: datetime,
        poll_interval: float | None,
        cancel_on_kill: bool,
    ) -> None:
        self._hook = hook
        self.job = job
        self.submitted_at = submitted_at
        self._deadline = deadline
        self._poll_interval = poll_interval
        self._cancel_on_kill = cancel_on_kill

    @classmethod
    def resumed(
        cls,
        hook: VideoGenHook,
        job: Mapping[str, str],
        submitted_at: str,
        deadline: str,
        *,
        poll_interval: float | None,
        cancel_on_kill: bool,
    ) -> JobWait:
        """Return the wait that :meth:`defer` left, from the arguments of ``execute_complete``."""
        return cls(
            hook,
            VideoJob.from_dict(job),
            submitted_at=clock.from_iso(submitted_at),
            deadline=clock.from_iso(deadline),
            poll_interval=poll_interval,
            cancel_on_kill=cancel_on_kill,
        )

    def poll_once(self) -> JobStatus | None:
        """
        Check the job before deferring, because a task must not be deferred on a job that has ended.

        :return: ``None`` if the check failed; the trigger checks again.
        """
        try:
            return self._hook.get_status(self.job)
        except (JobNotFound, StatusRefused, StatusUnavailable) as error:
            # Without the vendor's message, which may repeat the prompt.
            _log.warning("%s: %s", self.job, error.summary)
            return None

    def defer(self, operator: Any) -> NoReturn:
        """
        Free the worker; the operator's ``execute_complete`` continues.

        :raises TaskDeferred: always.
        """
        shortest = airflow_internals.minimum_deferral_seconds()
        now = clock.utcnow()
        remaining = max((self._deadline - now).total_seconds(), shortest)
        wait: dict[str, Any] = {
            "job": self.job.to_dict(),
            "submitted_at": self.submitted_at.isoformat(),
            "deadline": self._deadline.isoformat(),
        }
        operator.defer(
            trigger=VideoTaskTrigger(
                vidgen_conn_id=self._hook.vidgen_conn_id,
                not_before=(now + timedelta(seconds=shortest)).isoformat(),
                poll_interval=self._poll_interval,
                cancel_on_kill=self._cancel_on_kill,
                **wait,
            ),
            method_name="execute_complete",
            kwargs=wait,
            # A plain timedelta: the supervisor does not accept pendulum's.
            timeout=timedelta(seconds=remaining) + _DEFERRAL_MARGIN,
        )
        raise AssertionError("defer() returned")

    def until_ended(self, ti: Any) -> JobStatus:
        """
        Wait on the worker, and show the progress in XCom.

        :param ti: the task instance.
        :return: the last status: a video, or the job's failure.
        :raises StatusError: the deadline passed, the vendor does not know the job, or the checks failed.
        """

        def push_progress(progress: Progress) -> None:
            ti.xcom_push(key=PROGRESS_KEY, value=build_progress(progress))

        try:
            return self._hook.wait(
                self.job,
                submitted_at=self.submitted_at,
                timeout=(self._deadline - self.submitted_at).total_seconds(),
                poll_interval=self._poll_interval,
                on_progress=push_progress,
            )
        except ResultMissing:
            status = self.poll_once()
            if status is None:
                raise
            if status.has_video:
                return status
            raise self._result_missing(status) from None

    def after_event(self, event: Any) -> JobStatus | None:
        """
        Check the job after a trigger's event; the event matters only if the check is not conclusive.

        :param event: see :mod:`.triggers.events`.
        :return: a video, the job's failure, or ``None``: the job is still running, defer again.
        :raises StatusError: this try stops waiting.
        """
        reason, event_problem = read_event(event, self.job)
        if event_problem:
            _log.warning("%s; checking the job", event_problem)
        expired = clock.utcnow() >= self._deadline
        try:
            status = self._hook.get_status(self.job)
        except JobNotFound as error:
            if reason is Reason.JOB_LOST:
                raise JobLost(
                    "The vendor does not know the job",
                    job=self.job,
                    vendor_code=error.vendor_code,
                    vendor_message=error.vendor_message,
                ) from None
            if expired:
                raise self._check_failed_at_deadline(error) from None
        except (StatusRefused, StatusUnavailable) as error:
            if expired:
                raise self._check_failed_at_deadline(error) from None
            if reason is (
                Reason.ACCESS_DENIED if isinstance(error, StatusRefused) else Reason.VENDOR_UNAVAILABLE
            ):
                raise
        else:
            if status.has_video or status.failure is not None:
                return status
            self._raise_if_over(status, None if event_problem else reason, expired=expired)
            _log.info("%s is still %s; deferring again", self.job, status.state)
            return None
        _log.warning("The status of %s is not available now; deferring again", self.job)
        return None

    def _raise_if_over(self, status: JobStatus, reason: Reason | None, *, expired: bool) -> None:
        """
        Raise if this try stops waiting for a job that has not ended.

        :param reason: the trigger's; ``None`` if its event could not be used.
        """
        if status.state is JobState.SUCCEEDED and (expired or reason is Reason.RESULT_MISSING):
            raise self._result_missing(status)
        if expired:
            raise DeadlineExceeded(
                f"The job was still {status.state} ({status.raw_state}) at its deadline, "
                f"{self._deadline.isoformat(timespec='seconds')}",
                job=self.job,
            )
        if reason is Reason.TRIGGER_ERROR:
            raise TriggerError("The trigger failed; the triggerer's log names the error", job=self.job)

    def _result_missing(self, status: JobStatus) -> ResultMissing:
        return ResultMissing(
            "The vendor reports success without a usable link",
            job=self.job,
            links_expire_at=status.expires_at,
        )

    def _check_failed_at_deadline(self, error: StatusError) -> DeadlineExceeded:
        deadline = self._deadline.isoformat(timespec="seconds")
        return DeadlineExceeded(
            f"The status check at the deadline, {deadline}, failed ({error.summary})", job=self.job
        )
