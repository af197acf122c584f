# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One try at one logical request: how often is paid, what is written down, and what a person is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_vidgen import submission
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.decision import Action, OnClear, OnUnknown
from airflow_provider_vidgen.errors import (
    AccountChanged,
    ConnectionFailed,
    ContentRefused,
    InsufficientFunds,
    JobConnectionMismatch,
    JobLost,
    JobNotFound,
    JobNotRecorded,
    LedgerUnreadable,
    RateLimited,
    ResultExpired,
    StatusRefused,
    StatusUnavailable,
    SubmitError,
    SubmitOutcomeUnknown,
    TaskRef,
    UnknownSubmitWillResend,
    UnknownSubmitWillResubmit,
)
from airflow_provider_vidgen.ledger import Ledger, entry_key
from airflow_provider_vidgen.models import (
    Failure,
    FailureCategory,
    JobState,
    JobStatus,
    Submission,
    VideoJob,
    VideoRequest,
)
from airflow_provider_vidgen.submission import ActiveJob, Submitter
from tests.support.state_store import FakeStateStore

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
MODELS = {
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
    "apixo": "grok-video",
}
QUEUED = JobStatus(state=JobState.QUEUED, raw_state="queued")
LINK = "https://cdn.example.com/a.mp4"
RENDERS = JobStatus(state=JobState.RUNNING, raw_state="IN_PROGRESS")
NO_LINK = JobStatus(state=JobState.SUCCEEDED, raw_state="SUCCESS", expires_at=START + timedelta(hours=1))
VIDEO = replace(NO_LINK, result_urls=(LINK,))
FAILED = JobStatus(
    state=JobState.FAILED, raw_state="FAILURE", failure=Failure(category=FailureCategory.INTERNAL)
)
FILES = [{"path": "s3://b/a.mp4", "bytes": 7, "sha256": "0f"}]


class Killed(BaseException):
    """The worker is gone."""


class UnreliableStore(FakeStateStore):
    """A state store that can be out of reach, for reading, or for the next so many writes."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = False
        self.refuse: list[bool] = []
        self.written: list[str] = []
        self.before_write: Callable[[str], None] = lambda phase: None

    def get(self, key: str, default: Any = None) -> Any:
        if self.unreadable:
            raise ConnectionError("away")
        return super().get(key, default)

    def set(self, key: str, value: Any, **options: Any) -> None:
        self.before_write(value["phase"])
        if self.refuse and self.refuse.pop(0):
            raise ConnectionError("away")
        super().set(key, value, **options)
        self.written.append(value["phase"])

    @property
    def phase(self) -> str:
        return str(self.record["phase"])

    @property
    def record(self) -> dict[str, Any]:
        """The newest entry."""
        return dict(json.loads(self[entry_key(len(self))]))


class Client:
    """An account that counts what is sent and what is billed."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.connect()
        self.answers: list[Any] = []
        self.keys: list[str | None] = []
        self.sent: list[VideoRequest] = []
        self.billed: list[str] = []
        #: What the vendor says of jobs it is asked about.
        self.statuses: dict[str, JobStatus | Exception] = {}
        self.asked: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def connect(
        self, *, password: str = "k3y-of-a-test", host: str | None = None, conn_id: str = "vidgen_default"
    ) -> None:
        """Change the connection."""
        self.settings = ConnectionSettings.read(
            conn_id, host=host, password=password, extra={"vendor": self.vendor}
        )

    @property
    def posts(self) -> int:
        return len(self.keys)

    def submit(
        self, request: VideoRequest, *, idempotency_key: str | None = None, when_at_capacity: str = "wait"
    ) -> Submission:
        assert when_at_capacity == "raise", (
            "a worker that waits while the record says submitting is in doubt if it dies"
        )
        self.before()
        self.keys.append(idempotency_key)
        self.sent.append(request)
        answer = self.answers.pop(0) if self.answers else f"task_{self.posts}"
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Submission):
            return answer
        self.billed.append(answer)
        return Submission(job=_job(self.settings, answer), status=QUEUED)

    def status(self, job: VideoJob) -> JobStatus:
        self.asked.append(job.task_id)
        answer = self.statuses.get(job.task_id, JobNotFound("no such job", job=job))
        if isinstance(answer, Exception):
            raise answer
        return answer


def _job(settings: ConnectionSettings, task_id: str) -> VideoJob:
    name = settings.vendor.name
    return VideoJob(vendor=name, base_url=settings.base_url, model=MODELS[name], task_id=task_id)


