# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Find the job of an earlier try, or submit one, once.

The only module that connects the ledger with the paid call, in deferrable and in blocking mode.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import tenacity

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.client import validate_job
from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.decision import Action, Decision, OnClear, OnUnknown, decide
from airflow_provider_vidgen.errors import (
    AccountChanged,
    JobLost,
    JobNotFound,
    JobNotRecorded,
    ResultExpired,
    StatusError,
    SubmitError,
    SubmitOutcomeUnknown,
    TaskRef,
    UnknownSubmitWillResend,
    UnknownSubmitWillResubmit,
)
from airflow_provider_vidgen.http.retry_policy import WhenAtCapacity
from airflow_provider_vidgen.ledger import Ledger, Phase, Record
from airflow_provider_vidgen.models import JobState, JobStatus, Submission, VideoJob, VideoRequest

_log = logging.getLogger(__name__)

#: Airflow's own client retries, too; together they outlast a restart of the API server.
_WRITE_ATTEMPTS = 5

#: Phases in which a job may exist, known only to the host that it was submitted to.
_MAY_HAVE_A_JOB = frozenset(Phase) - {Phase.NOT_ACCEPTED, Phase.FAILED, Phase.DISCARDED}


class VendorClient(Protocol):
    """The part of :class:`.client.WorkerClient` that is used here."""

    @property
    def settings(self) -> ConnectionSettings: ...

    def submit(
        self,
        request: VideoRequest,
        *,
        idempotency_key: str | None = None,
        when_at_capacity: WhenAtCapacity = "wait",
    ) -> Submission: ...

    def status(self, job: VideoJob) -> JobStatus: ...


class DeliveredVideos(Protocol):
    """The part of :class:`.landing.Landing` that is used here: whether a video is still available."""

    def files_exist(self, files: Sequence[Mapping[str, Any]]) -> bool: ...

    def links_are_live(self, links: Sequence[str]) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class ActiveJob:
    """
    The job of this try.

    :param record: the job's newest record in the ledger.
    :param deadline: when this try stops waiting, UTC.
    :param status: the job's status where it is already known: just submitted, just checked, or recorded.
    :param files: landed files of an earlier try, where the vendor has no link any more.
    """

    record: Record
    deadline: datetime
    status: JobStatus | None
    files: tuple[Mapping[str, Any], ...] = ()

    @property
    def job(self) -> VideoJob:
        """The job's handle."""
        return self.record.job

    @property
    def submitted_at(self) -> datetime:
        """When the job was submitted, UTC."""
        return from_iso(self.record.submitted_at)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """
    A decision after all free checks.

    :param action: ``SUBMIT``, ``RESEND``, or ``REATTACH`` to ``job``.
    :param resent: the record whose request is sent again.
    """

    action: Action
    fingerprint: str
    job: ActiveJob | None = None
    resent: Record | None = None


