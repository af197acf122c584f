# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
One try at one logical request: find the job an earlier try submitted, or submit it, once.

This is where the ledger and the paid call meet. It comes before the deferrable and the blocking way part, and
knows nothing of either.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.errors import (
    JobLost,
    JobNotRecorded,
    SubmitError,
    SubmitOutcomeUnknown,
    SubmitToBeResent,
    SubmitToBeRisked,
)
from airflow_provider_vidgen.ledger import Action, Ledger, OnUnknown, Phase, Record
from airflow_provider_vidgen.models import JobState, JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.transport.policy import WhenFull
from airflow_provider_vidgen.transport.settings import ConnectionSettings

#: The store's own client tries for a while, too; together they outlast a restart of the API server.
_ATTEMPTS_TO_RECORD = 5


class Submitter(Protocol):
    """What this needs of a client: the account, and the paid call."""

    @property
    def settings(self) -> ConnectionSettings: ...

    def submit(
        self, request: VideoRequest, *, idempotency_key: str | None = None, when_full: WhenFull = "wait"
    ) -> Submission: ...


@dataclass(frozen=True, kw_only=True)
class Attached:
    """
    The job this try is about.

    :param status: its state where that is already known: just submitted, or a recorded result.
    """

    job: VideoJob
    submitted_at: datetime
    deadline: datetime
    status: JobStatus | None


class Attempt:
    """
    One try.

    :param client: the account at the vendor.
    :param ledger: the record of what earlier tries did.
    :param timeout: seconds from submission to the deadline.
    :param on_unknown: see :mod:`.ledger`.
    :param now: the clock.
    :param warn: takes a sentence that the log must show.
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
        now: Callable[[], datetime],
        warn: Callable[[str], None],
        before_paying: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._timeout = timedelta(seconds=timeout)
        self._on_unknown = on_unknown
        self._now = now
        self._warn = warn
        self._before_paying = before_paying
        self._sleep = sleep

    def attach(self, request: VideoRequest) -> Attached:
        """
        Return the job to wait for.

        :raises LedgerUnreadable: what earlier tries did is not known; nothing was submitted.
        :raises SubmitError: no job; the subclass says whether one may exist all the same, and ``no_room``
            that another attempt may follow as soon as the vendor has room.
        :raises JobLost: an earlier try found that the vendor does not know the job.
        """
        wanted = self._fingerprint(request)
        decision = self._ledger.resolve(wanted, on_unknown=self._on_unknown, key_window=self._key_window)
        if decision.why:
            self._warn(decision.why)
        record = decision.record
        if decision.action is Action.SUBMIT or record is None:
            self._before_paying()
            return self._submit(request, wanted, resent=None)
        if decision.action is Action.RESEND:
            return self._submit(request, wanted, resent=record)
        if decision.action is Action.STOP:
            raise self._stopped(record)
        return self._attached(record, _recorded(record))

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
            deadline=self._now() + self._timeout,
            has_keys=self._key_window is not None,
            resent=resent,
        )
        try:
            # The record says "submitting" now: a vendor without room is waited for outside of that.
            submission = self._client.submit(
                request, idempotency_key=record.idempotency_key or None, when_full="raise"
            )
        except SubmitOutcomeUnknown as error:
            self._note(record, Phase.UNKNOWN, task_id=error.job.task_id if error.job else "")
            raise self._unknown(error, record) from error
        except SubmitError as error:
            self._note(record, Phase.UNKNOWN if resent else Phase.FRESH)
            if resent is None:
                raise
            # A key that was sent before may have been taken then, whatever became of it now.
            what = f"The outcome of an earlier submission is unknown, and now: {error.what}"
            still = SubmitOutcomeUnknown(
                what, code=error.code, words=error.words, retry_after=error.retry_after
            )
            still.no_room = error.no_room
            raise self._unknown(still, record) from error
        return self._attached(self._record_job(record, submission), submission.status)

    def _record_job(self, record: Record, submission: Submission) -> Record:
        """Write down a job that is being paid for."""
        job, status = submission.job, submission.status
        # A synchronous endpoint's failure leaves no id to ask about.
        phase = Phase.FAILED if status.failure and not job.task_id else Phase.SUBMITTED
        try:
            return self._persist(record, phase, task_id=job.task_id, result_urls=status.result_urls)
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
        if self._ledger.key_holds(record, self._key_window):
            kind = SubmitToBeResent
        elif self._on_unknown == "resubmit":
            kind = SubmitToBeRisked
        meant = kind(
            error.what, job=error.job, code=error.code, words=error.words, retry_after=error.retry_after
        )
        # Only under the same key may it go out again as soon as there is room.
        meant.no_room = error.no_room and kind is SubmitToBeResent
        return meant

    def _stopped(self, record: Record) -> SubmitOutcomeUnknown | JobLost:
        if record.phase is Phase.LOST:
            return JobLost("An earlier try found that the vendor does not know the job", job=record.job)
        # From now on it counts as reported, so that the next clear submits.
        self._note(record, Phase.UNKNOWN)
        return SubmitOutcomeUnknown(
            f"An earlier try sent a paid request at {record.submitted_at} and its outcome is not known",
            job=record.job if record.task_id else None,
        )

    def _attached(self, record: Record, status: JobStatus | None) -> Attached:
        submitted_at = from_iso(record.submitted_at)
        # The user's timeout as it is now: a larger one goes on waiting for the same job.
        return Attached(
            job=record.job, submitted_at=submitted_at, deadline=submitted_at + self._timeout, status=status
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
