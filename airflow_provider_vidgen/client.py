# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One account at one vendor: the vendor's contract joined to a transport."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    InvalidRequest,
    JobConnectionMismatch,
    Problem,
    StatusRateLimited,
    StatusUnavailable,
    SubmitError,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    VidgenError,
)
from airflow_provider_vidgen.http import retry_policy
from airflow_provider_vidgen.http.retry_policy import WhenAtCapacity
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import JobPoller
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply

if TYPE_CHECKING:
    from airflow_provider_vidgen.http.loop_resources import LoopResources
    from airflow_provider_vidgen.http.triggerer import PreparedCall


def check_request(settings: ConnectionSettings, request: VideoRequest) -> list[Problem]:
    """
    Judge a request before anything is paid.

    :return: what is doubtful.
    :raises InvalidRequest: with everything that is wrong.
    """
    problems = settings.vendor.problems(request, allow_private=settings.allow_private_urls)
    wrong = [problem for problem in problems if problem.is_error]
    if wrong:
        raise InvalidRequest(f"{settings.vendor.label} would not take this request", wrong)
    return problems


def check_job(settings: ConnectionSettings, job: VideoJob) -> None:
    """
    Refuse to ask one host about another's job.

    :raises JobConnectionMismatch: the connection has been changed to another vendor or base URL.
    """
    found = (("vendor", settings.vendor.name, job.vendor), ("host", settings.base_url, job.base_url))
    problems = [
        Problem(field=field, value=now, constraint=f"must be {then}, where the job was submitted")
        for field, now, then in found
        if now != then
    ]
    if problems:
        raise JobConnectionMismatch(
            f"The connection {settings.conn_id!r} cannot be used for {job}", problems, job=job
        )


@contextmanager
def _naming(job: VideoJob) -> Iterator[None]:
    """Have an error of the transport, which knows no jobs, say which job it is about."""
    try:
        yield
    except StatusUnavailable as error:
        error.job = job
        raise


class WorkerClient:
    """
    Submit, ask and wait, blocking. For workers.

    :param now: the clock.
    :param sleep: waits for so many seconds.
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
        Send the paid call; again only where the vendor cannot have taken it.

        :param idempotency_key: one for the logical request, the same for each time it is sent.
        :param when_at_capacity: ``"wait"`` tries a few times within a minute or so if the vendor has no capacity,
            ``"raise"`` leaves that to the caller.
        :raises SubmitError: see the subclass for what is known of the job.
        """
        vendor = self.settings.vendor
        key = idempotency_key if vendor.idempotency_window else None
        call = vendor.submit_call(request, idempotency_key=key)

        doubt: SubmitError | None = None

        def send() -> Submission:
            nonlocal doubt
            try:
                reply = self._transport.submit(call)
                return self._read_submit(request, reply)
            except (SubmitOutcomeUnknown, SubmitInFlight) as error:
                doubt = error
                raise

        try:
            return retry_policy.submitting(
                has_key=key is not None, when_at_capacity=when_at_capacity, sleep=self._sleep
            )(send)
        except SubmitOutcomeUnknown:
            raise
        except SubmitError as error:
            if doubt is None:
                raise
            # What came last, a refusal even, does not tell that an earlier sending was not taken.
            unknown = SubmitOutcomeUnknown(
                doubt.summary,
                job=doubt.job,
                vendor_code=doubt.vendor_code,
                vendor_message=doubt.vendor_message,
                retry_after=error.retry_after,
            )
            unknown.at_capacity = error.at_capacity
            raise unknown from None

    def _read_submit(self, request: VideoRequest, reply: HttpReply) -> Submission:
        """Read the answer to a paid call; a vendor's file that stumbles over it leaves the outcome open."""
        vendor = self.settings.vendor
        try:
            return vendor.read_submit(request, self.settings.base_url, reply, now=self._now())
        except SubmitError:
            raise
        except Exception as error:
            summary = f"{vendor.label} answered HTTP {reply.status}, which could not be read"
            # From nothing: the error's text may quote the reply, and the reply the prompt.
            raise SubmitOutcomeUnknown(f"{summary} ({type(error).__name__})") from None

    def status(self, job: VideoJob) -> JobStatus:
        """
        Ask about a job, a few times if the vendor does not answer.

        :raises StatusError: no answer about the job.
        """
        return retry_policy.asking(sleep=self._sleep)(self._status_once, job)

    def _status_once(self, job: VideoJob) -> JobStatus:
        check_job(self.settings, job)
        vendor = self.settings.vendor
        with _naming(job):
            reply = self._transport.get(vendor.status_call(job))
        return vendor.read_status(job, reply, now=self._now())

    def wait(
        self, poller: JobPoller, on_change: Callable[[JobStatus], None] = lambda status: None
    ) -> JobStatus:
        """
        Ask until the job has ended, on the schedule of ``watch``.

        :param on_change: called with each status.
        :return: the last status: a video, or the job's failure.
        :raises StatusError: the deadline passed, or a budget for failed checks is used up.
        """
        delay: float | None = poller.first_delay(self._now())
        while delay is not None:
            self._sleep(delay)
            try:
                status = self._status_once(poller.job)
            except VidgenError as error:
                delay = poller.after_error(error, self._now())
                continue
            on_change(status)
            delay = poller.after_status(status, self._now())
        return status

    def list_models(self) -> list[str]:
        """
        Return the vendor's models: its live list where its document has one, else those of the document.

        :raises VidgenError: the vendor gave no list.
        """
        vendor = self.settings.vendor
        call = vendor.models_call()
        if call is None:
            return list(vendor.models)
        return vendor.read_models(self._transport.get(call))

    def test(self) -> tuple[bool, str]:
        """
        Try the account free of charge: the model list, or the status of a job that cannot exist.

        :return: whether it works, and a sentence about it.
        """
        vendor, where = self.settings.vendor, self.settings.base_url
        model = self.settings.model or next(iter(vendor.models))
        nobody = VideoJob(vendor=vendor.name, base_url=where, model=model, task_id="connection-test")
        try:
            reply = self._transport.get(vendor.models_call() or vendor.status_call(nobody))
        except StatusUnavailable as error:
            return False, f"{where} cannot be reached: {error.summary}."
        code = vendor.reply_status_code(reply)
        if code is None or vendor.is_wrong_endpoint(reply):
            return False, f"{where} answers, but not as {vendor.label} does: HTTP {reply.status}."
        if code in (401, 403):
            return False, f"{where} was reached, and {vendor.label} refuses the API key ({code})."
        if code == 429 or code >= 500:
            return False, f"{where} was reached, and {vendor.label} cannot answer now ({code})."
        return True, f"{vendor.label} accepts the API key."