class Submitter:
    """
    Submits at most one job for a request, over all tries of a task.

    :param client: the account at the vendor.
    :param ledger: the record of earlier tries.
    :param videos: checks whether a delivered video is still available.
    :param task: the task instance, for messages.
    :param timeout: seconds from submission to the deadline.
    :param on_unknown: see :mod:`.decision`.
    :param on_clear: see :mod:`.decision`.
    :param now: the clock.
    :param sleep: blocks for a number of seconds.
    """

    def __init__(
        self,
        client: VendorClient,
        ledger: Ledger,
        videos: DeliveredVideos,
        *,
        task: TaskRef,
        timeout: float,
        on_unknown: OnUnknown,
        on_clear: OnClear,
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._videos = videos
        self._task = task
        self._timeout = timedelta(seconds=timeout)
        self._on_unknown = on_unknown
        self._on_clear = on_clear
        self._now = now
        self._sleep = sleep

    def resolve(self, request: VideoRequest) -> Resolution:
        """
        Decide what to do about a request: read the ledger, and check jobs. Nothing is paid.

        :raises LedgerUnreadable: the record of earlier tries cannot be read.
        :raises SubmitOutcomeUnknown: an earlier submission has an unknown outcome and must not be repeated.
        :raises JobLost: an earlier try found that the vendor does not know the job.
        :raises JobConnectionMismatch: the job was submitted to another base URL than the connection's.
        :raises StatusError: a job has to be checked before another one is paid for, and the check failed.
        :raises DownloadFailed: a link of a delivered video could not be checked.
        :raises StorageUnreachable: a file of a delivered video could not be checked.
        """
        fingerprint = self._fingerprint(request)
        decision = self._decide(fingerprint)
        if decision.reason:
            _log.warning("%s", self._task.fill_in(decision.reason))
        record, action = decision.record, decision.action
        if record is None or action is Action.SUBMIT:
            return Resolution(action=Action.SUBMIT, fingerprint=fingerprint)
        if action is Action.RESEND:
            return Resolution(action=action, fingerprint=fingerprint, resent=record)
        if action is Action.REPORT:
            raise self._report(record)
        if action is Action.REATTACH:
            job: ActiveJob | None = self._active(record, _recorded_result(record))
        elif action is Action.CHECK_THEN_SUBMIT:
            job = self._reattach_if_alive(record)
        else:
            job = self._delivered_before(record)
            if job is None and action is Action.RETURN:
                raise ResultExpired(
                    "The video was delivered, and neither its file nor its link exists any more",
                    job=record.job,
                )
        return Resolution(
            action=Action.SUBMIT if job is None else Action.REATTACH, fingerprint=fingerprint, job=job
        )

    def perform(self, resolution: Resolution, request: VideoRequest) -> ActiveJob:
        """
        Return the job to wait for; send the paid call if the resolution is to submit or resend.

        :raises SubmitError: there is no job handle; the subclass shows whether a job may exist, and
            ``at_capacity`` whether another try may submit once the vendor has capacity.
        :raises LedgerUnreadable: the intent could not be recorded; nothing was sent.
        """
        if resolution.job is not None:
            return resolution.job
        return self._submit(request, resolution.fingerprint, resent=resolution.resent)

    def _decide(self, fingerprint: str) -> Decision:
        record = self._ledger.read()
        if record is None:
            return Decision(action=Action.SUBMIT)
        if record.fingerprint == fingerprint and record.phase in _MAY_HAVE_A_JOB:
            validate_job(self._client.settings, record.job)
        return decide(
            record,
            fingerprint,
            cleared=self._ledger.is_cleared(record),
            key_is_valid=self._key_is_valid(record, api_key_hash=self._api_key_hash(fingerprint)),
            on_unknown=self._on_unknown,
            on_clear=self._on_clear,
        )

    # --- before another job is paid for -----------------------------------------------------------------

    def _reattach_if_alive(self, record: Record) -> ActiveJob | None:
        """Check a job that was reported or failed; ``None`` if it will have no video."""
        status = self._check(record)
        if status is None or status.failure is not None or self._has_expired(record, status):
            _log.warning("%s has no video and will bring none; a new, paid job is submitted", record.job)
            return None
        _log.warning("%s is %s at the vendor: re-attaching, nothing is paid", record.job, status.state)
        return self._active(self._ledger.transition(record, Phase.SUBMITTED), status)

    def _delivered_before(self, record: Record) -> ActiveJob | None:
        """Return a delivered job; ``None`` if neither its link nor its file exists any more."""
        status = _recorded_result(record)
        try:
            status = status or self._check(record)
        except StatusError as error:
            if not self._files_exist(record):
                raise
            _log.warning("%s; the landed files still exist", error.summary)
        usable = status is not None and status.failure is None and not self._has_expired(record, status)
        if status is not None and usable and status.has_video:
            return self._active(record, status)
        if self._files_exist(record):
            landed = JobStatus(state=JobState.SUCCEEDED, raw_state="landed")
            return self._active(record, landed, files=record.files)
        if status is not None and usable:
            return self._active(record, status)
        _log.warning("Neither a link nor a file of %s exists any more", record.job)
        return None

    def _check(self, record: Record) -> JobStatus | None:
        """
        Check a job, which is free.

        :return: ``None`` if the vendor does not know the job.
        :raises StatusError: the check failed.
        """
        try:
            return self._client.status(record.job)
        except JobNotFound as error:
            self.check_account(record, error)
            return None

    def check_account(self, record: Record, error: StatusError) -> None:
        """
        Check that a "no such job" reply was to the API key that submitted the job.

        :param error: the vendor's reply.
        :raises AccountChanged: the job may belong to another account.
        """
        if record.api_key_hash != self._api_key_hash(record.fingerprint):
            raise AccountChanged(
                "The vendor does not know the job, and the API key is not the one that submitted it",
                job=record.job,
                vendor_code=error.vendor_code,
                vendor_message=error.vendor_message,
            ) from None

    def _files_exist(self, record: Record) -> bool:
        return bool(record.files) and self._videos.files_exist(record.files)

    def _has_expired(self, record: Record, status: JobStatus) -> bool:
        """
        Whether a finished job's links have expired and are dead.

        :raises DownloadFailed: a link could not be checked.
        """
        expires_at = from_iso(record.expires_at) if record.expires_at else status.expires_at
        if status.state is not JobState.SUCCEEDED or expires_at is None or self._now() < expires_at:
            return False
        # Some links outlive the documented time, and checking one is free.
        return not (status.has_video and self._videos.links_are_live(status.result_urls))

    def _report(self, record: Record) -> SubmitOutcomeUnknown | JobLost:
        """Return the error about a submission that must not be repeated."""
        if record.phase is Phase.LOST:
            return JobLost("An earlier try found that the vendor does not know the job", job=record.job)
        if record.phase is Phase.SUBMITTING:  # the try that sent it did not live to count it
            metrics.unknown(record.vendor, record.model)
        # From now on it counts as reported, so that the next clear submits.
        self._try_transition(record, Phase.UNKNOWN)
        summary = f"An earlier try sent a paid request at {record.submitted_at} and its outcome is unknown"
        if record.idempotency_key and record.api_key_hash != self._api_key_hash(record.fingerprint):
            summary += "; its idempotency key is not valid with the connection's new API key"
        elif record.idempotency_key:
            summary += f"; its idempotency key expired at {self._key_expiry(record)}"
        return SubmitOutcomeUnknown(summary, job=record.job if record.task_id else None)

    # --- the paid call ----------------------------------------------------------------------------------

    def _submit(self, request: VideoRequest, fingerprint: str, *, resent: Record | None) -> ActiveJob:
        settings = self._client.settings
        without_id = VideoJob(
            vendor=settings.vendor.name, base_url=settings.base_url, model=request.model, task_id=""
        )
        record = self._ledger.record_intent(
            fingerprint,
            without_id,
            api_key_hash=self._api_key_hash(fingerprint),
            deadline=self._now() + self._timeout,
            supports_keys=settings.vendor.idempotency_window is not None,
            resent=resent,
        )
        try:
            # No waiting for capacity here: a worker that died meanwhile would leave the phase "submitting".
            submission = self._client.submit(
                request, idempotency_key=record.idempotency_key or None, when_at_capacity="raise"
            )
        except SubmitOutcomeUnknown as error:
            task_id = error.job.task_id if error.job else ""
            self._try_transition(record, Phase.UNKNOWN, task_id=task_id or record.task_id)
            raise self._unknown(error, error.summary, record) from error
        except SubmitError as error:
            self._try_transition(record, Phase.UNKNOWN if resent else Phase.NOT_ACCEPTED)
            if resent is None:
                raise
            # The request may have been accepted when it was first sent, whatever the reply is now.
            summary = f"The outcome of an earlier submission is unknown, and now: {error.summary}"
            raise self._unknown(error, summary, record) from error
        return self._active(self._record_job(record, submission), submission.status)

    def _record_job(self, record: Record, submission: Submission) -> Record:
        """
        Record the accepted job.

        :raises JobNotRecorded: its id could not be written.
        """
        job, status = submission.job, submission.status
        if job.task_id:
            # Logged before it is recorded: a worker that dies in between leaves the id in the log.
            _log.info("The vendor accepted %s", job)
        # A synchronous endpoint's failure may have no job id, so it cannot be checked again.
        phase = Phase.FAILED if status.failure and not job.task_id else Phase.SUBMITTED
        changes: dict[str, Any] = {"task_id": job.task_id, "result_urls": status.result_urls}
        if status.result_urls and status.expires_at is not None:
            changes["expires_at"] = status.expires_at.isoformat()
        try:
            return self._transition(record, phase, **changes)
        except Exception as error:
            raise JobNotRecorded(
                f"The vendor accepted the job, and its id could not be recorded ({type(error).__name__})",
                job=job,
            ) from error

    def _try_transition(self, record: Record, phase: Phase, **changes: Any) -> None:
        """Record a phase; if that fails, *submitting* stays, and the next try reports it."""
        try:
            self._transition(record, phase, **changes)
        except Exception as error:
            _log.warning(
                "The phase %s could not be recorded (%s); the next try reports the submission as unknown",
                phase,
                type(error).__name__,
            )

    def _transition(self, record: Record, phase: Phase, **changes: Any) -> Record:
        """Record a phase, with retries: money depends on it."""

        def warn(state: tenacity.RetryCallState) -> None:
            job = f"the job {changes['task_id']}" if changes.get("task_id") else "the submission"
            _log.warning("The task state store refused the phase %s of %s; trying again", phase, job)

        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_WRITE_ATTEMPTS),
            wait=tenacity.wait_exponential(max=15),
            sleep=self._sleep,
            before_sleep=warn,
            reraise=True,
        )(self._ledger.transition, record, phase, **changes)

    def _unknown(self, error: SubmitError, summary: str, record: Record) -> SubmitOutcomeUnknown:
        """Return the error whose next step is what the next automatic try does, by the same rules."""
        kind: type[SubmitOutcomeUnknown] = SubmitOutcomeUnknown
        next_step = None
        if self._key_is_valid(record, api_key_hash=record.api_key_hash):
            kind = UnknownSubmitWillResend
            next_step = kind.next_step.replace(
                "until the key expires", f"until the key expires at {self._key_expiry(record)}"
            )
        elif self._on_unknown == "resubmit":
            kind = UnknownSubmitWillResubmit
        return kind(
            summary,
            job=error.job,
            vendor_code=error.vendor_code,
            vendor_message=error.vendor_message,
            retry_after=error.retry_after,
            next_step=next_step,
            # Only with the same key may it be sent again as soon as there is capacity.
            at_capacity=error.at_capacity and kind is UnknownSubmitWillResend,
        )

    def _key_is_valid(self, record: Record, *, api_key_hash: str) -> bool:
        window = self._client.settings.vendor.idempotency_window
        return self._ledger.key_is_valid(record, window, api_key_hash=api_key_hash)

    def _key_expiry(self, record: Record) -> str:
        window = self._client.settings.vendor.idempotency_window or timedelta()
        return (from_iso(record.idempotency_key_sent_at) + window).isoformat(timespec="seconds")

    # --- identity ---------------------------------------------------------------------------------------

    def _active(
        self, record: Record, status: JobStatus | None, files: tuple[Mapping[str, Any], ...] = ()
    ) -> ActiveJob:
        # The current timeout: a larger one continues to wait for the same job.
        deadline = from_iso(record.submitted_at) + self._timeout
        return ActiveJob(record=record, deadline=deadline, status=status, files=files)

    def _api_key_hash(self, fingerprint: str) -> str:
        return api_key_hash(self._client.settings.api_key, fingerprint)

    def _fingerprint(self, request: VideoRequest) -> str:
        settings = self._client.settings
        # Another callback URL does not make it another video.
        call = settings.vendor.submit_call(replace(request, callback_url=None))
        return fingerprint(call.body, path=call.path, conn_id=settings.conn_id)


def _recorded_result(record: Record) -> JobStatus | None:
    """Return the result of a synchronous endpoint, which cannot be requested again."""
    if not record.result_urls:
        return None
    return JobStatus(state=JobState.SUCCEEDED, raw_state="recorded", result_urls=record.result_urls)


def fingerprint(body: Mapping[str, Any] | None, *, path: str, conn_id: str) -> str:
    """
    Return the identity of a request: a hash of the final body, the path (which may hold the model) and the
    connection id.

    The try number is not part of it: a retry is the same request.
    """
    canonical = json.dumps([path, conn_id, body], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def api_key_hash(api_key: str, fingerprint: str) -> str:
    """
    Return a keyed hash that differs for another API key and reveals nothing about the key.

    :param fingerprint: of the request.
    """
    message = f"airflow-provider-vidgen {fingerprint}".encode()
    return hmac.new(api_key.encode(), message, "sha256").hexdigest()[:32]
