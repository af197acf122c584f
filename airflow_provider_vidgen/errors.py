# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Every way it can go wrong, one class each. No I/O.

Each message says what happened, with which job, what that means for the money, and what to do next.
The class carries what Airflow has to know: whether another automatic try can help (``fatal``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from airflow_provider_vidgen.models import Failure, FailureCategory, VideoJob

#: How a task is told of a job that it does not know, or has given up; see :mod:`.cli`.
_ADOPT = "airflow vidgen adopt DAG_ID RUN_ID TASK_ID [--map-index N] --job-id ID"


class Billing(StrEnum):
    """What an error means for the bill."""

    NOT_SPENT = "Nothing was spent."
    MAYBE = "Billing may have been spent."
    SPENT = "The video was paid for."
    JOB_GOES_ON = "The job goes on at the vendor and may be billed."
    PER_VENDOR = "Whether a failed job is billed is the vendor's policy."


@dataclass(frozen=True, kw_only=True)
class Problem:
    """
    One thing wrong, or doubtful, with a request or a connection.

    :param field: the field as the user knows it.
    :param value: what it held, safe to show.
    :param allowed: what it may hold.
    :param rejects: ``True`` refuses the request, ``False`` only warns.
    """

    field: str
    value: str
    constraint: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.field}={self.value}: {self.constraint}"


class VidgenError(Exception):
    """
    Base of all errors of this package.

    :param what: what happened, one sentence without a full stop.
    :param job: the job it happened to, if there is one.
    :param code: the vendor's own code.
    :param words: the vendor's own words, already redacted.
    :param retry_after: seconds the vendor asked to wait, if it did.
    :param next_step: what to do next, where the class's own advice does not fit.
    """

    #: Another automatic try would fail again, or pay again.
    fatal: ClassVar[bool] = True
    billing: ClassVar[Billing] = Billing.NOT_SPENT
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

    def __str__(self) -> str:
        detail = " ".join(part for part in (self.vendor_code, self.vendor_message) if part)
        parts = [
            f"{self.summary}." if not detail else f'{self.summary}: "{detail}".',
            f"Job: {self.job}." if self.job and self.job.task_id else "",
            str(self.billing),
            self.next_step,
        ]
        return " ".join(part for part in parts if part)


# --- before anything is sent ----------------------------------------------------------------------------


class _Refused(VidgenError):
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

    def __str__(self) -> str:
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{self.summary}:{lines}\n{self.billing} {self.next_step}"


class InvalidRequest(_Refused):
    """The request breaks the vendor's documented rules; it was not sent."""

    next_step = "Correct the fields above."


class InvalidConnection(_Refused):
    """The Airflow connection cannot be used as it is."""

    next_step = "Correct the connection."


class JobConnectionMismatch(InvalidConnection):
    """The job was submitted at another vendor or base URL than the connection has now."""

    fatal = False
    billing = Billing.JOB_GOES_ON
    next_step = (
        "Set the connection back, and a retry or a clear asks about the same job. To leave it behind for a "
        "new, paid one run `airflow vidgen regenerate DAG_ID RUN_ID TASK_ID` and clear the task."
    )


class StorageUnreachable(VidgenError):
    """The storage that a video is to land in does not answer, or not so that it could be used."""

    fatal = False
    next_step = "Check the storage and its connection; a retry looks again, and then submits."


# --- submit ---------------------------------------------------------------------------------------------


class SubmitError(VidgenError):
    """
    A submission that brought no job handle.

    :param at_capacity: the vendor had no capacity, and the same request may be sent again once it has;
        ``None`` keeps the class's own value.
    """

    at_capacity: bool = False

    def __init__(self, summary: str, *, at_capacity: bool | None = None, **kw: Any) -> None:
        super().__init__(summary, **kw)
        if at_capacity is not None:
            self.at_capacity = at_capacity


class ConnectionFailed(SubmitError):
    """The vendor was never reached: no name, no connection, no TLS."""

    fatal = False
    next_step = "Check the connection's host and the network; a retry submits."


class RateLimited(SubmitError):
    """The vendor had no capacity (429)."""

    fatal = False
    at_capacity = True
    next_step = (
        "A retry submits. With a larger timeout the task waits longer for capacity; "
        "max_active_tis_per_dagrun, or a pool that counts deferred tasks, keeps fewer jobs under way."
    )


