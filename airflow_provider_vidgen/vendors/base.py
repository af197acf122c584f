# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The base class of vendors: what each one defines, and how the replies of all vendors are read.

A vendor does no I/O: it turns a request into an :class:`HttpCall` and an :class:`HttpReply` into a status.
A new vendor is one subclass, found through the entry point group ``airflow_provider_vidgen.vendors``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, TypedDict

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
from airflow_provider_vidgen.vendors.http_messages import (
    HttpCall,
    HttpReply,
    describe_reply,
    effective_status_code,
    parse_retry_after,
    vendor_code,
    vendor_message,
)
from airflow_provider_vidgen.vendors.parsing import (
    InvalidJson,
    get_path,
    parse_json,
    parse_number,
    parse_percent,
    parse_text,
    parse_timestamp,
)
from airflow_provider_vidgen.vendors.refusals import (
    classify_refusal,
    is_model_not_found_error,
    is_wrong_endpoint,
)
from airflow_provider_vidgen.vendors.request_values import preview
from airflow_provider_vidgen.vendors.validation import ModelRules, validate_for_model, validate_for_vendor
from airflow_provider_vidgen.vendors.vocabulary import classify_job_failure, parse_state


class _VendorDetail(TypedDict):
    """The vendor's own code and message, as arguments of an error."""

    vendor_code: str
    vendor_message: str


