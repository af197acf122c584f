# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
One try at one logical request: find the job an earlier try submitted, or submit it, once.

This is where the ledger and the paid call meet. It comes before the deferrable and the blocking way part, and
knows nothing of either.
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

from airflow_provider_vidgen.client import validate_job
from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    AccountChanged,
    JobLost,
    JobNotFound,
    JobNotRecorded,
    ResultExpired,
    StatusError,
    SubmitError,
    SubmitOutcomeUnknown,
    UnknownSubmitWillResend,
    UnknownSubmitWillResubmit,
)
from airflow_provider_vidgen.http.retry_policy import WhenAtCapacity
from airflow_provider_vidgen.ledger import Action, Ledger, OnClear, OnUnknown, Phase, Record
from airflow_provider_vidgen.models import JobState, JobStatus, Submission, VideoJob, VideoRequest

_log = logging.getLogger(__name__)

#: The store's own client tries for a while, too; together they outlast a restart of the API server.
_ATTEMPTS_TO_RECORD = 5


#: Phases in which a job may exist, which only the host it was submitted at knows.
_KEPT_BY_THE_VENDOR = frozenset(Phase) - {Phase.FRESH, Phase.FAILED, Phase.DISCARDED}


class Submitter(Protocol):
    """What this needs of a client: the account, the paid call, and the free question about a job."""

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


@dataclass(frozen=True, kw_only=True)
class Attached:
    """
    The job this try is about.

    :param status: its state where that is already known: just submitted, just asked for, or a recorded
        result.
    :param files: what an earlier try landed, where the vendor has no link to it any more.
    """

    job: VideoJob
    submitted_at: datetime
    deadline: datetime
    status: JobStatus | None
    files: tuple[Mapping[str, Any], ...] = ()


