# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger: watch a job from the triggerer, with GETs only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vidgen import airflow_internals
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
from airflow_provider_vidgen.models import JobStatus, VideoJob
from airflow_provider_vidgen.polling import JobPoller, StatusChange
from airflow_provider_vidgen.triggers import progress
from airflow_provider_vidgen.triggers.events import Reason, make_event

if TYPE_CHECKING:
    from airflow_provider_vidgen.client import TriggererClient

_REASONS: dict[type[VidgenError], Reason] = {
    DeadlineExceeded: Reason.DEADLINE,
    JobLost: Reason.LOST,
    ResultMissing: Reason.RESULT_MISSING,
    StatusRefused: Reason.REFUSED,
    StatusUnavailable: Reason.UNAVAILABLE,
}

#: A submission so recent still counts for the account's pace.
_JUST_SUBMITTED = timedelta(minutes=1)
#: Seconds for which even the check at the deadline waits for its turn.
_MIN_WAIT = 10.0
#: Cancellations under way; the event loop itself keeps only weak references.
_ending: set[asyncio.Task[None]] = set()


class VideoTaskTrigger(BaseTrigger):
    """
    Ask about a job until it has ended, then wake the task with a word on why.

    The event carries no link and nothing a vendor wrote: the resumed task asks again and decides itself. The
    same trigger may therefore run twice, in two triggerers, without harm.

    :param vidgen_conn_id: Airflow connection of type ``vidgen``.
    :param job: the job's handle, see :meth:`.VideoJob.to_dict`.
    :param submitted_at: ISO 8601, UTC.
    :param deadline: ISO 8601, UTC; counted from submission, so a restart of the triggerer does not move it.
    :param not_before: ISO 8601, UTC; no event is sent earlier, see :mod:`.airflow_internals`.
    :param poll_interval: seconds between checks; ``None`` follows the vendor's advice.
    :param cancel_on_kill: cancel the job, where its vendor can, when somebody marks the deferred task as
        failed or successful.
    """

    def __init__(
        self,
        *,
        vidgen_conn_id: str,
        job: dict[str, str],
        submitted_at: str,
        deadline: str,
        not_before: str,
        poll_interval: float | None = None,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vidgen_conn_id = vidgen_conn_id
        self.job = job
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill

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
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the job and yield one event; an error is an event, too, so that its kind is not lost."""
        job = VideoJob.from_dict(self.job)
        try:
            await self._watch(job)
            reason = Reason.ENDED
        except VidgenError as error:
            # Without the vendor's words: they may repeat the prompt, which is not known here to be taken out.
            self.log.warning("%s cannot be watched on: %s", job, error.summary)
            reason = _REASONS.get(type(error), Reason.TROUBLE)
        except Exception as error:
            # Only the kind: texts of other libraries may quote links.
            self.log.error("%s cannot be watched: %s", job, type(error).__name__)
            reason = Reason.TROUBLE
        await asyncio.sleep(max(0.0, (from_iso(self.not_before) - utcnow()).total_seconds()))
        yield TriggerEvent(make_event(reason, job))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """
        Cancel the job, if it was killed and its vendor can; say so if not.

        Airflow calls this for a clear, too, after the next try may already have found the job, and for
        triggers that only move. Only a task that somebody ended by hand loses its job.
        """
        state = await airflow_internals.task_state(self.task_instance)
        if state not in ("failed", "success"):
            return
        # Airflow cuts this short after a second; the shielded task goes on.
        ending = asyncio.create_task(self._end(VideoJob.from_dict(self.job)))
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)
        await asyncio.shield(ending)

    async def _end(self, job: VideoJob) -> None:
        if not self.cancel_on_kill:
            self.log.warning("%s goes on at the vendor and may be billed, as cancel_on_kill is off", job)
            return
        try:
            async with VideoGenHook(self.vidgen_conn_id).async_client() as client:
                self.log.warning("%s", await client.cancel(job))
        except VidgenError as error:
            self.log.warning("%s could not be cancelled: %s", job, error.summary)

    async def _watch(self, job: VideoJob) -> None:
        async with VideoGenHook(self.vidgen_conn_id).async_client() as client:
            submitted_at = from_iso(self.submitted_at)
            poller = JobPoller(
                job,
                client.settings.vendor.schedule.with_interval(self.poll_interval),
                submitted_at=submitted_at,
                deadline=from_iso(self.deadline),
            )
            with client.account.track_job(just_submitted=utcnow() - submitted_at < _JUST_SUBMITTED):
                await self._follow(poller, client)

    async def _follow(self, poller: JobPoller, client: TriggererClient) -> None:
        delay: float | None = poller.first_delay(utcnow())
        while delay is not None:
            await asyncio.sleep(delay)
            try:
                max_wait = max(poller.remaining(utcnow()), _MIN_WAIT)
                status = await client.status(poller.job, max_wait=max_wait)
            except VidgenError as error:
                delay = poller.after_error(error, utcnow())
                continue
            now = utcnow()
            if doubt := poller.unknown_state_warning(status):
                self.log.warning("%s", doubt)
            news = poller.status_change(status, now)
            delay = poller.after_status(status, now)
            if news is not None:
                await self._tell(news, status, has_ended=delay is None)

    async def _tell(self, news: StatusChange, status: JobStatus, *, has_ended: bool) -> None:
        if self.task_instance is not None and news.changed:
            try:
                await progress.show(self.task_instance, status, has_ended=has_ended)
            except Exception as error:
                # Decoration must not end the watch.
                self.log.warning("Progress cannot be shown: %s", type(error).__name__)
        # Not before the XCom: the supervisor reads both, and a line that it has no time for stops the loop.
        self.log.info("%s", news.line)