class Vendor(ABC):
    """One vendor's documented contract."""

    #: The name in the connection's ``vendor`` field.
    name: ClassVar[str]
    label: ClassVar[str]
    default_base_url: ClassVar[str]
    #: The page on which people see the account's jobs, if the vendor's document has one.
    console_url: ClassVar[str] = ""
    schedule: ClassVar[Schedule]
    #: How long result links work, by the vendor's document.
    retention: ClassVar[timedelta | None] = None
    requests_per_minute: ClassVar[int | None] = None
    max_concurrent: ClassVar[int | None] = None
    #: How long a repeated idempotency key creates no second job; ``None``: the vendor has no such keys.
    idempotency_window: ClassVar[timedelta | None] = None
    accepts_data_urls: ClassVar[bool] = False
    #: Field of the vendor's body (a dot means nesting) -> field of :class:`VideoRequest` that fills it.
    mapped_fields: ClassVar[Mapping[str, str]]
    #: The documented limits of each model. Other models are accepted with a warning.
    models: ClassVar[Mapping[str, ModelRules]]
    #: The vendor's own words for states, in lower case with underscores; they win over the common ones.
    states: ClassVar[Mapping[str, JobState]] = {}
    #: The vendor's failure codes in :func:`.vocabulary.normalize` form.
    fail_codes: ClassVar[Mapping[str, FailureCategory]] = {}

    # --- the request ------------------------------------------------------------------------------------

    def problems(self, request: VideoRequest, *, allow_private: bool = False) -> list[Problem]:
        """
        Validate a request before anything is paid: return all errors and warnings at once.

        :param allow_private: callbacks may be http and private.
        """
        problems = validate_for_vendor(self, request, allow_private=allow_private)
        rules = self.rules_of(request)
        if rules is not None:
            problems += validate_for_model(rules, request, images=self.count_images(request))
        elif isinstance(request.model, str) and request.model:
            constraint = f"not in the {self.label} document, so no limits of a model are checked"
            if self.models:
                constraint += f"; models in it: {', '.join(self.models)}"
            problems.append(
                Problem(field="model", value=preview(request.model), constraint=constraint, is_error=False)
            )
        return problems + self.vendor_problems(request)

    def vendor_problems(self, request: VideoRequest) -> list[Problem]:
        """Validate what only this vendor has."""
        return []

    def rules_of(self, request: VideoRequest) -> ModelRules | None:
        """Return the documented limits of the request's model, or ``None`` if the document lacks it."""
        return self.models.get(request.model) if isinstance(request.model, str) else None

    def estimate(self, request: VideoRequest) -> Cost | None:
        """
        Return the cost of a request by the vendor's documented prices, with their date.

        The default reads the price of the model's rules. A vendor whose prices depend on the length or the
        resolution overrides it.

        :return: ``None`` if the vendor documents no price, or the request lacks what the price depends on.
        """
        rules = self.rules_of(request)
        if rules is None or rules.price is None:
            return None
        price = rules.price
        return Cost(amount=price.amount, currency=price.currency, basis="estimated", as_of=price.as_of)

    def honours_aspect_ratio(self, request: VideoRequest) -> bool:
        """Whether the video gets the requested aspect ratio, and not that of a reference image."""
        return True

    def count_images(self, request: VideoRequest) -> int:
        """Return the number of reference images."""
        return len(request.image_urls) if isinstance(request.image_urls, list | tuple) else 0

    @abstractmethod
    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        """
        Return the one paid call.

        :param request: a request for which :meth:`problems` returned no error.
        :param idempotency_key: for vendors with an :attr:`idempotency_window`.
        """

    @abstractmethod
    def status_call(self, job: VideoJob) -> HttpCall:
        """Return the free call that reads a job's status."""

    def cancel_call(self, job: VideoJob) -> HttpCall | None:
        """Return the call that cancels a job, if the vendor documents one."""
        return None

    def models_call(self) -> HttpCall | None:
        """Return the free call that lists models, if the vendor documents one."""
        return None

    def is_synchronous(self, request: VideoRequest) -> bool:
        """Whether the submit call blocks until the video is ready."""
        return False

    # --- the reply to a submission ----------------------------------------------------------------------

    def read_submit(
        self, request: VideoRequest, base_url: str, reply: HttpReply, *, now: datetime
    ) -> Submission:
        """
        Read the reply to the paid call.

        :param base_url: becomes part of the handle.
        :raises SubmitError: no job handle; the subclass shows whether a job may exist nevertheless.
        """
        body = self._json_or_none(reply)
        status_code = effective_status_code(reply, body)
        detail = _VendorDetail(
            vendor_code=vendor_code(body),
            vendor_message=redact(vendor_message(body), [parse_text(request.prompt)]),
        )
        summary = f"{self.label} answered the submission with {describe_reply(reply, body)}"
        task_id = self.find_task_id(body)
        if not task_id.isprintable() or "\ufffd" in task_id:
            task_id = ""  # damaged: no status call could use it
        job = VideoJob(vendor=self.name, base_url=base_url, model=request.model, task_id=task_id)
        if _is_success(status_code):
            status = self.read_submit_body(body, now)
            ended = status.has_video or (status.failure is not None and self.is_synchronous(request))
            if task_id or ended:
                return Submission(job=job, status=status)
            raise SubmitOutcomeUnknown(f"{summary}, which names no job", **detail)
        if task_id:
            raise SubmitOutcomeUnknown(f"{summary}, which names a job nevertheless", job=job, **detail)
        if status_code in (425, 429):
            raise RateLimited(summary, retry_after=parse_retry_after(reply.headers, now), **detail)
        if status_code == 409 and self.idempotency_window is not None:
            raise SubmitInFlight(summary, **detail)
        if self.is_model_not_found(status_code, body):
            model = preview(request.model)
            raise SubmitRefused(
                f"{summary}: it does not know the model {model}",
                next_step=f"Correct the model {model}: list_models() of the hook returns the valid names. "
                "If it is one of them, it is unavailable at the moment; clear the task later.",
                **detail,
            )
        if status_code == 503 and self.is_not_accepted(body):
            raise VendorUnavailable(summary, **detail)
        if error_class := classify_refusal(status_code, reply, body, self.fail_codes):
            raise error_class(summary, **detail)
        raise SubmitOutcomeUnknown(summary, **detail)

    def is_model_not_found(self, status_code: int, body: Any) -> bool:
        """
        Whether the vendor refused the submission because it does not know the model.

        :param status_code: the reply's effective status code.
        """
        return status_code in (400, 404, 422) and is_model_not_found_error(
            vendor_code(body), vendor_message(body)
        )

    def is_not_accepted(self, body: Any) -> bool:
        """Whether a 503 has a known form which means that no job was created."""
        return False

    @abstractmethod
    def find_task_id(self, body: Any) -> str:
        """Return the job id in the reply to a submission, or ``""``."""

    @abstractmethod
    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        """Return the status in the reply to a submission; queued, if it names none."""

    # --- the reply to a status check --------------------------------------------------------------------

    def read_status(self, job: VideoJob, reply: HttpReply, *, now: datetime) -> JobStatus:
        """
        Read the reply to a status call.

        :param now: when the reply was received, UTC; links expire :attr:`retention` after it if the reply has
            no time.
        :raises StatusUnavailable: this check failed, the next may succeed.
        :raises StatusRateLimited: the same, because of too many requests with this key.
        :raises StatusRefused: the key has no permission.
        :raises JobNotFound: the vendor does not know the job, or not yet.
        """
        body = self._json_or_none(reply)
        status_code = effective_status_code(reply, body)
        success, not_found = _is_success(status_code), self.is_job_not_found(status_code, body)
        # The triggerer reads thousands of replies a minute, so the details of an error are parsed only below.
        if success and not not_found and (status := self.read_status_body(body, now)) is not None:
            return status
        summary = f"{self.label} answered the status check with {describe_reply(reply, body)}"
        detail = _VendorDetail(vendor_code=vendor_code(body), vendor_message=redact(vendor_message(body)))
        if not_found:
            raise JobNotFound(summary, job=job, **detail)
        if status_code in (401, 403):
            raise StatusRefused(summary, job=job, **detail)
        if success:
            summary += ", which names no state"
        if status_code in (404, 405) or body is None:
            summary += ", not in this vendor's form: the connection's host or vendor may be wrong"
        error_class = StatusRateLimited if status_code == 429 else StatusUnavailable
        raise error_class(summary, job=job, retry_after=parse_retry_after(reply.headers, now), **detail)

    def is_job_not_found(self, status_code: int, body: Any) -> bool:
        """
        Whether the reply has the vendor's own form and words for a job that does not exist.

        Any host answers 404 to a path it does not have, and a paid job must not count as lost for that.
        When in doubt return ``False``: then the job is checked again.

        :param status_code: the reply's effective status code.
        """
        return False

    @abstractmethod
    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        """Return the status in the reply to a status call, or ``None`` if it names no state."""

    def is_wrong_endpoint(self, reply: HttpReply) -> bool:
        """Whether a 404 or 405 is about the path, or does not have the form of any vendor's error."""
        return is_wrong_endpoint(reply, self._json_or_none(reply))

    def reply_status_code(self, reply: HttpReply) -> int | None:
        """Return the effective status code of any reply, or ``None`` if it is not JSON."""
        body = self._json_or_none(reply)
        return None if body is None else effective_status_code(reply, body)

    def read_models(self, reply: HttpReply) -> list[str]:
        """
        Read a list of models in the usual ``{"data": [{"id": ...}]}`` form.

        :raises VidgenError: the reply is no list of models.
        """
        body = self._json_or_none(reply)
        summary = f"{self.label} answered the model list with {describe_reply(reply, body)}"
        if effective_status_code(reply, body) == 401:
            raise BadCredentials(summary, vendor_message=redact(vendor_message(body)))
        models = get_path(body, "data")
        if reply.status >= 300 or not isinstance(models, list):
            raise VidgenError(summary, vendor_message=redact(vendor_message(body)))
        names = (parse_text(get_path(model, "id")) or parse_text(model) for model in models)
        return [name for name in names if name]

    # --- shared by the vendors' readers -----------------------------------------------------------------

    def build_status(
        self,
        raw_state: Any,
        *,
        now: datetime,
        result_urls: tuple[str, ...] = (),
        thumbnail_urls: tuple[str, ...] = (),
        progress: Any = None,
        created_at: Any = None,
        completed_at: Any = None,
        expires_at: Any = None,
        duration_seconds: Any = None,
        cost: Cost | None = None,
        fail_code: Any = None,
        fail_message: Any = None,
    ) -> JobStatus:
        """
        Build a status from a vendor's values, each of which may be of any type.

        Links count on success only: before it, vendors put other text into the same fields.

        :param raw_state: the vendor's word; an unknown one counts as running.
        :param cost: counts once the job has ended; before, it may be a reservation or not filled in.
        :param now: links expire :attr:`retention` after this time if ``completed_at`` is not given.
        """
        word = parse_text(raw_state)
        known_state = parse_state(word, self.states)
        state = known_state or JobState.RUNNING
        succeeded = state is JobState.SUCCEEDED
        failure = None
        if state is JobState.CANCELLED:
            failure = Failure(category=FailureCategory.CANCELLED, message=redact(parse_text(fail_message)))
        elif state is JobState.FAILED:
            code, message = redact(parse_text(fail_code))[:100], parse_text(fail_message)
            category = classify_job_failure(f"{code} {message}", self.fail_codes)
            failure = Failure(category=category, code=code, message=redact(message))
        completed = parse_timestamp(completed_at)
        expiry, basis = self._expiry(expires_at, completed or now) if succeeded else (None, "unknown")
        return JobStatus(
            state=state,
            # An unknown word is logged and shown in errors, and may be anything.
            raw_state=(word if known_state else redact(word))[:100],
            state_is_known=known_state is not None,
            progress=parse_percent(progress),
            result_urls=result_urls if succeeded else (),
            thumbnail_url=thumbnail_urls[0] if succeeded and thumbnail_urls else None,
            created_at=parse_timestamp(created_at),
            completed_at=completed,
            expires_at=expiry,
            expires_basis=basis,
            duration_seconds=parse_number(duration_seconds) if succeeded else None,
            cost=None if state in (JobState.QUEUED, JobState.RUNNING) else cost,
            failure=failure,
        )

    def _expiry(
        self, expires_at: Any, completed: datetime
    ) -> tuple[datetime | None, Literal["reported", "documented", "unknown"]]:
        if reported := parse_timestamp(expires_at):
            return reported, "reported"
        if self.retention is None:
            return None, "unknown"
        try:
            return completed + self.retention, "documented"
        except OverflowError:
            return None, "unknown"

    def _json_or_none(self, reply: HttpReply) -> Any:
        try:
            return parse_json(reply.content)
        except InvalidJson:
            return None


def _is_success(status_code: int) -> bool:
    return 200 <= status_code < 300 or status_code == 0