class VendorUnavailable(SubmitError):
    """The vendor said in so many words that it took nothing (a recognised 503)."""

    fatal = False
    next_step = "A retry submits."


class SubmitOutcomeUnknown(SubmitError):
    """The request was sent and its fate is not known: the job may exist and be billed."""

    billing = Billing.MAYBE
    next_step = (
        f"If the job is in the vendor's console, give its id to the task with `{_ADOPT}` and clear the task; "
        "if it is not, clear the task: that submits a new, paid job."
    )


class UnknownSubmitWillResend(SubmitOutcomeUnknown):
    """Its fate is not known, and under the same idempotency key the vendor takes it only once."""

    fatal = False
    next_step = (
        "A retry or a clear soon sends the same request under the same key, which is not billed twice. "
        "Once the vendor has forgotten the key, a clear submits a new, paid job: look in its console first, "
        f"and give a job that is there to the task with `{_ADOPT}`."
    )


class UnknownSubmitWillResubmit(SubmitOutcomeUnknown):
    """Its fate is not known, and ``on_unknown_submit="resubmit"`` accepts a second bill."""

    fatal = False
    next_step = "A retry submits a new job, as on_unknown_submit='resubmit' asks, and both may be billed."


class JobNotRecorded(SubmitError):
    """The vendor accepted the job, and its id could not be written down."""

    billing = Billing.JOB_GOES_ON
    next_step = (
        f"Give this job id to the task with `{_ADOPT}` and clear the task: it asks about this job. "
        "Without that a clear reports an unknown submission, and the next one submits a new, paid job."
    )


class SubmitInFlight(SubmitError):
    """The vendor is still at work on the same idempotency key (409)."""

    billing = Billing.MAYBE
    fatal = False
    next_step = "The same request is sent again under the same key."


class SubmitRefused(SubmitError):
    """The vendor refused the request."""

    next_step = "Correct the request; a retry as it is would be refused again."


class WrongEndpoint(SubmitRefused):
    """What answered has no such path, or does not speak as the connection's vendor does."""

    next_step = (
        "Check the connection's host (with its path, if it has one) and its vendor, then clear the task."
    )


class BadCredentials(SubmitRefused):
    """The vendor does not accept the API key (401)."""

    next_step = "Correct the API key (password) of the connection."


class PermissionDenied(SubmitRefused):
    """The API key may not do this (403)."""

    next_step = "Check the key's permissions, quota and models in the vendor's console."


class InsufficientFunds(SubmitRefused):
    """The account has no credit."""

    next_step = "Top up the account at the vendor, then clear the task."


class ContentRefused(SubmitRefused):
    """The vendor refused the content before it took the job."""

    next_step = "Change the prompt or the images."


# --- status ---------------------------------------------------------------------------------------------


class StatusError(VidgenError):
    """A look at a job that did not bring an end."""

    billing = Billing.JOB_GOES_ON


class StatusUnavailable(StatusError):
    """A check failed; the job itself did not."""

    fatal = False
    next_step = "The job stays attached: a retry asks about the same job."


class StatusRateLimited(StatusUnavailable):
    """The vendor has been asked too often by this key (429)."""


class StatusRefused(StatusError):
    """The API key may not ask about the job (401 or 403)."""

    fatal = False
    next_step = (
        "Correct the API key or its permissions. The job stays attached: a retry, or a clear, asks about the "
        "same job."
    )


class AccountChanged(StatusError):
    """The vendor does not know the job when asked with another API key than the one that submitted it."""

    billing = Billing.MAYBE
    next_step = (
        "Give the connection the API key of the account that submitted the job, and clear the task: it asks "
        "about the same job. To leave it behind for a new, paid one run "
        "`airflow vidgen regenerate DAG_ID RUN_ID TASK_ID` and clear the task."
    )


class JobNotFound(StatusError):
    """The vendor does not know the job, or not yet."""

    fatal = False
    next_step = "The job stays attached: a retry asks about the same job."


class JobLost(StatusError):
    """The vendor has repeatedly not known the job."""

    billing = Billing.MAYBE
    next_step = (
        "The next clear asks the vendor once more, and submits a new, paid job if it still does not know "
        f"this one. If the vendor's console has the job under another id, `{_ADOPT}` first."
    )


class ResultMissing(StatusError):
    """The vendor calls the job finished and gives no usable link."""

    billing = Billing.SPENT
    next_step = "Ask the vendor about the job; clearing the task asks about the same job again."