class Attempt:
    """
    One try.

    :param client: the account at the vendor.
    :param ledger: the record of what earlier tries did.
    :param timeout: seconds from submission to the deadline.
    :param on_unknown: see :mod:`.ledger`.
    :param on_clear: see :mod:`.ledger`.
    :param now: the clock.
    :param warn: takes a sentence that the log must show.
    :param still_there: whether landed files are where they were put.
    :param link_lives: whether links give their files, tried once.
    :param before_paying: called when a submission is due; raises to prevent it.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self,
        client: Submitter,
        ledger: Ledger,
        *,
        timeout: float,
        on_unknown: OnUnknown,
        on_clear: OnClear,
        now: Callable[[], datetime],
        warn: Callable[[str], None],
        still_there: Callable[[Sequence[Mapping[str, Any]]], bool],
        link_lives: Callable[[Sequence[str]], bool],
        before_paying: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._timeout = timedelta(seconds=timeout)
        self._on_unknown = on_unknown
        self._on_clear = on_clear
        self._now = now
        self._warn = warn
        self._before_paying = before_paying
        self._still_there = still_there
        self._link_lives = link_lives
        self._sleep = sleep

    def attach(self, request: VideoRequest) -> Attached:
        """
        Return the job to wait for.

        :raises LedgerUnreadable: what earlier tries did is not known; nothing was submitted.
        :raises SubmitError: no job; the subclass says whether one may exist all the same, and ``at_capacity``
            that another attempt may follow as soon as the vendor has room.
        :raises JobLost: an earlier try found that the vendor does not know the job.
        :raises StatusError: the vendor had to be asked about an earlier job before another one is paid for,
            and did not answer.
        :raises DownloadFailed: whether an earlier video can still be had could not be found out.
        :raises JobConnectionMismatch: the earlier job was submitted at another base URL than the connection's.
        """
        wanted = self._fingerprint(request)
        decision = self._ledger.resolve(
            wanted,
            api_key_hash=self._key_hash(wanted),
            on_unknown=self._on_unknown,
            on_clear=self._on_clear,
            key_window=self._key_window,
        )
        record, action = decision.record, decision.action
        if record is not None and record.fingerprint == wanted and record.phase in _KEPT_BY_THE_VENDOR:
            validate_job(self._client.settings, record.job)
        if decision.why:
            self._warn(decision.why)
        if record is None or action is Action.SUBMIT:
            return self._submit_anew(request, wanted)
        if action is Action.RESEND:
            return self._submit(request, wanted, resent=record)
        if action is Action.STOP:
            raise self._stopped(record)
        if action is Action.REATTACH:
            return self._attached(record, _recorded(record))
        if action is Action.CHECK_THEN_SUBMIT:
            return self._reattach_if_alive(record) or self._submit_anew(request, wanted)
        again = self._delivered_again(record)
        if again is None and action is Action.RETURN:
            raise ResultExpired(
                "The video was delivered, and neither its file nor its link exists", job=record.job
            )
        return again or self._submit_anew(request, wanted)

    def _submit_anew(self, request: VideoRequest, wanted: str) -> Attached:
        self._before_paying()
        return self._submit(request, wanted, resent=None)

    # --- before another job is paid for -----------------------------------------------------------------

    def _reattach_if_alive(self, record: Record) -> Attached | None:
        """Ask about a job that was reported or failed; ``None``: it brings no video any more."""
        status = self._ask(record)
        if status is None or status.failure is not None or self._is_gone(record, status):
            self._warn(f"{record.job} brings no video any more; a new, paid job is submitted")
            return None
        self._warn(f"{record.job} is {status.state} at the vendor: it is used, nothing is paid")
        return self._attached(self._ledger.moved(record, Phase.SUBMITTED), status)

    def _delivered_again(self, record: Record) -> Attached | None:
        """Find what was delivered; ``None``: neither its link nor its file exists any more."""
        status = _recorded(record)
        try:
            status = status or self._ask(record)
        except StatusError as error:
            if not self._still_there(record.files):
                raise
            self._warn(f"{error.summary}; the files that were landed are still there")
        usable = status is not None and status.failure is None and not self._is_gone(record, status)
        if status is not None and usable and status.has_video:
            return self._attached(record, status)
        if self._still_there(record.files):
            kept = JobStatus(state=JobState.SUCCEEDED, raw_state="landed")
            return self._attached(record, kept, files=record.files)
        if status is not None and usable:
            return self._attached(record, status)
        self._warn(f"Neither a link nor a file of {record.job} exists any more")
        return None

    def _ask(self, record: Record) -> JobStatus | None:
        """
        Ask once about a job, which is free.

        :return: ``None`` if the vendor does not know it.
        :raises StatusError: the vendor does not tell.
        """
        try:
            return self._client.status(record.job)
        except JobNotFound as error:
            self.check_account(record, error)
            return None

    def check_account(self, record: Record, error: StatusError) -> None:
        """
        Refuse to believe "no such job" of a vendor that is asked with another API key.

        :raises AccountChanged: the job may belong to another account.
        """
        if record.api_key_hash != self._key_hash(record.fingerprint):
            summary = "The vendor does not know the job, and the API key is not the one it was submitted with"
            raise AccountChanged(
                summary, job=record.job, vendor_code=error.vendor_code, vendor_message=error.vendor_message
            ) from None

    def _is_gone(self, record: Record, status: JobStatus) -> bool:
        """
        Whether a finished job's links have outlived their time, and are dead.

        :raises DownloadFailed: nobody knows.
        """
        expires = from_iso(record.expires_at) if record.expires_at else status.expires_at
        if status.state is not JobState.SUCCEEDED or expires is None or self._now() < expires:
            return False
        # Some links outlive what their vendor documents, and to try one is free.
        return not (status.has_video and self._link_lives(status.result_urls))

    # --- the paid call ----------------------------------------------------------------------------------

    def _key_hash(self, wanted: str) -> str:
        return api_key_hash(self._client.settings.api_key, wanted)

    @property
    def _key_window(self) -> timedelta | None:
        return self._client.settings.vendor.idempotency_window

    def _fingerprint(self, request: VideoRequest) -> str:
        settings = self._client.settings
        # Where the end is reported to does not make it another video.
        call = settings.vendor.submit_call(replace(request, callback_url=None))
        return fingerprint(call.body, path=call.path, conn_id=settings.conn_id)

    def _submit(self, request: VideoRequest, wanted: str, *, resent: Record | None) -> Attached:
        settings = self._client.settings
        nameless = VideoJob(
            vendor=settings.vendor.name, base_url=settings.base_url, model=request.model, task_id=""
        )
        record = self._ledger.submitting(
            wanted,
            nameless,
            api_key_hash=self._key_hash(wanted),
            deadline=self._now() + self._timeout,
            has_keys=self._key_window is not None,
            resent=resent,
        )
        try:
            # The record says "submitting" now: a vendor without room is waited for outside of that.
            submission = self._client.submit(
                request, idempotency_key=record.idempotency_key or None, when_at_capacity="raise"
            )
        except SubmitOutcomeUnknown as error:
            named = error.job.task_id if error.job else ""
            self._note(record, Phase.UNKNOWN, task_id=named or record.task_id)
            raise self._unknown(error, record) from error
        except SubmitError as error:
            self._note(record, Phase.UNKNOWN if resent else Phase.FRESH)
            if resent is None:
                raise
            # A key that was sent before may have been taken then, whatever became of it now.
            summary = f"The outcome of an earlier submission is unknown, and now: {error.summary}"
            still = SubmitOutcomeUnknown(
                summary,
                vendor_code=error.vendor_code,
                vendor_message=error.vendor_message,
                retry_after=error.retry_after,
            )
            still.at_capacity = error.at_capacity
            raise self._unknown(still, record) from error
        return self._attached(self._record_job(record, submission), submission.status)

    def _record_job(self, record: Record, submission: Submission) -> Record:
        """Write down a job that is being paid for."""
        job, status = submission.job, submission.status
        if job.task_id:
            # Said before it is written down: whoever dies in between leaves the id in the log.
            _log.info("The vendor accepted %s", job)
        # A synchronous endpoint's failure leaves no id to ask about.
        phase = Phase.FAILED if status.failure and not job.task_id else Phase.SUBMITTED
        known: dict[str, Any] = {"task_id": job.task_id, "result_urls": status.result_urls}
        if status.result_urls and status.expires_at is not None:
            known["expires_at"] = status.expires_at.isoformat()
        try:
            return self._persist(record, phase, **known)
        except Exception as error:
            raise JobNotRecorded(
                f"The vendor accepted the job, and its id could not be recorded ({type(error).__name__})",
                job=job,
            ) from error

    def _note(self, record: Record, phase: Phase, **changes: Any) -> None:
        """Write down how it ended; failing that, *submitting* stays, and the next try reports it."""
        try:
            self._persist(record, phase, **changes)
        except Exception as error:
            self._warn(f"That the submission is {phase} could not be recorded ({type(error).__name__})")

    def _persist(self, record: Record, phase: Phase, **changes: Any) -> Record:
        """Write down what the vendor said, as persistently as money deserves."""
        import tenacity

        def tell(state: tenacity.RetryCallState) -> None:
            job = f"the job {changes['task_id']}" if changes.get("task_id") else "the submission"
            self._warn(f"The task state store does not take what is known of {job} ({phase}); trying again")

        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS_TO_RECORD),
            wait=tenacity.wait_exponential(max=15),
            sleep=self._sleep,
            before_sleep=tell,
            reraise=True,
        )(self._ledger.moved, record, phase, **changes)

    def _unknown(self, error: SubmitOutcomeUnknown, record: Record) -> SubmitOutcomeUnknown:
        """Return the error as what it means for the next automatic try, which decides by the same rules."""
        kind = SubmitOutcomeUnknown
        if self._ledger.key_is_valid(record, self._key_window, api_key_hash=record.api_key_hash):
            kind = UnknownSubmitWillResend
        elif self._on_unknown == "resubmit":
            kind = UnknownSubmitWillResubmit
        meant = kind(
            error.summary,
            job=error.job,
            vendor_code=error.vendor_code,
            vendor_message=error.vendor_message,
            retry_after=error.retry_after,
        )
        # Only under the same key may it go out again as soon as there is room.
        meant.at_capacity = error.at_capacity and kind is UnknownSubmitWillResend
        return meant

    def _stopped(self, record: Record) -> SubmitOutcomeUnknown | JobLost:
        if record.phase is Phase.LOST:
            return JobLost("An earlier try found that the vendor does not know the job", job=record.job)
        # From now on it counts as reported, so that the next clear submits.
        self._note(record, Phase.UNKNOWN)
        summary = f"An earlier try sent a paid request at {record.submitted_at} and its outcome is not known"
        if record.idempotency_key and record.api_key_hash != self._key_hash(record.fingerprint):
            summary += "; its idempotency key is worth nothing with the connection's new API key"
        return SubmitOutcomeUnknown(summary, job=record.job if record.task_id else None)

    def _attached(
        self, record: Record, status: JobStatus | None, files: tuple[Mapping[str, Any], ...] = ()
    ) -> Attached:
        submitted_at = from_iso(record.submitted_at)
        # The user's timeout as it is now: a larger one goes on waiting for the same job.
        deadline = submitted_at + self._timeout
        return Attached(
            job=record.job, submitted_at=submitted_at, deadline=deadline, status=status, files=files
        )


def _recorded(record: Record) -> JobStatus | None:
    """Return the result of a synchronous endpoint, which cannot be asked for again."""
    if not record.result_urls:
        return None
    return JobStatus(state=JobState.SUCCEEDED, raw_state="recorded", result_urls=record.result_urls)


def fingerprint(body: Mapping[str, Any] | None, *, path: str, conn_id: str) -> str:
    """
    Return what makes two requests the same: the final body, the path (which may hold the model), the account.

    Never the try number: a retry is the same request.
    """
    canonical = json.dumps([path, conn_id, body], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def api_key_hash(api_key: str, wanted: str) -> str:
    """
    Return what tells that a request was submitted with another API key, and nothing about the key itself.

    :param wanted: the fingerprint of the request.
    """
    return hmac.new(api_key.encode(), f"airflow-provider-vidgen {wanted}".encode(), "sha256").hexdigest()[:32]
