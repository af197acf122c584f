# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger: poll a job from the triggerer, with GET requests only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vidgen import airflow_internals, metrics
from airflow_provider_vidgen.client import TriggererClient
from airflow_provider_vidgen.clock import from_iso, utcnow
from airflow_provider_vidgen.errors import (
    DeadlineExceeded,
    JobLost,
    ResultMissing,
    StatusRefused,
    StatusUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.polling import JobPoller, StatusChange
from airflow_provider_vidgen.triggers import progress_xcom
from airflow_provider_vidgen.triggers.events import Reason, make_event

_REASONS: dict[type[VidgenError], Reason] = {
    DeadlineExceeded: Reason.DEADLINE_EXCEEDED,
    JobLost: Reason.JOB_LOST,
    ResultMissing: Reason.RESULT_MISSING,
    StatusRefused: Reason.ACCESS_DENIED,
    StatusUnavailable: Reason.VENDOR_UNAVAILABLE,
}

#: A submission more recent than this counts for the account's rate limit.
_JUST_SUBMITTED = timedelta(minutes=1)
#: Shortest time, in seconds, that a check may wait for the rate limit, even if the deadline is sooner.
_MIN_RATE_LIMIT_WAIT = 10.0
#: Cancellations in progress; the event loop itself keeps only weak references to its tasks.
_cancellations: set[asyncio.Task[None]] = set()


class VideoTaskTrigger(BaseTrigger):
    """
    Poll a job until it has ended, then resume the task with the reason.

    The event contains no link and no text of the vendor: the resumed task checks the job again. So the same
    trigger may run in two triggerers at once without harm.

    :param vidgen_conn_id: Airflow connection of type ``vidgen``.
    :param job: the job's handle, see :meth:`.VideoJob.to_dict`.
    :param submitted_at: ISO 8601, UTC.
    :param deadline: ISO 8601, UTC; counted from submission, so a restart of the triggerer does not move it.
    :param not_before: ISO 8601, UTC; no event is sent earlier, see :mod:`.airflow_internals`.
    :param cancel_on_kill: cancel the job, if its vendor supports that, when the deferred task is marked
        failed or successful.
    :param poll_interval: seconds between checks; ``None`` means the vendor's recommended intervals.
    """

    def __init__(
        self,
        *,
        vidgen_conn_id: str,
        job: dict[str, str],
        submitted_at: str,
        deadline: str,
        not_before: str,
        cancel_on_kill: bool,
        poll_interval: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vidgen_conn_id = vidgen_conn_id
        self.job = job
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.not_before = not_before
        self.cancel_on_kill = cancel_on_kill
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_provider_vidgen.triggers.video_task.VideoTaskTrigger",
            {
                "vidgen_conn_id": self.vidgen_conn_id,
                "job": self.job,
                "submitted_at": self.submitted_at,
                "deadline": self.deadline,
                "not_before": self.not_before,
                "cancel_on_kill": self.cancel_on_kill,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the job and yield one event; an error becomes an event with its reason."""
        job = VideoJob.from_dict(self.job)
        try:
            await self._poll_until_ended(job)
            reason = Reason.ENDED
        except VidgenError as error:
            # Without the vendor's message: it may quote the prompt, which is not known here and so not
            # redacted.
            self.log.warning("Polling of %s ended: %s", job, error.summary)
            reason = _REASONS.get(type(error), Reason.TRIGGER_ERROR)
        except Exception as error:
            # Only the class: messages of other libraries may quote links.
            self.log.error("Polling of %s failed: %s", job, type(error).__name__)
            reason = Reason.TRIGGER_ERROR
        await asyncio.sleep(max(0.0, (from_iso(self.not_before) - utcnow()).total_seconds()))
        yield TriggerEvent(make_event(reason, job))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """
        Cancel the job if its task was killed and its vendor supports that; otherwise log that it continues.

        Airflow also calls this after a clear, when the next try may already have re-attached to the job, and
        for triggers that only move to another triggerer. The job is cancelled only if the task has ended.
        """
        state = await airflow_internals.task_state(self.task_instance)
        if state not in ("failed", "success"):
            return
        # Airflow cancels this method after a second; the shielded task continues.
        cancellation = asyncio.create_task(self._cancel(VideoJob.from_dict(self.job)))
        _cancellations.add(cancellation)
        cancellation.add_done_callback(_cancellations.discard)
        await asyncio.shield(cancellation)

    async def _cancel(self, job: VideoJob) -> None:
        if not self.cancel_on_kill:
            self.log.warning("%s continues at the vendor and may be billed, as cancel_on_kill is off", job)
            return
        try:
            async with VideoGenHook(self.vidgen_conn_id).async_client() as client:
                self.log.warning("%s", await client.cancel(job))
        except VidgenError as error:
            self.log.warning("%s could not be cancelled: %s", job, error.summary)

    async def _poll_until_ended(self, job: VideoJob) -> None:
        async with VideoGenHook(self.vidgen_conn_id).async_client() as client:
            submitted_at = from_iso(self.submitted_at)
            poller = JobPoller(
                job,
                client.settings.vendor.schedule.with_interval(self.poll_interval),
                submitted_at=submitted_at,
                deadline=from_iso(self.deadline),
            )
            just_submitted = utcnow() - submitted_at < _JUST_SUBMITTED
            with client.limits.count_worker_requests(just_submitted=just_submitted):
                await self._poll(poller, client)

    async def _poll(self, poller: JobPoller, client: TriggererClient) -> None:
        delay: float | None = poller.first_delay(utcnow())
        while delay is not None:
            await asyncio.sleep(delay)
            try:
                max_wait = max(poller.remaining(utcnow()), _MIN_RATE_LIMIT_WAIT)
                status = await client.status(poller.job, max_wait=max_wait)
            except VidgenError as error:
                delay = poller.after_error(error, utcnow())
                if failed := poller.failed_check(error, delay, utcnow()):
                    await self._report(failed, has_ended=False)
                continue
            now = utcnow()
            if warning := poller.unknown_state_warning(status):
                self.log.warning("%s", warning)
            change = poller.status_change(status, now)
            delay = poller.after_status(status, now)
            metrics.noticed(poller.job, status, now)
            if change is not None:
                await self._report(change, has_ended=delay is None)

    async def _report(self, change: StatusChange, *, has_ended: bool) -> None:
        if self.task_instance is not None and change.progress is not None:
            try:
                await progress_xcom.push_progress(self.task_instance, change.progress, has_ended=has_ended)
            except Exception as error:
                # Progress is for display only and must not end the polling.
                self.log.warning(
                    "The progress of %s cannot be shown (%s). The job and its polling are not affected.",
                    self.job["task_id"],
                    type(error).__name__,
                )
        # After the XCom: the supervisor reads both, and while it is busy, writing the log blocks the event
        # loop.
        self.log.info("%s", change.message)