class ListHandler(logging.Handler):
    """Collects the warnings of a module."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    @classmethod
    def of(cls, module: Any) -> list[str]:
        handler = cls()
        module._log.addHandler(handler)
        return handler.messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def _remove_handlers() -> Iterator[None]:
    yield
    submission._log.handlers.clear()


class Case:
    """A task instance whose tries are run one by one."""

    def __init__(self, vendor: str = "apixgo", on_unknown: OnUnknown = "fail") -> None:
        self.store, self.client, self.on_unknown = UnreliableStore(), Client(vendor), on_unknown
        self.now, self.max_tries, self.timeout = START, 2, 600.0
        self.prompt, self.model, self.callback = "a lighthouse", MODELS[vendor], None
        self.warnings = ListHandler.of(submission)
        self.slept: list[float] = []
        self.before_paying: Callable[[], None] = lambda: None
        self.on_clear: OnClear = "reuse"
        self.there: list[Any] = []
        self.live, self.tried = False, list[str]()

    def attempt(self) -> ActiveJob:
        submitter = Submitter(
            self.client,
            Ledger(self.store, max_tries=self.max_tries, now=lambda: self.now),
            self,
            task=TaskRef(dag_id="d", run_id="r", task_id="t"),
            timeout=self.timeout,
            on_unknown=self.on_unknown,
            on_clear=self.on_clear,
            now=lambda: self.now,
            sleep=self.slept.append,
        )
        resolution = submitter.resolve(self.request)
        if resolution.action is Action.SUBMIT:
            self.before_paying()
        return submitter.perform(resolution, self.request)

    @property
    def request(self) -> VideoRequest:
        return VideoRequest(prompt=self.prompt, model=self.model, callback_url=self.callback)

    def files_exist(self, files: Sequence[Any]) -> bool:
        return bool(files) and list(files) == self.there

    def links_are_live(self, links: Sequence[str]) -> bool:
        self.tried += links
        return self.live

    def clear(self) -> None:
        self.max_tries += 1

    def becomes(self, phase: str, **fields: Any) -> None:
        """Have the record say so."""
        record = {**self.store.record, "phase": phase, **fields}
        self.store[entry_key(len(self.store) + 1)] = json.dumps(record)


UNKNOWN = SubmitOutcomeUnknown("no reply came")

# --- the plain way --------------------------------------------------------------------------------------


def test_the_intent_is_recorded_before_the_paid_call_and_the_job_id_right_after_it() -> None:
    case = Case()
    seen: list[str] = []
    case.client.before = lambda: seen.append(case.store.phase)
    attached = case.attempt()
    assert seen == ["submitting"]
    assert case.store.written == ["submitting", "submitted"]
    assert (attached.job.task_id, attached.status) == ("task_1", QUEUED)
    assert (attached.submitted_at, attached.deadline) == (START, START + timedelta(seconds=600))
    assert case.store.record["deadline"] == attached.deadline.isoformat()
    assert case.client.sent == [case.request]


def test_ten_more_tries_re_attach_to_the_same_job() -> None:
    case = Case()
    case.attempt()
    for _ in range(10):
        case.now += timedelta(minutes=5)
        attached = case.attempt()
        assert (attached.job.task_id, attached.submitted_at, attached.status) == ("task_1", START, None)
    assert case.client.posts == 1


def test_a_larger_timeout_extends_the_deadline_of_the_same_job() -> None:
    case = Case()
    case.attempt()
    case.timeout = 7200.0
    assert case.attempt().deadline == START + timedelta(hours=2)


def test_a_clear_of_a_running_task_re_attaches_to_the_same_job() -> None:
    case = Case()
    case.attempt()
    case.clear()
    assert case.attempt().job.task_id == "task_1"
    assert case.client.posts == 1


def test_another_callback_url_is_not_another_request() -> None:
    case = Case("apixo")
    case.attempt()
    case.callback = "https://airflow.example.com/hook"
    case.attempt()
    assert case.client.posts == 1


def test_a_changed_request_submits_a_new_job_and_logs_the_one_left_behind() -> None:
    case = Case()
    case.attempt()
    case.prompt = "another lighthouse"
    assert case.attempt().job.task_id == "task_2"
    assert "task_1" in case.warnings[-1]


def test_another_model_or_connection_is_another_request() -> None:
    case = Case("apixo")
    case.attempt()
    case.model = "seedance-2"
    assert case.attempt().job.task_id == "task_2"
    case.client.connect(conn_id="of_another_account")
    assert case.attempt().job.task_id == "task_3"


def test_the_checks_before_payment_are_skipped_for_an_existing_job() -> None:
    case = Case()

    def refuse() -> None:
        raise RuntimeError("the place is taken")

    case.before_paying = refuse
    with pytest.raises(RuntimeError):
        case.attempt()
    assert (case.client.posts, dict(case.store)) == (0, {})
    case.before_paying = lambda: None
    case.attempt()
    case.before_paying = refuse
    case.attempt()


# --- the vendor took nothing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ConnectionFailed("no route"), RateLimited("429"), InsufficientFunds("402"), ContentRefused("no")],
)
def test_after_a_submission_that_was_not_accepted_the_next_try_submits(error: Exception) -> None:
    case = Case()
    case.client.answers = [error]
    with pytest.raises(type(error)):
        case.attempt()
    assert case.store.phase == "not_accepted"
    case.attempt()
    assert case.client.billed == ["task_2"]


# --- the outcome is unknown -----------------------------------------------------------------------------


def test_an_unknown_outcome_is_reported_until_a_clear_submits() -> None:
    case = Case()
    case.client.answers = [UNKNOWN]
    with pytest.raises(SubmitOutcomeUnknown) as first:
        case.attempt()
    assert first.value.fatal
    for _ in range(2):
        with pytest.raises(SubmitOutcomeUnknown) as again:
            case.attempt()
        assert type(again.value) is SubmitOutcomeUnknown
        assert START.isoformat() in str(again.value)
        assert again.value.job is None
        assert case.store.record["task_id"] == ""
    assert case.client.posts == 1
    case.clear()
    case.attempt()
    assert case.client.posts == 2


def test_a_job_id_in_the_vendors_error_is_in_the_error_message() -> None:
    case = Case()
    case.client.answers = [SubmitOutcomeUnknown("500", job=_job(case.client.settings, "task_7"))]
    for _ in range(2):
        with pytest.raises(SubmitOutcomeUnknown, match="task_7"):
            case.attempt()


@pytest.mark.parametrize(
    ("vendor", "on_unknown", "kind", "comes_back"),
    [
        ("apixgo", "fail", SubmitOutcomeUnknown, False),
        ("apixgo", "resubmit", UnknownSubmitWillResubmit, False),
        ("apimart", "fail", UnknownSubmitWillResend, True),
    ],
)
@pytest.mark.parametrize("at_capacity", [False, True])
def test_the_vendors_error_is_kept_and_only_an_idempotency_key_allows_waiting_for_capacity(
    vendor: str, on_unknown: OnUnknown, kind: type[SubmitOutcomeUnknown], comes_back: bool, at_capacity: bool
) -> None:
    case = Case(vendor, on_unknown)
    answer = SubmitOutcomeUnknown(
        "no reply came", vendor_code="504", vendor_message="gateway timeout", retry_after=7.0
    )
    answer.at_capacity = at_capacity
    case.client.answers = [answer]
    with pytest.raises(SubmitOutcomeUnknown) as error:
        case.attempt()
    assert type(error.value) is kind
    assert (error.value.summary, error.value.vendor_code, error.value.vendor_message) == (
        answer.summary,
        "504",
        answer.vendor_message,
    )
    assert (error.value.retry_after, error.value.at_capacity) == (7.0, at_capacity and comes_back)


def test_a_worker_killed_during_the_paid_call_is_reported_before_a_clear_submits() -> None:
    case = Case()
    case.client.answers = [Killed()]
    with pytest.raises(Killed):
        case.attempt()
    assert (case.store.phase, case.store.record["task_id"]) == ("submitting", "")
    case.clear()
    with pytest.raises(SubmitOutcomeUnknown):
        case.attempt()
    assert case.client.posts == 1
    case.clear()
    case.attempt()
    assert case.client.posts == 2


def test_resubmit_submits_at_each_retry_and_logs_the_risk() -> None:
    case = Case(on_unknown="resubmit")
    case.client.answers = [UNKNOWN, UNKNOWN]
    for _ in range(2):
        with pytest.raises(UnknownSubmitWillResubmit) as error:
            case.attempt()
        assert not error.value.fatal
    case.attempt()
    assert [text for text in case.warnings if "both may be billed" in text] == case.warnings
    assert (len(case.warnings), case.client.posts) == (2, 3)


def test_a_lost_job_is_reported_by_a_retry_and_submitted_anew_by_a_clear() -> None:
    case = Case(on_unknown="resubmit")
    case.attempt()
    case.becomes("lost")
    with pytest.raises(JobLost, match=r"the vendor does not know the job.*task_1"):
        case.attempt()
    case.clear()
    assert case.attempt().job.task_id == "task_2"


# --- idempotency keys -----------------------------------------------------------------------------------


def test_no_idempotency_key_is_sent_to_a_vendor_without_them() -> None:
    case = Case()
    case.attempt()
    assert case.client.keys == [None]
    assert case.store.record["idempotency_key"] == ""


@pytest.mark.parametrize("how", ["retry", "clear"])
def test_an_unknown_submission_is_resent_with_the_same_idempotency_key(how: str) -> None:
    case = Case("apimart")
    case.client.answers = [UNKNOWN]
    with pytest.raises(UnknownSubmitWillResend) as error:
        case.attempt()
    assert not error.value.fatal
    if how == "clear":
        case.clear()
    case.attempt()
    first, second = case.client.keys
    assert first == second
    assert first is not None
    assert first.startswith("vidgen-")


@pytest.mark.parametrize(
    "error", [ConnectionFailed("no route"), RateLimited("429"), InsufficientFunds("402")]
)
def test_a_refused_resend_leaves_the_first_submission_unknown(error: Exception) -> None:
    case = Case("apimart")
    case.client.answers = [Killed(), error]
    with pytest.raises(Killed):
        case.attempt()
    # Not "nothing was spent", for that is not known.
    with pytest.raises(UnknownSubmitWillResend, match=f"outcome of an earlier.* and now: {error.args[0]}"):
        case.attempt()
    assert case.store.phase == "unknown"
    case.attempt()
    assert len(set(case.client.keys)) == 1


@pytest.mark.parametrize("error", [ConnectionFailed, RateLimited])
def test_the_error_of_a_refused_resend_has_the_vendors_details(error: type[SubmitError]) -> None:
    case = Case("apimart")
    case.client.answers = [
        UNKNOWN,
        error("busy", vendor_code="429", vendor_message="slow down", retry_after=7.0),
    ]
    with pytest.raises(UnknownSubmitWillResend):
        case.attempt()
    with pytest.raises(UnknownSubmitWillResend) as told:
        case.attempt()
    assert (told.value.vendor_code, told.value.vendor_message, told.value.retry_after) == (
        "429",
        "slow down",
        7.0,
    )
    assert told.value.at_capacity is error.at_capacity


def test_a_resend_does_not_extend_the_validity_of_an_idempotency_key() -> None:
    case = Case("apimart")
    case.client.answers = [UNKNOWN, UNKNOWN]
    with pytest.raises(UnknownSubmitWillResend):
        case.attempt()
    case.now += timedelta(minutes=50)
    with pytest.raises(UnknownSubmitWillResend):
        case.attempt()
    case.now += timedelta(minutes=50)
    with pytest.raises(SubmitOutcomeUnknown) as error:
        case.attempt()
    assert error.value.fatal
    assert "API key" not in str(error.value)  # which has not changed
    assert case.client.posts == 2
    case.clear()
    case.attempt()
    assert len(set(case.client.keys)) == 2


def test_a_resend_keeps_the_job_id_of_an_earlier_error() -> None:
    case = Case("apimart")
    named = _job(case.client.settings, "task_7")
    case.client.answers = [SubmitOutcomeUnknown("500", job=named), RateLimited("429"), UNKNOWN]
    for _ in range(3):
        with pytest.raises(UnknownSubmitWillResend):
            case.attempt()
        assert case.store.record["task_id"] == "task_7"
    case.now += timedelta(hours=2)
    case.clear()
    case.client.statuses["task_7"] = RENDERS
    assert case.attempt().job.task_id == "task_7"
    assert (case.client.posts, case.client.asked) == (3, ["task_7"])


def test_resubmit_checks_a_job_id_of_an_earlier_error_before_it_submits() -> None:
    case = Case(on_unknown="resubmit")
    named = _job(case.client.settings, "task_7")
    case.client.answers = [SubmitOutcomeUnknown("500", job=named)]
    with pytest.raises(UnknownSubmitWillResubmit):
        case.attempt()
    case.client.statuses["task_7"] = RENDERS
    assert case.attempt().job.task_id == "task_7"
    assert (case.client.posts, case.client.asked) == (1, ["task_7"])


def test_a_new_submission_after_a_failed_job_has_a_new_idempotency_key() -> None:
    case = Case("apimart")
    case.attempt()
    case.becomes("failed")
    case.attempt()
    assert len(set(case.client.keys)) == 2


# --- the store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_an_unreadable_store_fails_the_try_without_a_submission(on_unknown: OnUnknown) -> None:
    case = Case(on_unknown=on_unknown)
    case.store.unreadable = True
    with pytest.raises(LedgerUnreadable):
        case.attempt()
    assert case.client.posts == 0


def test_an_unwritable_intent_fails_the_try_without_a_submission() -> None:
    case = Case()
    case.store.refuse = [True]
    with pytest.raises(LedgerUnreadable):
        case.attempt()
    assert case.client.posts == 0


def test_recording_the_job_id_is_retried_with_backoff() -> None:
    case = Case()
    case.store.refuse = [False, True, True, True, True]
    assert case.attempt().job.task_id == "task_1"
    assert case.store.phase == "submitted"
    assert case.slept == [1, 2, 4, 8]
    assert len(case.warnings) == 4
    assert all(
        "refused the phase submitted of the job task_1; trying again" in text for text in case.warnings
    )


def test_recording_a_refusal_is_retried_with_backoff() -> None:
    case = Case()
    case.client.answers = [ConnectionFailed("no route")]
    case.store.refuse = [False, True, True]
    with pytest.raises(ConnectionFailed):
        case.attempt()
    assert case.store.phase == "not_accepted"
    assert len(case.warnings) == 2
    assert all("refused the phase not_accepted of the submission" in text for text in case.warnings)


def test_a_job_that_cannot_be_recorded_is_reported_with_its_id_and_not_submitted_again() -> None:
    case = Case()
    case.store.refuse = [False, *[True] * 5]
    with pytest.raises(JobNotRecorded, match=r"accepted the job, .*\(ConnectionError\).*task_1") as error:
        case.attempt()
    assert error.value.fatal
    with pytest.raises(SubmitOutcomeUnknown):
        case.attempt()
    assert case.client.posts == 1


def test_an_unknown_outcome_is_reported_even_if_it_cannot_be_recorded() -> None:
    case = Case()
    case.client.answers = [UNKNOWN]
    case.store.refuse = [False, *[True] * 5]
    with pytest.raises(SubmitOutcomeUnknown, match="no reply came"):
        case.attempt()
    assert case.store.phase == "submitting"
    assert case.warnings[-1] == "The phase unknown could not be recorded (ConnectionError)"


# --- a synchronous endpoint -----------------------------------------------------------------------------


def test_the_result_of_a_synchronous_endpoint_is_recorded() -> None:
    case = Case()
    done = JobStatus(state=JobState.SUCCEEDED, raw_state="succeeded", result_urls=(LINK,))
    case.client.answers = [Submission(job=_job(case.client.settings, ""), status=done)]
    assert case.attempt().status == done
    assert case.attempt().status == replace(done, raw_state="recorded")
    assert case.client.posts == 1


def test_the_result_of_a_synchronous_endpoint_is_recorded_with_its_expiry() -> None:
    case = Case()
    case.client.answers = [Submission(job=_job(case.client.settings, ""), status=VIDEO)]
    case.attempt()
    assert case.store.record["expires_at"] == (START + timedelta(hours=1)).isoformat()
    case.becomes("delivered")
    case.clear()
    case.now += timedelta(minutes=59)
    assert case.attempt().status is not None
    case.now += timedelta(minutes=1)
    assert case.attempt().job.task_id == "task_2"


@pytest.mark.parametrize("cleared", [False, True])
def test_a_delivered_result_without_a_job_id_is_returned_without_a_status_check(cleared: bool) -> None:
    case = Case()
    done = JobStatus(state=JobState.SUCCEEDED, raw_state="succeeded", result_urls=(LINK,))
    case.client.answers = [Submission(job=_job(case.client.settings, ""), status=done)]
    case.attempt()
    case.becomes("delivered")
    if cleared:
        case.clear()
    assert case.attempt().status == replace(done, raw_state="recorded")
    assert (case.client.asked, case.client.posts) == ([], 1)


def test_a_failure_without_a_job_id_is_recorded_as_failed() -> None:
    case = Case()
    failure = Failure(category=FailureCategory.INTERNAL)
    ended = JobStatus(state=JobState.FAILED, raw_state="failed", failure=failure)
    case.client.answers = [Submission(job=_job(case.client.settings, ""), status=ended)]
    assert case.attempt().status == ended
    assert case.store.phase == "failed"
    assert case.attempt().job.task_id == "task_2"


def test_a_failure_with_a_job_id_is_recorded_as_submitted() -> None:
    case = Case()
    case.client.answers = [Submission(job=_job(case.client.settings, "task_1"), status=FAILED)]
    assert case.attempt().status == FAILED
    assert case.store.phase == "submitted"
    assert case.attempt().job.task_id == "task_1"


# --- two processes at once ------------------------------------------------------------------------------


def test_a_second_process_reads_the_intent_of_the_first_one() -> None:
    first, second = Case(), Case()
    second.store = first.store

    def meanwhile() -> None:
        with pytest.raises(SubmitOutcomeUnknown):
            second.attempt()

    first.client.before = meanwhile
    first.attempt()
    assert first.client.posts + second.client.posts == 1


def test_an_outdated_process_reads_nothing_and_cannot_submit() -> None:
    class Outdated(UnreliableStore):
        def get(self, key: str, default: Any = None) -> Any:
            return default

        def set(self, key: str, value: Any) -> None:
            raise PermissionError("404: no such task instance")

    case = Case()
    case.store = Outdated()
    with pytest.raises(LedgerUnreadable):
        case.attempt()
    assert case.client.posts == 0


# --- a clear asks before it pays ------------------------------------------------------------------------

REPORTED = ["unknown", "lost", "failed"]


def reported(phase: str, **fields: Any) -> Case:
    case = Case()
    case.attempt()
    case.becomes(phase, **fields)
    case.clear()
    return case


@pytest.mark.parametrize("phase", REPORTED)
@pytest.mark.parametrize("found", [RENDERS, VIDEO, NO_LINK])
def test_a_clear_re_attaches_to_a_reported_job_that_is_still_alive(phase: str, found: JobStatus) -> None:
    case = reported(phase)
    case.client.statuses["task_1"] = found
    attached = case.attempt()
    assert (attached.job.task_id, attached.status) == ("task_1", found)
    assert (case.client.asked, case.client.posts, case.store.phase) == (["task_1"], 1, "submitted")
    assert (
        case.warnings[-1]
        == f"apixgo job task_1 is {found.state} at the vendor: re-attaching, nothing is paid"
    )


@pytest.mark.parametrize("phase", REPORTED)
def test_a_clear_submits_once_the_status_check_confirms_that_there_is_no_video(phase: str) -> None:
    for answer in (JobNotFound("no such job"), FAILED):
        case = reported(phase)
        case.client.statuses["task_1"] = answer
        assert case.attempt().job.task_id == "task_2"
        assert (case.client.asked, case.client.posts) == (["task_1"], 2)
        said = "apixgo job task_1 has no video and will bring none; a new, paid job is submitted"
        assert case.warnings[-1] == said
        # The new one is this request's: the next try asks about it.
        assert (case.attempt().job.task_id, case.client.posts) == ("task_2", 2)


@pytest.mark.parametrize("phase", REPORTED)
@pytest.mark.parametrize("dead", [VIDEO, NO_LINK])
def test_a_clear_submits_once_the_links_have_expired(phase: str, dead: JobStatus) -> None:
    case = reported(phase)
    case.client.statuses["task_1"] = dead
    case.now = START + timedelta(minutes=59)
    assert case.attempt().job.task_id == "task_1"
    case = reported(phase)
    case.client.statuses["task_1"] = dead
    case.now = START + timedelta(hours=1)
    assert case.attempt().job.task_id == "task_2"


@pytest.mark.parametrize("phase", [*REPORTED, "delivered"])
def test_an_expired_link_that_is_still_live_is_used_and_nothing_is_submitted(phase: str) -> None:
    case = reported(phase)
    case.client.statuses["task_1"] = VIDEO
    case.live = True
    case.now = START + timedelta(minutes=59)
    case.attempt()
    assert case.tried == []
    case.becomes(phase)
    case.clear()
    case.now = START + timedelta(days=2)
    assert case.attempt().status == VIDEO
    assert (case.tried, case.client.posts) == ([LINK], 1)


def test_the_first_reported_expiry_of_a_link_counts() -> None:
    """A vendor that tells no time of its own seems to give its links a new life at each look."""
    case = reported("lost", expires_at=(START + timedelta(minutes=5)).isoformat())
    case.client.statuses["task_1"] = VIDEO
    case.now = START + timedelta(minutes=6)
    assert case.attempt().job.task_id == "task_2"


@pytest.mark.parametrize("phase", REPORTED)
def test_a_recorded_expiry_does_not_apply_to_a_running_job(phase: str) -> None:
    case = reported(phase, expires_at=(START + timedelta(minutes=5)).isoformat())
    case.client.statuses["task_1"] = RENDERS
    case.now = START + timedelta(minutes=6)
    assert case.attempt().job.task_id == "task_1"
    assert case.client.posts == 1


@pytest.mark.parametrize("phase", [*REPORTED, "delivered"])
@pytest.mark.parametrize("error", [StatusUnavailable("502"), StatusRefused("401")])
def test_a_clear_submits_nothing_while_the_status_check_fails(phase: str, error: Exception) -> None:
    case = reported(phase)
    case.client.statuses["task_1"] = error
    with pytest.raises(type(error)) as raised:
        case.attempt()
    assert raised.value is error
    assert not raised.value.fatal  # type: ignore[attr-defined]
    assert case.client.posts == 1


def test_a_retry_after_a_failed_job_submits_without_a_status_check() -> None:
    case = Case()
    case.attempt()
    case.becomes("failed")
    assert case.attempt().job.task_id == "task_2"
    assert case.client.asked == []


def test_the_checks_before_payment_run_before_a_clear_submits() -> None:
    case = reported("lost")
    case.client.statuses["task_1"] = FAILED

    def refuse() -> None:
        raise RuntimeError("the place is taken")

    case.before_paying = refuse
    with pytest.raises(RuntimeError):
        case.attempt()
    assert case.client.posts == 1


# --- a delivered video ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cleared", [False, True])
def test_a_delivered_video_is_returned_while_its_link_is_live(cleared: bool) -> None:
    case = reported("delivered", files=FILES) if cleared else Case()
    if not cleared:
        case.attempt()
        case.becomes("delivered")
    case.client.statuses["task_1"] = VIDEO
    attached = case.attempt()
    assert (attached.job.task_id, attached.status, attached.files) == ("task_1", VIDEO, ())
    assert case.client.posts == 1
    assert ("airflow vidgen regenerate" in case.warnings[-1]) == cleared


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize(
    "answer", [JobNotFound("no such job"), VIDEO, NO_LINK, StatusUnavailable("502"), StatusRefused("401")]
)
def test_a_delivered_video_is_returned_while_its_file_exists(cleared: bool, answer: Any) -> None:
    case = Case()
    case.attempt()
    case.becomes("delivered", files=FILES)
    if cleared:
        case.clear()
    case.client.statuses["task_1"] = answer
    case.there = FILES
    case.now = START + timedelta(days=3)
    attached = case.attempt()
    assert attached.job.task_id == "task_1"
    assert list(attached.files) == FILES
    assert attached.status is not None
    assert attached.status == JobStatus(state=JobState.SUCCEEDED, raw_state="landed")
    assert case.client.posts == 1
    if isinstance(answer, StatusUnavailable | StatusRefused):
        assert case.warnings[-1] == f"{answer.summary}; the landed files still exist"


@pytest.mark.parametrize("answer", [JobNotFound("no such job"), VIDEO, NO_LINK, FAILED])
def test_a_delivered_video_that_no_longer_exists_is_submitted_anew_by_a_clear_but_not_by_a_retry(
    answer: Any,
) -> None:
    case = Case()
    case.attempt()
    case.becomes("delivered", files=FILES)
    case.client.statuses["task_1"] = answer
    case.now = START + timedelta(days=3)
    with pytest.raises(ResultExpired, match=r"neither its file nor its link exists.*task_1"):
        case.attempt()
    assert case.client.posts == 1
    case.clear()
    assert case.attempt().job.task_id == "task_2"
    assert case.warnings[-1] == "Neither a link nor a file of apixgo job task_1 exists any more"
    # The new one is this request's: the next try asks about it.
    assert (case.attempt().job.task_id, case.client.posts) == ("task_2", 2)


@pytest.mark.parametrize("answer", [RENDERS, replace(NO_LINK, expires_at=None)])
def test_a_delivered_job_whose_status_is_unfinished_is_re_attached(answer: JobStatus) -> None:
    case = reported("delivered")
    case.client.statuses["task_1"] = answer
    assert case.attempt().status == answer
    assert case.client.posts == 1


def test_regenerate_submits_at_each_clear_and_at_no_retry() -> None:
    case = Case()
    case.on_clear = "regenerate"
    case.attempt()
    case.becomes("delivered")
    case.client.statuses["task_1"] = VIDEO
    assert case.attempt().job.task_id == "task_1"
    case.clear()
    assert case.attempt().job.task_id == "task_2"
    assert case.attempt().job.task_id == "task_2"
    assert case.client.posts == 2


@pytest.mark.parametrize("phase", ["submitted", "delivered", "unknown", "lost"])
def test_a_discarded_job_is_replaced_by_a_new_one(phase: str) -> None:
    case = Case()
    case.attempt()
    case.becomes("discarded")
    assert case.attempt().job.task_id == "task_2"
    assert "task_1" in case.warnings[-1]


# --- another host, another key --------------------------------------------------------------------------

ELSEWHERE = "https://staging.example.com"


@pytest.mark.parametrize("phase", ["submitting", "submitted", "unknown", "delivered", "lost"])
@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_a_changed_base_url_is_reported_with_both_hosts_and_submits_nothing(
    phase: str, cleared: bool, on_unknown: OnUnknown
) -> None:
    for vendor in MODELS:
        case = Case(vendor, on_unknown)
        case.attempt()
        first = case.client.settings.base_url
        case.becomes(phase)
        if cleared:
            case.clear()
        case.client.connect(host=ELSEWHERE)
        with pytest.raises(JobConnectionMismatch) as error:
            case.attempt()
        assert ELSEWHERE in str(error.value)
        assert first in str(error.value)
        assert not error.value.fatal
        assert (case.client.posts, case.client.asked, case.store.phase) == (1, [], phase)


def test_a_changed_request_can_be_submitted_to_another_base_url() -> None:
    case = Case()
    case.attempt()
    case.prompt = "another lighthouse"
    case.client.connect(host=ELSEWHERE)
    assert case.attempt().job.base_url == ELSEWHERE
    assert "task_1" in case.warnings[-1]


@pytest.mark.parametrize("phase", ["not_accepted", "discarded"])
def test_without_an_existing_job_the_base_url_may_change(phase: str) -> None:
    case = Case()
    case.attempt()
    case.becomes(phase)
    case.client.connect(host=ELSEWHERE)
    assert case.attempt().job.base_url == ELSEWHERE


def test_a_changed_api_key_invalidates_the_idempotency_key_and_is_reported() -> None:
    case = Case("apimart")
    case.client.answers = [UNKNOWN]
    with pytest.raises(UnknownSubmitWillResend):
        case.attempt()
    case.client.connect(password="k3y-of-another-account")
    with pytest.raises(SubmitOutcomeUnknown, match=r"An earlier try sent .*new API key") as error:
        case.attempt()
    assert error.value.fatal
    assert case.client.posts == 1
    case.client.connect()
    case.attempt()
    assert len(set(case.client.keys)) == 1


def test_no_error_mentions_idempotency_for_a_vendor_without_keys() -> None:
    case = Case()
    case.client.answers = [UNKNOWN]
    with pytest.raises(SubmitOutcomeUnknown):
        case.attempt()
    case.client.connect(password="k3y-of-another-account")
    with pytest.raises(SubmitOutcomeUnknown, match="An earlier try sent") as error:
        case.attempt()
    assert "idempotency" not in str(error.value)


@pytest.mark.parametrize("phase", ["unknown", "lost", "failed", "delivered"])
def test_job_not_found_with_another_api_key_is_reported_as_a_changed_account(phase: str) -> None:
    case = reported(phase)
    case.client.statuses["task_1"] = JobNotFound(
        "no such job", vendor_code="404", vendor_message="task_not_exist"
    )
    case.client.connect(password="k3y-of-another-account")
    with pytest.raises(AccountChanged, match=r"API key is not the one.*task_1") as error:
        case.attempt()
    assert (error.value.vendor_code, error.value.vendor_message) == ("404", "task_not_exist")
    assert case.client.posts == 1


def test_the_record_reveals_nothing_about_the_api_key() -> None:
    case, other = Case(), Case()
    case.attempt()
    other.prompt = "another lighthouse"
    other.attempt()
    assert "k3y" not in str(case.store.record)
    hashes = {one.store.record["api_key_hash"] for one in (case, other)}
    assert {len(told) for told in hashes} == {32}
    assert len(hashes) == 2  # records cannot even be compared


# --- the id ---------------------------------------------------------------------------------------------


def test_the_job_id_is_logged_before_it_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    caplog.set_level(logging.INFO)

    def die(phase: str) -> None:
        if phase == "submitted":
            raise Killed

    case.store.before_write = die
    with pytest.raises(Killed):
        case.attempt()
    assert "The vendor accepted apixgo job task_1" in caplog.text
    assert case.store.phase == "submitting"
