# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Wait for a job, deferred or blocking, and look at it once more before anything is believed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.operators.deferring import deferral_window

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from airflow.sdk import Context

    from airflow_provider_vidgen.errors import JobLost, JobNotFound, StatusError
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.models import JobStatus, VideoJob
    from airflow_provider_vidgen.triggers.events import Reason


class WaitsForJob:
    """
    Mixin of the operators that wait for a job.

    There is a video when :meth:`finish` is called. What the trigger said only matters where the vendor's
    own answer leaves it open.
    """

    vidgen_conn_id: str
    #: Where it is known, it is kept out of errors that quote the vendor.
    prompt: Any = None
    poll_interval: float | None
    #: Off where the job is somebody else's.
    cancel_on_kill: bool = False
    if TYPE_CHECKING:
        log: Any
        defer: Callable[..., NoReturn]

    @property
    def hook(self) -> VideoGenHook:
        """The hook of the task's connection."""
        from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

        return VideoGenHook(self.vidgen_conn_id)

    def as_airflow_errors(self) -> AbstractContextManager[None]:
        """Turn errors into Airflow's, in the words of this task."""
        return as_airflow_errors(self.prompt)

    def finish(self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus) -> Any:
        """Hand on a finished video."""
        raise NotImplementedError

    def ended_without_video(self, context: Context, job: VideoJob, status: JobStatus) -> None:
        """Take note that the job failed, before the task does."""

    def lost(self, context: Context, job: VideoJob, error: JobNotFound | JobLost) -> None:
        """
        Take note that the vendor does not know the job, before the task fails.

        :raises AccountChanged: the vendor was asked with another API key than the job's.
        """

    def no_link(self, context: Context, job: VideoJob, status: JobStatus) -> None:
        """Take note that a finished job has no usable link, before the task fails."""

    def resume_point(self, context: Context) -> tuple[VideoJob, datetime, datetime]:
        """Return the job to wait for, when it was submitted, and the deadline."""
        raise NotImplementedError

    def settle(self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus) -> Any:
        """
        Bring a job to its end.

        :raises GenerationFailed: the vendor ended it without a video.
        """
        from airflow_provider_vidgen.errors import generation_failed

        if status.failure is not None:
            self.ended_without_video(context, job, status)
            raise generation_failed(status.failure, job=job)
        return self.finish(context, hook, job, status)

    def look(self, hook: VideoGenHook, job: VideoJob) -> JobStatus | None:
        """
        Ask once before deferring, for a task must not be deferred on a job that has ended already.

        :return: ``None`` if the vendor does not tell now; that is left to the trigger, which asks again.
        """
        from airflow_provider_vidgen.errors import JobNotFound, StatusRefused, StatusUnavailable

        try:
            return hook.get_status(job)
        except (JobNotFound, StatusRefused, StatusUnavailable) as error:
            # Without the vendor's words, which may repeat the prompt.
            self.log.warning("%s: %s", job, error.summary)
            return None

    def wait_deferred(self, job: VideoJob, *, submitted_at: datetime, deadline: datetime) -> None:
        """Leave the worker; :meth:`resume` goes on."""
        from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger

        not_before, timeout = deferral_window(deadline)
        watched: dict[str, Any] = {
            "job": job.to_dict(),
            "submitted_at": submitted_at.isoformat(),
            "deadline": deadline.isoformat(),
        }
        self.defer(
            trigger=VideoTaskTrigger(
                vidgen_conn_id=self.vidgen_conn_id,
                not_before=not_before,
                poll_interval=self.poll_interval,
                cancel_on_kill=self.cancel_on_kill,
                **watched,
            ),
            method_name="resume",
            kwargs=watched,
            timeout=timeout,
        )

    def wait_blocking(
        self,
        context: Context,
        hook: VideoGenHook,
        job: VideoJob,
        *,
        submitted_at: datetime,
        deadline: datetime,
    ) -> Any:
        """Stay on the worker until the job has ended."""
        from airflow_provider_vidgen.errors import JobLost, ResultMissing
        from airflow_provider_vidgen.xcom import build_progress

        def show(status: JobStatus) -> None:
            context["ti"].xcom_push(key="progress", value=build_progress(status))

        try:
            status = hook.wait(
                job,
                submitted_at=submitted_at,
                timeout=(deadline - submitted_at).total_seconds(),
                poll_interval=self.poll_interval,
                on_change=show,
            )
        except JobLost as error:
            self.lost(context, job, error)
            raise
        except ResultMissing:
            found = self.look(hook, job)
            if found is not None and found.has_video:
                return self.settle(context, hook, job, found)
            if found is not None:
                self.no_link(context, job, found)
            raise
        return self.settle(context, hook, job, status)

    def on_kill(self) -> None:
        """
        Say what the kill of a worker does not do.

        A clear of a running task kills it, too, and its next try asks about the same job; the worker cannot
        tell the two apart, so it never cancels.
        """
        self.log.warning(
            "The task was killed. A job that was submitted goes on at the vendor and may be billed. "
            "Clearing the task asks about the same job."
        )

    def resume(
        self,
        context: Context,
        event: Any,
        job: dict[str, str] | None = None,
        submitted_at: str = "",
        deadline: str = "",
    ) -> Any:
        """
        Go on after the trigger's event: ask the vendor, and act on that.

        :param event: see :mod:`.triggers.events`.
        :param job: and the times are what the task left with; ``dag.test()`` hands on nothing but the event.
        """
        from airflow_provider_vidgen.clock import from_iso
        from airflow_provider_vidgen.models import VideoJob

        with self.as_airflow_errors():
            if job is None:
                return self._resume(context, event, *self.resume_point(context))
            times = from_iso(submitted_at), from_iso(deadline)
            return self._resume(context, event, VideoJob.from_dict(job), *times)

    def _resume(
        self, context: Context, event: Any, job: VideoJob, submitted_at: datetime, deadline: datetime
    ) -> Any:
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.errors import (
            JobLost,
            JobNotFound,
            ResultMissing,
            StatusRefused,
            StatusUnavailable,
        )
        from airflow_provider_vidgen.triggers.events import Reason, read_event

        reason, odd = read_event(event, job)
        if odd:
            self.log.warning("%s; asking the vendor", odd)
        hook = self.hook
        expired = utcnow() >= deadline
        status: JobStatus | None
        try:
            status = hook.get_status(job)
        except JobNotFound as error:
            if reason is Reason.JOB_LOST:
                self.lost(context, job, error)
                raise JobLost(
                    "The vendor does not know the job",
                    job=job,
                    vendor_code=error.vendor_code,
                    vendor_message=error.vendor_message,
                ) from None
            if expired:
                raise _too_late(job, error) from None
            status = None
        except (StatusRefused, StatusUnavailable) as error:
            given_up = Reason.ACCESS_DENIED if isinstance(error, StatusRefused) else Reason.VENDOR_UNAVAILABLE
            if expired:
                raise _too_late(job, error) from None
            if reason is given_up:
                raise
            status = None
        if status is None:
            self.log.warning("The vendor does not tell about %s just now; waiting on", job)
        elif status.has_video or status.failure is not None:
            return self.settle(context, hook, job, status)
        elif (stop := _stop(job, status, None if odd else reason, expired=expired)) is not None:
            if isinstance(stop, ResultMissing):
                self.no_link(context, job, status)
            raise stop
        else:
            self.log.info("%s is still %s; waiting on", job, status.state)
        self.wait_deferred(job, submitted_at=submitted_at, deadline=deadline)


def _too_late(job: VideoJob, error: StatusError) -> StatusError:
    from airflow_provider_vidgen.errors import DeadlineExceeded

    return DeadlineExceeded(f"The vendor could not be asked at the deadline ({error.summary})", job=job)


def _stop(job: VideoJob, status: JobStatus, reason: Reason | None, *, expired: bool) -> StatusError | None:
    """Return why this try has nothing more to wait for; a reason of ``None`` was not understood."""
    from airflow_provider_vidgen.errors import DeadlineExceeded, ResultMissing, TriggerError
    from airflow_provider_vidgen.models import JobState
    from airflow_provider_vidgen.triggers.events import Reason

    if status.state is JobState.SUCCEEDED and (expired or reason is Reason.RESULT_MISSING):
        return ResultMissing("The vendor calls the job finished but gives no usable link", job=job)
    if expired:
        return DeadlineExceeded(
            f"The job was still {status.state} ({status.raw_state}) at its deadline", job=job
        )
    if reason is Reason.TRIGGER_ERROR:
        return TriggerError("The triggerer could not watch the job; its log has the kind of error", job=job)
    return None
