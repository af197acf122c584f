# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Every error of this package, one class for each way to fail. No I/O.

A message states what happened, the job id, what it means for the bill, and the next step. The class attribute
``fatal`` decides between ``AirflowFailException`` and ``AirflowException``. docs/errors.md lists all classes;
it is generated from this file.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self, TypedDict, Unpack

from airflow_provider_vidgen.models import Failure, FailureCategory, VideoJob


class Billing(StrEnum):
    """What an error means for the bill."""

    NOT_SPENT = "Nothing was spent."
    MAYBE = "Money may have been spent."
    SPENT = "The video was paid for."
    JOB_CONTINUES = "The job continues at the vendor and may be billed."
    PER_VENDOR = "The vendor decides whether a failed job is billed."


@dataclass(frozen=True, kw_only=True)
class Problem:
    """
    One error in a request or a connection, or one warning.

    :param field: the field, as the user knows it.
    :param value: the field's value, or a description of it that is safe to log.
    :param constraint: the values that are allowed.
    :param is_error: ``True`` is an error, ``False`` a warning.
    """

    field: str
    value: str
    constraint: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.field}={self.value}: {self.constraint}"


@dataclass(frozen=True, kw_only=True)
class TaskRef:
    """
    A task instance as the ``airflow vidgen`` commands name it.

    The defaults are the placeholders of the commands' usage text.
    """

    dag_id: str = "DAG_ID"
    run_id: str = "RUN_ID"
    task_id: str = "TASK_ID"
    map_index: int | None = None

    def adopt_command(self, job_id: str = "") -> str:
        """
        Return the command that gives this task a job found in the vendor's console.

        :param job_id: the vendor's id of the job, empty if it has to be looked up.
        """
        return f"{self._command('adopt')} --job-id {shlex.quote(job_id) if job_id else 'JOB_ID'}"

    def regenerate_command(self) -> str:
        """Return the command after which a clear of this task submits a new, paid job."""
        return self._command("regenerate")

    def fill_in(self, text: str, job_id: str = "") -> str:
        """Return a text with its ``{adopt}`` and ``{regenerate}`` replaced by the commands."""
        # Not str.format: the rest of the text may quote a path with fields of its own.
        text = text.replace("{adopt}", f"`{self.adopt_command(job_id)}`")
        return text.replace("{regenerate}", f"`{self.regenerate_command()}`")

    def _command(self, name: str) -> str:
        words = ["airflow", "vidgen", name, self.dag_id, self.run_id, self.task_id]
        if self.map_index is not None and self.map_index >= 0:
            words += ["--map-index", str(self.map_index)]
        return shlex.join(words)


class ErrorDetails(TypedDict, total=False):
    """The optional details of a :class:`VidgenError`."""

    job: VideoJob | None
    vendor_code: str
    vendor_message: str
    retry_after: float | None
    next_step: str | None


