# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Clients for one account at one vendor: blocking for workers, asynchronous for the triggerer.

Each client imports its HTTP library itself, when it is first used: requests takes 45 to 80 ms, aiohttp 105 to
125 ms, and a process rarely needs both.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.account_check import answering_vendor, check_account
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    InvalidRequest,
    JobConnectionMismatch,
    Problem,
    RateLimited,
    StatusRateLimited,
    StatusUnavailable,
    SubmitError,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    VidgenError,
    WrongEndpoint,
)
from airflow_provider_vidgen.http import retry_policy
from airflow_provider_vidgen.http.retry_policy import WhenAtCapacity
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import JobPoller
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply

if TYPE_CHECKING:
    from airflow_provider_vidgen.http.loop_resources import LoopResources
    from airflow_provider_vidgen.http.triggerer import PreparedCall


def validate_request(settings: ConnectionSettings, request: VideoRequest) -> list[Problem]:
    """
    Validate a request before anything is paid.

    :return: warnings.
    :raises InvalidRequest: with all errors at once.
    """
    problems = settings.vendor.problems(request, allow_private=settings.allow_private_urls)
    errors = [problem for problem in problems if problem.is_error]
    if errors:
        raise InvalidRequest(f"{settings.vendor.label} would not accept this request", errors)
    return problems


def validate_job(settings: ConnectionSettings, job: VideoJob) -> None:
    """
    Check that a job was submitted to the connection's vendor and host.

    :raises JobConnectionMismatch: the connection has been changed to another vendor or base URL.
    """
    fields = (("vendor", settings.vendor.name, job.vendor), ("host", settings.base_url, job.base_url))
    problems = [
        Problem(field=field, value=current, constraint=f"must be {original}, where the job was submitted")
        for field, current, original in fields
        if current != original
    ]
    if problems:
        raise JobConnectionMismatch(
            f"The connection {settings.conn_id!r} cannot be used for {job}", problems, job=job
        )


class WorkerClient:
    """
    Submit a job, check it and wait for it; blocking, for workers.

    :param now: the clock.
    :param sleep: blocks for a number of seconds.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        now: Callable[[], datetime] = utcnow,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from airflow_provider_vidgen.http.worker import WorkerTransport

        self.settings = settings
        self._transport = WorkerTransport(settings)
        self._now = now
        self._sleep = sleep

    def submit(
        self,
        request: VideoRequest,
        *,
        idempotency_key: str | None = None,
        when_at_capacity: WhenAtCapacity = "wait",
    ) -> Submission:
        """
        Send the paid request, and send it again only where the vendor cannot have accepted it.

        :param idempotency_key: one per logical request, the same for every attempt.
        :param when_at_capacity: ``"wait"`` retries for about a minute if the vendor has no capacity,
            ``"raise"`` leaves that to the caller.
        :raises SubmitError: the subclass shows whether a job may exist.
        """
        vendor = self.settings.vendor
        key = idempotency_key if vendor.idempotency_window else None
        call = vendor.submit_call(request, idempotency_key=key)
        unknown: SubmitOutcomeUnknown | SubmitInFlight | None = None

        def submit_once() -> Submission:
            nonlocal unknown
            try:
                return self._read_submit(request, self._transport.submit(call))
            except (SubmitOutcomeUnknown, SubmitInFlight) as error:
                unknown = error
                raise
            except RateLimited:
                metrics.rate_limited(vendor.name, "submit")
                raise

        policy = retry_policy.submit_policy(
            has_idempotency_key=key is not None, when_at_capacity=when_at_capacity, sleep=self._sleep
        )
        try:
            submission = policy(submit_once)
        except SubmitOutcomeUnknown:
            metrics.unknown(vendor.name, request.model)
            raise
        except SubmitError as error:
            if unknown is None:
                raise self._naming_the_vendor(error) from None
            metrics.unknown(vendor.name, request.model)
            # The last attempt's outcome, even a refusal, does not prove that an earlier one was not accepted.
            raise SubmitOutcomeUnknown(
                unknown.summary,
                job=unknown.job,
                vendor_code=unknown.vendor_code,
                vendor_message=unknown.vendor_message,
                retry_after=error.retry_after,
                at_capacity=error.at_capacity,
            ) from None
        metrics.submitted(submission.job)
        return submission

    def _read_submit(self, request: VideoRequest, reply: HttpReply) -> Submission:
        """Parse the reply to a paid request; if parsing fails unexpectedly, the outcome is unknown."""
        vendor = self.settings.vendor
        try:
            return vendor.read_submit(request, self.settings.base_url, reply, now=self._now())
        except SubmitError:
            raise
        except Exception as error:
            summary = f"{vendor.label} answered HTTP {reply.status}, which could not be read"
            # `from None`: the error's text may quote the reply, and the reply the prompt.
            raise SubmitOutcomeUnknown(f"{summary} ({type(error).__name__})") from None

    def status(self, job: VideoJob) -> JobStatus:
        """
        Check a job once, with a few retries if the vendor does not answer.

        :raises StatusError: the state of the job is not known.
        """
        return retry_policy.status_policy(sleep=self._sleep)(self.status_once, job)

    def status_once(self, job: VideoJob) -> JobStatus:
        """
        Check a job once, without retries.

        :raises StatusError: the state of the job is not known.
        :raises JobConnectionMismatch: the job was submitted to another vendor or base URL.
        """
        validate_job(self.settings, job)
        vendor = self.settings.vendor
        reply = self._transport.get(vendor.status_call(job), job)
        try:
            return vendor.read_status(job, reply, now=self._now())
        except StatusRateLimited:
            metrics.rate_limited(vendor.name, "status")
            raise

    def wait(
        self,
        poller: JobPoller,
        on_status: Callable[[JobStatus], None] = lambda status: None,
        on_failed_check: Callable[[VidgenError, float], None] = lambda error, delay: None,
    ) -> JobStatus:
        """
        Poll until the job has ended.

        :param poller: decides when to poll.
        :param on_status: called with the status of each successful check.
        :param on_failed_check: called with the error and the seconds until the next check.
        :return: the last status: a video, or the job's failure.
        :raises StatusError: the deadline has passed, or too many checks failed.
        """
        delay: float | None = poller.first_delay(self._now())
        while delay is not None:
            self._sleep(delay)
            try:
                status = self.status_once(poller.job)
            except VidgenError as error:
                delay = poller.after_error(error, self._now())
                on_failed_check(error, delay)
                continue
            on_status(status)
            delay = poller.after_status(status, self._now())
        return status

    def list_models(self) -> list[str]:
        """
        Return the vendor's models: its live list if it has such an endpoint, else the documented ones.

        :raises VidgenError: the list could not be fetched.
        """
        vendor = self.settings.vendor
        call = vendor.models_call()
        if call is None:
            return list(vendor.models)
        return vendor.read_models(self._transport.get(call))

    def test(self) -> tuple[bool, str]:
        """
        Test the account free of charge: list the models, or check a job that does not exist.

        :return: whether it works, and a message for the user.
        """
        return check_account(self.settings, self._transport.get)

    def _naming_the_vendor(self, error: SubmitError) -> SubmitError:
        """Return an error that names the vendor whose host this is, if it is another's."""
        other = answering_vendor(self.settings, self._transport.get) if type(error) is WrongEndpoint else None
        if other is None:
            return error
        named = error.replaced(summary=f"{error.summary}: the host answers as {other.label} does")
        named.next_step = (
            f"Set the connection's vendor to {other.name!r}, or correct its host; then clear the task."
        )
        return named