class TriggererClient:
    """
    Ask about one job, without blocking the loop. For one trigger.

    :param resources: what the triggers of the loop share.
    """

    def __init__(self, settings: ConnectionSettings, resources: LoopResources) -> None:
        self.settings = settings
        self.account = resources.account(settings)
        self._resources = resources
        self._asked_at = asyncio.get_running_loop().time()
        self._check: PreparedCall | None = None
        self._last: tuple[bytes, JobStatus] | None = None

    async def status(self, job: VideoJob, *, max_wait: float = math.inf) -> JobStatus:
        """
        Ask about the job, once, when it is its turn.

        :param max_wait: seconds to wait for the turn at most.
        :raises StatusError: no answer about the job.
        """
        vendor = self.settings.vendor
        if self._check is None:
            check_job(self.settings, job)
        try:
            if self._check is None:
                self._check = self._call(vendor.status_call(job))
            self._asked_at = await self.account.acquire(self._asked_at, max_wait=max_wait)
            reply = await self._send(self._check)
        except TimeoutError:
            summary = f"The pace that {vendor.label} allows left no room for a check"
            raise StatusUnavailable(summary, job=job) from None
        except StatusUnavailable as error:
            error.job = job
            raise
        if self._last is not None and reply.status == 200 and reply.content == self._last[0]:
            return self._last[1]
        try:
            status = vendor.read_status(job, reply, now=utcnow())
        except StatusRateLimited as error:
            self.account.on_rate_limited(sent_at=self._asked_at, retry_after=error.retry_after)
            raise
        # The same words as last time say the same. Only when links expire is counted from their reply.
        self._last = None if status.result_urls or reply.status != 200 else (reply.content, status)
        return status

    async def cancel(self, job: VideoJob) -> str:
        """
        Cancel a job if its vendor can.

        :return: a sentence about what became of it.
        :raises StatusUnavailable: the vendor could not be told.
        """
        check_job(self.settings, job)
        label, call = self.settings.vendor.label, self.settings.vendor.cancel_call(job)
        goes_on = f"{job} goes on there and may be billed. Clearing the task asks about the same job"
        if call is None:
            return f"{label} cannot cancel jobs: {goes_on}"
        with _naming(job):
            reply = await self._send(self._call(call))
        if reply.status < 300:
            return f"{label} was told to cancel {job}"
        return f"{label} did not cancel (HTTP {reply.status}): {goes_on}"

    def _call(self, call: HttpCall) -> PreparedCall:
        from airflow_provider_vidgen.http.triggerer import PreparedCall

        return PreparedCall(self.settings, call)

    async def _send(self, call: PreparedCall) -> HttpReply:
        tls = await self._resources.tls() if call.over_tls else None
        async with self._resources.connections:
            return await call.send(self._resources.session, tls)