class VidgenError(Exception):
    """
    Base class of all errors of this package.

    :param summary: what happened, one sentence without a full stop.
    :param job: the job concerned, if there is one.
    :param vendor_code: the vendor's error code.
    :param vendor_message: the vendor's error message, already redacted.
    :param retry_after: the vendor's Retry-After in seconds.
    :param next_step: what to do next, where the text of the class does not fit.
    """

    #: Another automatic try would fail again, or pay again: raised as ``AirflowFailException``.
    fatal: ClassVar[bool] = True
    billing: ClassVar[Billing] = Billing.NOT_SPENT
    #: May hold ``{adopt}`` and ``{regenerate}``, see :meth:`TaskRef.fill_in`.
    next_step: str = ""

    def __init__(
        self,
        summary: str,
        *,
        job: VideoJob | None = None,
        vendor_code: str = "",
        vendor_message: str = "",
        retry_after: float | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.job = job
        self.vendor_code = vendor_code
        self.vendor_message = vendor_message
        self.retry_after = retry_after
        if next_step is not None:
            self.next_step = next_step

    def replaced(self, *, summary: str | None = None, job: VideoJob | None = None) -> Self:
        """
        Return a copy of the error with another summary or job.

        :param summary: ``None`` keeps the summary.
        :param job: ``None`` keeps the job.
        """
        error = type(self).__new__(type(self))
        error.__dict__.update(self.__dict__)
        error.summary, error.job = summary or self.summary, job or self.job
        error.args = (error.summary,)
        return error

    def describe(self, task: TaskRef | None = None, *, next_step: str | None = None) -> str:
        """
        Return the complete message.

        :param task: the task instance whose ids are filled into the commands; ``None`` leaves placeholders.
        :param next_step: replaces the error's own next step.
        """
        parts = [
            self.full_summary,
            f"Job: {self.job}." if self.job and self.job.task_id else "",
            str(self.billing),
            self.next_step_for(task, next_step),
        ]
        return " ".join(part for part in parts if part)

    @property
    def full_summary(self) -> str:
        """What happened, with the vendor's code and message."""
        detail = " ".join(part for part in (self.vendor_code, self.vendor_message) if part)
        if not detail:
            return f"{self.summary}."
        return f'{self.summary}: "{detail}"' + ("" if detail.endswith((".", "!", "?")) else ".")

    def next_step_for(self, task: TaskRef | None, next_step: str | None = None) -> str:
        """
        Return what to do next.

        :param task: fills in the commands; ``None`` leaves placeholders.
        :param next_step: replaces the error's own next step.
        """
        text = self.next_step if next_step is None else next_step
        return (task or TaskRef()).fill_in(text, self.job.task_id if self.job else "")

    def __str__(self) -> str:
        return self.describe()


# --- before anything is sent ----------------------------------------------------------------------------


class _Invalid(VidgenError):
    def __init__(
        self,
        summary: str,
        problems: Sequence[Problem],
        *,
        job: VideoJob | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(summary, job=job, vendor_message="; ".join(map(str, problems)), next_step=next_step)
        self.problems = tuple(problems)

    def describe(self, task: TaskRef | None = None, *, next_step: str | None = None) -> str:
        """Return the message with one line for each problem."""
        return f"{self.full_summary}\n{self.billing} {self.next_step_for(task, next_step)}"

    @property
    def full_summary(self) -> str:
        """What happened, with one line for each problem."""
        return f"{self.summary}:" + "".join(f"\n  - {problem}" for problem in self.problems)


class InvalidRequest(_Invalid):
    """The request breaks a documented rule of the vendor; it was not sent."""

    next_step = "Correct the fields above."


class InvalidConnection(_Invalid):
    """The Airflow connection cannot be used."""

    next_step = "Correct the connection."


class JobConnectionMismatch(InvalidConnection):
    """The connection now has another vendor or base URL than the one the job was submitted to."""

    fatal = False
    billing = Billing.JOB_CONTINUES
    next_step = (
        "Restore the connection: a retry or a clear then checks the same job. To abandon the job and pay "
        "for a new one, run {regenerate} and clear the task."
    )


class StorageUnreachable(VidgenError):
    """The storage for the video does not answer, or its answer cannot be used."""

    fatal = False
    next_step = "Check the storage and its connection; a retry checks again, and then submits."


# --- submit ---------------------------------------------------------------------------------------------


class SubmitError(VidgenError):
    """
    A submission that returned no job.

    :param at_capacity: the vendor had no capacity, and the same request may be sent again once it has;
        ``None`` takes the class's value.
    """

    at_capacity: bool = False

    def __init__(
        self, summary: str, *, at_capacity: bool | None = None, **details: Unpack[ErrorDetails]
    ) -> None:
        super().__init__(summary, **details)
        if at_capacity is not None:
            self.at_capacity = at_capacity


class ConnectionFailed(SubmitError):
    """No connection to the vendor was established: DNS, TCP, TLS or the proxy failed."""

    fatal = False
    next_step = "Check the connection's host and the network; a retry submits."


class RateLimited(SubmitError):
    """The vendor had no capacity (HTTP 429)."""

    fatal = False
    at_capacity = True
    next_step = (
        "A retry submits. A larger timeout lets the task wait longer for capacity; "
        "max_active_tis_per_dagrun, or a pool that includes deferred tasks, limits the jobs that run at once."
    )


class VendorUnavailable(SubmitError):
    """The vendor answered 503 and stated that it did not accept the job."""

    fatal = False
    next_step = "A retry submits."


class SubmitOutcomeUnknown(SubmitError):
    """The request was sent and its outcome is unknown: the job may exist and may be billed."""

    billing = Billing.MAYBE
    next_step = (
        "Look for the job in the vendor's console. If it is there, run {adopt} and clear the task: it checks "
        "that job. If it is not, clear the task: that submits a new, paid job."
    )


class UnknownSubmitWillResend(SubmitOutcomeUnknown):
    """The outcome is unknown; the next try sends the request again with the same idempotency key."""

    fatal = False
    next_step = (
        "A retry or a clear sends the same request with the same idempotency key, which is not billed twice, "
        "until the key expires. After that a clear submits a new, paid job: look in the vendor's console "
        "first, and if the job is there, run {adopt}."
    )


class UnknownSubmitWillResubmit(SubmitOutcomeUnknown):
    """The outcome is unknown; the next try submits a new job, as ``on_unknown_submit="resubmit"`` is set."""

    fatal = False
    next_step = "A retry submits a new job, as on_unknown_submit='resubmit' asks, and both may be billed."


class JobNotRecorded(SubmitError):
    """The vendor accepted the job, and its id could not be written to the task state store."""

    billing = Billing.JOB_CONTINUES
    next_step = (
        "Run {adopt} and clear the task: it checks this job. Without that a clear reports an unknown "
        "submission, and the next clear submits a new, paid job."
    )


class SubmitInFlight(SubmitError):
    """The vendor is still processing a request with the same idempotency key (HTTP 409)."""

    billing = Billing.MAYBE
    fatal = False
    next_step = "The same request is sent again with the same key."


class SubmitRefused(SubmitError):
    """The vendor refused the request."""

    next_step = "Correct the request; the same request would be refused again."


class WrongEndpoint(SubmitRefused):
    """The server has no such path, or its answer is not in the format of the connection's vendor."""

    next_step = (
        "Check the connection's vendor and host, with its path prefix if it has one, then clear the task."
    )


class BadCredentials(SubmitRefused):
    """The vendor does not accept the API key (HTTP 401)."""

    next_step = "Correct the API key (password) of the connection, then clear the task."


class PermissionDenied(SubmitRefused):
    """The API key has no permission (HTTP 403)."""

    next_step = "Check the key's permissions, quota and models in the vendor's console, then clear the task."


class InsufficientFunds(SubmitRefused):
    """The vendor refused the request: the account has no credit."""

    next_step = "Top up the account at the vendor, then clear the task."


class ContentRefused(SubmitRefused):
    """The vendor refused the content of the request and created no job."""

    next_step = "Change the prompt or the images."


# --- status ---------------------------------------------------------------------------------------------


class StatusError(VidgenError):
    """A status check failed, or the wait for a job ended before the job did."""

    billing = Billing.JOB_CONTINUES


class StatusUnavailable(StatusError):
    """A status check failed; the job did not."""

    fatal = False
    next_step = "A retry checks the same job."


class StatusRateLimited(StatusUnavailable):
    """Too many status checks were sent with this API key (HTTP 429)."""


class StatusRefused(StatusError):
    """The API key may not read the job's status (HTTP 401 or 403)."""

    fatal = False
    next_step = "Correct the API key or its permissions. A retry, or a clear, checks the same job."


class AccountChanged(StatusError):
    """The vendor does not know the job, and the API key is not the one that submitted it."""

    billing = Billing.MAYBE
    next_step = (
        "Give the connection the API key of the account that submitted the job, and clear the task: it "
        "checks the same job. To abandon the job and pay for a new one, run {regenerate} and clear the task."
    )


class JobNotFound(StatusError):
    """The vendor does not know the job, or not yet."""

    fatal = False
    next_step = "A retry checks the same job."


class JobLost(StatusError):
    """Several status checks in a row did not find the job at the vendor."""

    billing = Billing.MAYBE
    next_step = (
        "The next clear checks the job once more, and submits a new, paid job if the vendor still does not "
        "know this one. If the vendor's console shows the job under another id, run {adopt} first."
    )


class ResultMissing(StatusError):
    """
    The vendor reports success without a usable link.

    :param links_expire_at: when the job's links expire, UTC; ``None`` if that is not known.
    """

    billing = Billing.SPENT
    next_step = "Ask the vendor about the job; a clear of the task checks the same job again."

    def __init__(
        self, summary: str, *, links_expire_at: datetime | None = None, **details: Unpack[ErrorDetails]
    ) -> None:
        super().__init__(summary, **details)
        self.links_expire_at = links_expire_at


class DeadlineExceeded(StatusError):
    """The job did not end before the deadline."""

    fatal = False
    next_step = (
        "A retry checks the same job once more. "
        "To wait longer for it, set a larger timeout and clear the task."
    )


class TriggerError(StatusError):
    """The trigger failed, or its event cannot be used."""

    fatal = False
    next_step = "A retry checks the same job."


# --- a job that failed ----------------------------------------------------------------------------------


class GenerationFailed(VidgenError):
    """
    The job failed at the vendor.

    :param failure: the vendor's code and message, and their category.
    """

    fatal = False
    billing = Billing.PER_VENDOR
    next_step = "A retry submits a new job, which may be billed again."

    def __init__(
        self, failure: Failure, *, job: VideoJob | None = None, next_step: str | None = None
    ) -> None:
        super().__init__(
            f"The job ended without a video ({failure.category})",
            job=job,
            vendor_code=failure.code,
            vendor_message=failure.message,
            next_step=next_step,
        )
        self.failure = failure


class ContentRejected(GenerationFailed):
    """The job failed because its content is not allowed."""

    fatal = True
    next_step = "Change the prompt or the images; the same content would be rejected again."


class InputRejected(GenerationFailed):
    """The job failed because an input cannot be used."""

    fatal = True
    next_step = "Correct the inputs; the same inputs would fail again."


class FundsExhausted(GenerationFailed):
    """The job failed because the account has no credit."""

    fatal = True
    next_step = "Top up the account at the vendor, then clear the task."


class JobCancelled(GenerationFailed):
    """The job was cancelled at the vendor."""

    fatal = True
    next_step = "Clear the task to submit a new, paid job."


_BY_CATEGORY: dict[FailureCategory, type[GenerationFailed]] = {
    FailureCategory.CONTENT_POLICY: ContentRejected,
    FailureCategory.INVALID_INPUT: InputRejected,
    FailureCategory.INSUFFICIENT_FUNDS: FundsExhausted,
    FailureCategory.CANCELLED: JobCancelled,
}


def generation_failed(failure: Failure, *, job: VideoJob | None = None) -> GenerationFailed:
    """Return the error for a job that ended without a video."""
    return _BY_CATEGORY.get(failure.category, GenerationFailed)(failure, job=job)


# --- the file -------------------------------------------------------------------------------------------


class LandingError(VidgenError):
    """The video exists at the vendor, and its file could not be stored."""

    billing = Billing.SPENT


class UnsafeLink(LandingError):
    """A result link that must not be fetched: not https, or not public."""

    next_step = (
        "If this host is the right one, set allow_private_urls in the connection, which permits http and "
        "private addresses, and clear the task: it downloads this video, no new one is made."
    )


class DownloadBlocked(LandingError):
    """The proxy or certificate settings of the worker prevent the download."""

    next_step = "Correct the settings and clear the task: it downloads again; no new video is made."


class DownloadFailed(LandingError):
    """The file could not be downloaded completely."""

    fatal = False
    next_step = "A retry downloads again; no new video is made."


class NotAVideo(LandingError):
    """The downloaded bytes are not a video."""

    fatal = False
    next_step = "A retry asks the vendor for a fresh link and downloads again; no new video is made."


class FileTooLarge(NotAVideo):
    """The download exceeds the maximum size of a video file."""

    next_step = "A retry downloads again; no new video is made."


class LinkUnavailable(LandingError):
    """The link is dead (HTTP 401, 403, 404 or 410), but as far as is known has not expired."""

    fatal = False
    next_step = "A retry asks the vendor for a fresh link and downloads again; no new video is made."


class ResultExpired(LandingError):
    """The link has expired, and the vendor gives no fresh one."""

    next_step = (
        "Ask the vendor for the file. A clear of the generating task asks for a fresh link once more, and "
        "submits a new, paid job if there is none."
    )


class StorageError(LandingError):
    """The file could not be written to the storage, or read from it."""

    fatal = False
    next_step = (
        "Check the storage, its connection and permissions. A retry downloads again; no new video is made."
    )


class VideoMismatch(LandingError):
    """The file is complete and stored, but differs from the request, and ``verify="fail"`` is set."""

    next_step = (
        "The file stays stored: look at it, and set verify=True to accept it. No new video is made "
        "unless the request is changed."
    )


class NotPlayable(LandingError):
    """The file is complete and stored, but cannot be played."""

    next_step = (
        "The file stays stored: look at it, and set verify=False to accept it. Ask the vendor about the "
        "job. No new video is made unless the request is changed."
    )


class TargetExists(LandingError):
    """Another file exists at the target path."""

    next_step = (
        "Choose another output_path, or set overwrite, and clear the task before the link expires: "
        "it stores this video, no new one is made."
    )


# --- the ledger -----------------------------------------------------------------------------------------


class LedgerUnreadable(VidgenError):
    """The ledger of earlier tries cannot be read or written, so nothing is submitted."""

    fatal = False
    billing = Billing.MAYBE
    next_step = "This try submitted nothing. A retry reads the ledger again."
