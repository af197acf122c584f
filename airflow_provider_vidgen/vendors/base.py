# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What every vendor's file gives, and the reading of replies that is the same for all.

A vendor does no I/O: it turns a request into an :class:`HttpCall` and an :class:`HttpReply` into a state.
A new vendor is one subclass, found through the entry point group ``airflow_provider_vidgen.vendors``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypedDict

from airflow_provider_vidgen.errors import (
    BadCredentials,
    JobNotFound,
    Problem,
    RateLimited,
    StatusRateLimited,
    StatusRefused,
    StatusUnavailable,
    SubmitInFlight,
    SubmitOutcomeUnknown,
    SubmitRefused,
    VendorUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.models import (
    Cost,
    Failure,
    FailureCategory,
    JobState,
    JobStatus,
    Submission,
    VideoJob,
    VideoRequest,
)
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.vendors.exchange import (
    HttpCall,
    HttpReply,
    describe,
    effective_code,
    vendor_code,
    vendor_message,
)
from airflow_provider_vidgen.vendors.reading import (
    UnreadableReply,
    dig,
    moment,
    number,
    parse_json,
    percent,
    text,
)
from airflow_provider_vidgen.vendors.refusals import is_elsewhere, kind_of_refusal, model_unknown
from airflow_provider_vidgen.vendors.retry_after import retry_after
from airflow_provider_vidgen.vendors.rules import ModelRules, check_model_rules, check_request, shown
from airflow_provider_vidgen.vendors.words import classify_job_failure, known_state


class _Told(TypedDict):
    vendor_code: str
    vendor_message: str


class Vendor(ABC):
    """One vendor's documented contract."""

    #: The name in the connection's ``vendor`` field.
    name: ClassVar[str]
    label: ClassVar[str]
    default_base_url: ClassVar[str]
    schedule: ClassVar[Schedule]
    #: How long result links live by the vendor's document.
    retention: ClassVar[timedelta | None] = None
    requests_per_minute: ClassVar[int | None] = None
    max_concurrent: ClassVar[int | None] = None
    #: How long the vendor takes the same request under the same idempotency key only once; ``None``: never.
    idempotency_window: ClassVar[timedelta | None] = None
    accepts_data_urls: ClassVar[bool] = False
    #: Field of the vendor's body -> field of :class:`VideoRequest` that fills it; a dot means nesting.
    mapped_fields: ClassVar[Mapping[str, str]]
    #: What the documents say of each model. A model that is not here is passed with a warning.
    models: ClassVar[Mapping[str, ModelRules]]
    #: The vendor's failure codes, normalised by :func:`.words.normal`.
    fail_codes: ClassVar[Mapping[str, FailureCategory]] = {}

    # --- the request ------------------------------------------------------------------------------------

    def problems(self, request: VideoRequest, *, allow_private: bool = False) -> list[Problem]:
        """
        Judge a request before anything is paid: everything wrong or doubtful with it, at once.

        :param allow_private: callbacks may be http and private.
        """
        found = check_request(self, request, allow_private=allow_private)
        rules = self.models.get(request.model) if isinstance(request.model, str) else None
        if rules is not None:
            found += check_model_rules(rules, request, images=self.count_images(request))
        elif isinstance(request.model, str) and request.model:
            known = ", ".join(self.models)
            found.append(
                Problem(
                    field="model",
                    value=shown(request.model),
                    constraint=f"unknown to the {self.label} document, so no model rules apply; known: {known}",
                    is_error=False,
                )
            )
        return found + self.vendor_problems(request)

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Judge what only this vendor has."""
        return []

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether the video has the ratio that is asked for, and not that of a reference image."""
        return True

    def count_images(self, request: VideoRequest) -> int:
        """Return how many reference images the request carries."""
        return len(request.image_urls) if isinstance(request.image_urls, list | tuple) else 0

    @abstractmethod
    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """Return the one paid call for a request that :meth:`problems` found nothing to reject in."""

    @abstractmethod
    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the free call that asks about a job."""

    def cancel_call(self, job: VideoJob) -> HttpCall | None:
        """Return the call that cancels a job, where the vendor documents one."""
        return None

    def models_call(self) -> HttpCall | None:
        """Return the free call that lists models, where the vendor documents one."""
        return None

    def is_synchronous(self, request: VideoRequest) -> bool:
        """Whether the submit call itself blocks until the video is there."""
        return False

    # --- the reply to a submission ----------------------------------------------------------------------

    def read_submit(
        self, request: VideoRequest, base_url: str, reply: HttpReply, *, now: datetime
    ) -> Submission:
        """
        Read what the vendor answered to the paid call.

        :param base_url: becomes part of the handle.
        :raises SubmitError: no job handle; the subclass tells whether one may exist all the same.
        """
        body = self._json_or_none(reply)
        code = effective_code(reply, body)
        told = _Told(
            vendor_code=vendor_code(body), vendor_message=redact(vendor_message(body), [text(request.prompt)])
        )
        where = f"{self.label} answered the submission with {describe(reply, body)}"
        task_id = self.find_task_id(body)
        if not task_id.isprintable() or "\ufffd" in task_id:
            task_id = ""  # nothing could be asked about it
        job = VideoJob(vendor=self.name, base_url=base_url, model=request.model, task_id=task_id)
        if 200 <= code < 300 or code == 0:
            status = self.submit_status(body, now)
            ended = status.has_video or (status.failure is not None and self.is_synchronous(request))
            if task_id or ended:
                return Submission(job=job, status=status)
            raise SubmitOutcomeUnknown(f"{where}, which names no job", **told)
        if task_id:
            raise SubmitOutcomeUnknown(f"{where}, which names a job all the same", job=job, **told)
        if code in (425, 429):
            raise RateLimited(where, retry_after=retry_after(reply.headers, now), **told)
        if code == 409 and self.idempotency_window is not None:
            raise SubmitInFlight(where, **told)
        if self.is_model_unknown(code, body):
            asked = shown(request.model)
            raise SubmitRefused(
                f"{where}: it does not know the model {asked}",
                next_step=f"Correct the model {asked}: list_models() of the hook gives the names there are. "
                "If it is one of them, nobody serves it just now; clear the task later.",
                **told,
            )
        if code == 503 and self.is_not_accepted(body):
            raise VendorUnavailable(where, **told)
        if refusal := kind_of_refusal(code, reply, body, self.fail_codes):
            raise refusal(where, **told)
        raise SubmitOutcomeUnknown(where, **told)

    def is_model_unknown(self, code: int, body: Any) -> bool:
        """
        Whether the vendor refuses because it does not know the model.

        :param code: the reply's effective code.
        """
        return code in (400, 404, 422) and model_unknown(vendor_code(body), vendor_message(body))

    def is_not_accepted(self, body: Any) -> bool:
        """Whether a 503 says in a form known to us that no job was made."""
        return False

    @abstractmethod
    def find_task_id(self, body: Any) -> str:
        """Return the job id in a reply to a submission, or ``""``."""

    @abstractmethod
    def submit_status(self, body: Any, now: datetime) -> JobStatus:
        """Return the state a reply to a submission tells."""

    # --- the reply to a check ---------------------------------------------------------------------------

    def read_status(self, job: VideoJob, reply: HttpReply, *, now: datetime) -> JobStatus:
        """
        Read what the vendor answered about a job.

        :param now: when the reply came, UTC; expiry is counted from here where no time is given.
        :raises StatusUnavailable: this check brought nothing, the next may.
        :raises StatusRateLimited: of these, the key asks too often.
        :raises StatusRefused: the key may not ask.
        :raises JobNotFound: the vendor says that it does not know the job, or not yet.
        """
        body = self._json_or_none(reply)
        code = effective_code(reply, body)
        good, missing = 200 <= code < 300 or code == 0, self.is_job_not_found(code, body)
        # Thousands of good replies a minute are read here; the rest is for messages about the others.
        if good and not missing and (status := self.job_status(body, now)) is not None:
            return status
        where = f"{self.label} answered the status check with {describe(reply, body)}"
        told = _Told(vendor_code=vendor_code(body), vendor_message=redact(vendor_message(body)))
        if missing:
            raise JobNotFound(where, job=job, **told)
        if code in (401, 403):
            raise StatusRefused(where, job=job, **told)
        if good:
            where += ", which names no state"
        if code in (404, 405) or body is None:
            where += ", not in its own words: the connection's host or vendor may be wrong"
        kind = StatusRateLimited if code == 429 else StatusUnavailable
        raise kind(where, job=job, retry_after=retry_after(reply.headers, now), **told)

    def is_job_not_found(self, code: int, body: Any) -> bool:
        """
        Whether the vendor says, in its own form and words, that it does not know the job.

        Any host answers 404 to a path it does not have, and a paid job must not count as lost for that.
        Recognise too little rather than too much: what is not recognised is asked again.

        :param code: the reply's effective code.
        """
        return False

    @abstractmethod
    def job_status(self, body: Any, now: datetime) -> JobStatus | None:
        """Return the state a reply to a check tells, or ``None`` if it tells none."""

    def is_elsewhere(self, reply: HttpReply) -> bool:
        """Whether a 404 or 405 is about the path, or not in any form that vendors' errors have."""
        return is_elsewhere(reply, self._json_or_none(reply))

    def reply_code(self, reply: HttpReply) -> int | None:
        """Return the code that counts of any reply, or ``None`` if it is not JSON at all."""
        body = self._json_or_none(reply)
        return None if body is None else effective_code(reply, body)

    def read_models(self, reply: HttpReply) -> list[str]:
        """
        Read a list of models in the usual ``{"data": [{"id": ...}]}`` form.

        :raises VidgenError: the vendor gave no list.
        """
        body = self._json_or_none(reply)
        where = f"{self.label} answered the model list with {describe(reply, body)}"
        if effective_code(reply, body) == 401:
            raise BadCredentials(where, vendor_message=redact(vendor_message(body)))
        listed = dig(body, "data")
        if reply.status >= 300 or not isinstance(listed, list):
            raise VidgenError(where, vendor_message=redact(vendor_message(body)))
        return [name for name in (text(dig(item, "id")) or text(item) for item in listed) if name]

    # --- shared by the vendors' readers -----------------------------------------------------------------

    def state_of(self, word: Any) -> tuple[JobState, bool]:
        """Return our word for a vendor's, and whether it was understood; unknown words count as running."""
        state = known_state(text(word))
        return (state, True) if state else (JobState.RUNNING, False)

    def category_of(self, code: str, words: str) -> FailureCategory:
        """Return why a job failed, from the vendor's code and words."""
        return classify_job_failure(f"{code} {words}", self.fail_codes)

    def make_status(
        self,
        word: Any,
        *,
        now: datetime,
        urls: tuple[str, ...] = (),
        thumbnails: tuple[str, ...] = (),
        progress: Any = None,
        created_at: Any = None,
        completed_at: Any = None,
        expires_at: Any = None,
        duration_seconds: Any = None,
        cost: Cost | None = None,
        fail_code: Any = None,
        fail_words: Any = None,
    ) -> JobStatus:
        """
        Put together a status from a vendor's values, each of which may be of any type.

        Links count on success only; before it the same fields have been seen to hold other text.
        """
        state, known = self.state_of(word)
        succeeded = state is JobState.SUCCEEDED
        completed, reported = moment(completed_at), moment(expires_at)
        failure = None
        if state is JobState.CANCELLED:
            failure = Failure(category=FailureCategory.CANCELLED, message=redact(text(fail_words)))
        elif state is JobState.FAILED:
            code, words = redact(text(fail_code))[:100], text(fail_words)
            failure = Failure(category=self.category_of(code, words), code=code, message=redact(words))
        documented = _later(completed or now, self.retention) if succeeded else None
        return JobStatus(
            state=state,
            # An unknown word goes into logs and errors, and may be anything.
            raw_state=(text(word) if known else redact(text(word)))[:100],
            known_state=known,
            progress=percent(progress),
            result_urls=urls if succeeded else (),
            thumbnail_url=thumbnails[0] if succeeded and thumbnails else None,
            created_at=moment(created_at),
            completed_at=completed,
            expires_at=(reported or documented) if succeeded else None,
            expires_basis="unknown"
            if not succeeded
            else "reported"
            if reported
            else "documented"
            if documented
            else "unknown",
            duration_seconds=number(duration_seconds) if succeeded else None,
            cost=cost,
            failure=failure,
        )

    def _json_or_none(self, reply: HttpReply) -> Any:
        try:
            return parse_json(reply.content)
        except UnreadableReply:
            return None


def _later(start: datetime, by: timedelta | None) -> datetime | None:
    try:
        return None if by is None else start + by
    except OverflowError:
        return None