class DeadlineExceeded(StatusError):
    """The job did not end in time."""

    fatal = False
    next_step = (
        "The job stays attached: a retry looks once more, "
        "and a larger timeout with a clear of the task goes on waiting for the same job."
    )


class TriggerError(StatusError):
    """What the triggerer reported cannot be used."""

    fatal = False
    next_step = "The job stays attached: a retry asks about the same job."


# --- the job's own end ----------------------------------------------------------------------------------


class GenerationFailed(VidgenError):
    """
    The vendor ended the job without a video, for reasons of its own.

    :param failure: the vendor's code and words, and our category.
    """

    fatal = False
    billing = Billing.PER_VENDOR
    next_step = "A retry submits a new job, which may cost again."

    def __init__(
        self, failure: Failure, *, job: VideoJob | None = None, next_step: str | None = None
    ) -> None:
        super().__init__(
            f"The vendor ended the job without a video ({failure.category})",
            job=job,
            vendor_code=failure.code,
            vendor_message=failure.message,
            next_step=next_step,
        )
        self.failure = failure


class ContentRejected(GenerationFailed):
    """The job ended because its content is not allowed."""

    fatal = True
    next_step = "Change the prompt or the images; the same content would be rejected again."


class InputRejected(GenerationFailed):
    """The job ended because an input cannot be used."""

    fatal = True
    next_step = "Correct the inputs; the same ones would fail again."


class FundsExhausted(GenerationFailed):
    """The job ended because the account has no credit."""

    fatal = True
    next_step = "Top up the account at the vendor, then clear the task."


class JobCancelled(GenerationFailed):
    """Somebody cancelled the job at the vendor."""

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
    """The video exists, its file does not."""

    billing = Billing.SPENT


class UnsafeLink(LandingError):
    """A link that must not be fetched."""

    next_step = (
        "If the host is meant to be reached, set allow_private_urls in the connection; "
        "it permits http and private addresses."
    )


class DownloadBlocked(LandingError):
    """The environment of this worker, and not the link, keeps the file from being fetched."""

    next_step = "Correct it and clear the task: it downloads again; no new video is made."


class DownloadFailed(LandingError):
    """The file could not be fetched whole."""

    fatal = False
    next_step = "A retry downloads again; no new video is made."


class NotAVideo(LandingError):
    """What the link gave is not a video."""

    fatal = False
    next_step = "A retry asks the vendor for a fresh link and downloads again; no new video is made."


class FileTooLarge(NotAVideo):
    """The link gives more bytes than any video has."""

    next_step = "A retry downloads again; no new video is made."


class LinkUnavailable(LandingError):
    """The link is dead (401, 403, 404, 410), though its time has not passed as far as is known."""

    fatal = False
    next_step = "A retry asks the vendor for the link again and downloads; no new video is made."


class ResultExpired(LandingError):
    """The link's time has passed, it is dead, and the vendor gives no other."""

    next_step = (
        "Ask the vendor for the file. A clear of the generating task asks for a live link once more, and "
        "submits a new, paid job if there is none."
    )


class StorageError(LandingError):
    """The storage did not take the file, or does not say what it holds."""

    fatal = False
    next_step = (
        "Check the storage, its connection and permissions. A retry downloads again; no new video is made."
    )


class VideoMismatch(LandingError):
    """The file is whole and in its place, but not what was asked for, and ``verify="fail"`` is set."""

    next_step = (
        "The file stays where it is: look at it, and set verify=True to accept it. No new video is made "
        "unless the request is changed."
    )


class NotPlayable(LandingError):
    """The file has all its bytes and is in its place, and no player can read it."""

    next_step = (
        "The file stays where it is: look at it, and set verify=False to accept it. Ask the vendor about the "
        "job. No new video is made unless the request is changed."
    )


class TargetExists(LandingError):
    """Another file is already at the path."""

    next_step = (
        "Choose another output_path, or set overwrite, and clear the task while the link lives: "
        "it lands this video, no new one is made."
    )


# --- the ledger -----------------------------------------------------------------------------------------


class LedgerUnreadable(VidgenError):
    """What earlier tries did cannot be read, so nothing is submitted."""

    fatal = False
    billing = Billing.MAYBE
    next_step = "Nothing was submitted by this try. A retry reads again."