class TriggererClient:
    """
    Poll one job without blocking the event loop. Each trigger has its own client.

    :param resources: what all triggers of the event loop share.
    """

    def __init__(self, settings: ConnectionSettings, resources: LoopResources) -> None:
        self.settings = settings
        self.limits = resources.limits_for(settings)
        self._resources = resources
        self._last_request_at = asyncio.get_running_loop().time()
        self._status_call: PreparedCall | None = None
        self._last_reply: tuple[bytes, JobStatus] | None = None

    async def status(self, job: VideoJob, *, max_wait: float = math.inf) -> JobStatus:
        """
        Check the job once, as soon as the account's rate limit allows.

        :param max_wait: longest wait for the rate limit, in seconds.
        :raises StatusError: the state of the job is not known.
        """
        vendor = self.settings.vendor
        if self._status_call is None:
            validate_job(self.settings, job)
            self._status_call = self._prepare(vendor.status_call(job), job)
        try:
            self._last_request_at = await self.limits.acquire(self._last_request_at, max_wait=max_wait)
        except TimeoutError:
            summary = f"The rate limit of {vendor.label} allowed no status check in time"
            raise StatusUnavailable(summary, job=job) from None
        reply = await self._status_call.send(self._resources)
        # Parsing is 30 % of the CPU time of a check (36 of 121 µs), and most replies repeat the one before.
        if self._last_reply is not None and reply.status == 200 and reply.content == self._last_reply[0]:
            return self._last_reply[1]
        try:
            status = vendor.read_status(job, reply, now=utcnow())
        except StatusRateLimited as error:
            metrics.rate_limited(vendor.name, "status")
            self.limits.on_rate_limited(sent_at=self._last_request_at, retry_after=error.retry_after)
            raise
        # A status with links is not reused: when they expire is counted from the time of the reply.
        self._last_reply = None if status.result_urls or reply.status != 200 else (reply.content, status)
        return status

    async def cancel(self, job: VideoJob) -> str:
        """
        Cancel a job if its vendor supports that.

        :return: a message about the outcome, for the log.
        :raises StatusUnavailable: the request to cancel was not answered.
        """
        validate_job(self.settings, job)
        label, call = self.settings.vendor.label, self.settings.vendor.cancel_call(job)
        continues = f"{job} continues there and may be billed. Clearing the task checks the same job"
        if call is None:
            return f"{label} cannot cancel jobs: {continues}"
        reply = await self._prepare(call, job).send(self._resources)
        if reply.status < 300:
            return f"{label} accepted the request to cancel {job}"
        return f"{label} did not cancel (HTTP {reply.status}): {continues}"

    def _prepare(self, call: HttpCall, job: VideoJob) -> PreparedCall:
        from airflow_provider_vidgen.http.triggerer import PreparedCall

        return PreparedCall(self.settings, call, job)
