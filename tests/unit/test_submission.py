# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The tries of one request: what is submitted, what is recorded, and which error is raised."""

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
from airflow_provider_vidgen.submission import ActiveJob, Submitter, api_key_hash, fingerprint
from tests.support.clock import Clock
from tests.support.state_store import FakeStateStore

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
MODELS = {
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
    "apixo": "grok-video",
}
QUEUED = JobStatus(state=JobState.QUEUED, raw_state="queued")
LINK = "https://cdn.example.com/a.mp4"
RUNNING = JobStatus(state=JobState.RUNNING, raw_state="IN_PROGRESS")
NO_LINK = JobStatus(state=JobState.SUCCEEDED, raw_state="SUCCESS", expires_at=START + timedelta(hours=1))
VIDEO = replace(NO_LINK, result_urls=(LINK,))
FAILED = JobStatus(
    state=JobState.FAILED, raw_state="FAILURE", failure=Failure(category=FailureCategory.INTERNAL)
)
FILES = [{"path": "s3://b/a.mp4", "bytes": 7, "sha256": "0f"}]


class WorkerKilled(BaseException):
    """SIGKILL of the worker."""


class UnreliableStore(FakeStateStore):
    """A state store whose reads, or next writes, can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = False
        self.failing_writes: list[bool] = []
        self.written: list[str] = []
        self.before_write: Callable[[str], None] = lambda phase: None

    def get(self, key: str, default: Any = None) -> Any:
        if self.unreadable:
            raise ConnectionError("the API server is unreachable")
        return super().get(key, default)

    def set(self, key: str, value: Any, **options: Any) -> None:
        self.before_write(value["phase"])
        if self.failing_writes and self.failing_writes.pop(0):
            raise ConnectionError("the API server is unreachable")
        super().set(key, value, **options)
        self.written.append(value["phase"])

    @property
    def phase(self) -> str:
        return str(self.record["phase"])

    @property
    def record(self) -> dict[str, Any]:
        """The newest entry."""
        return dict(json.loads(self[entry_key(len(self))]))


class FakeClient:
    """A client that counts the requests sent and the jobs billed."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.connect()
        self.replies: list[Any] = []
        self.keys: list[str | None] = []
        self.sent: list[VideoRequest] = []
        self.billed: list[str] = []
        #: The replies to status checks, by job id; any other job is unknown.
        self.statuses: dict[str, JobStatus | Exception] = {}
        self.checked: list[str] = []
        self.before_submit: Callable[[], None] = lambda: None

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
            "a worker killed while it waits for capacity would leave the phase submitting"
        )
        self.before_submit()
        self.keys.append(idempotency_key)
        self.sent.append(request)
        reply = self.replies.pop(0) if self.replies else f"task_{self.posts}"
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, Submission):
            return reply
        self.billed.append(reply)
        return Submission(job=_job(self.settings, reply), status=QUEUED)

    def status(self, job: VideoJob) -> JobStatus:
        self.checked.append(job.task_id)
        reply = self.statuses.get(job.task_id, JobNotFound("no such job", job=job))
        if isinstance(reply, Exception):
            raise reply
        return reply


def _job(settings: ConnectionSettings, task_id: str) -> VideoJob:
    name = settings.vendor.name
    return VideoJob(vendor=name, base_url=settings.base_url, model=MODELS[name], task_id=task_id)


class WarningCollector(logging.Handler):
    """Collects the warnings that a module logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    @classmethod
    def attach_to(cls, module: Any) -> list[str]:
        handler = cls()
        module._log.addHandler(handler)
        return handler.messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def _remove_handlers() -> Iterator[None]:
    yield
    submission._log.handlers.clear()


class Task:
    """A task instance, and the storage with its videos."""

    def __init__(self, vendor: str = "apixgo", on_unknown: OnUnknown = "fail") -> None:
        self.store, self.client, self.on_unknown = UnreliableStore(), FakeClient(vendor), on_unknown
        self.clock, self.max_tries, self.timeout = Clock(START), 2, 600.0
        self.prompt, self.model, self.callback_url = "a lighthouse", MODELS[vendor], None
        #: The warnings of all tries.
        self.warnings = WarningCollector.attach_to(submission)
        self.check_before_payment: Callable[[], None] = lambda: None
        self.on_clear: OnClear = "reuse"
        self.existing_files: list[Any] = []
        self.links_live, self.checked_links = False, list[str]()

    def run_try(self) -> ActiveJob:
        submitter = Submitter(
            self.client,
            Ledger(self.store, max_tries=self.max_tries, now=self.clock.now),
            self,
            task=TaskRef(dag_id="d", run_id="r", task_id="t"),
            timeout=self.timeout,
            on_unknown=self.on_unknown,
            on_clear=self.on_clear,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )
        resolution = submitter.resolve(self.request)
        if resolution.action is Action.SUBMIT:
            self.check_before_payment()
        return submitter.perform(resolution, self.request)

    @property
    def request(self) -> VideoRequest:
        return VideoRequest(prompt=self.prompt, model=self.model, callback_url=self.callback_url)

    def files_exist(self, files: Sequence[Any]) -> bool:
        return bool(files) and list(files) == self.existing_files

    def links_are_live(self, links: Sequence[str]) -> bool:
        self.checked_links += links
        return self.links_live

    def clear(self) -> None:
        self.max_tries += 1

    def record_phase(self, phase: str, **fields: Any) -> None:
        """Write another phase of the newest record."""
        record = {**self.store.record, "phase": phase, **fields}
        self.store[entry_key(len(self.store) + 1)] = json.dumps(record)


UNKNOWN_OUTCOME = SubmitOutcomeUnknown("no reply came")

# --- without faults -------------------------------------------------------------------------------------


def test_the_intent_is_recorded_before_the_paid_call_and_the_job_id_right_after_it() -> None:
    task = Task()
    seen: list[str] = []
    task.client.before_submit = lambda: seen.append(task.store.phase)
    active = task.run_try()
    assert seen == ["submitting"]
    assert task.store.written == ["submitting", "submitted"]
    assert (active.job.task_id, active.status) == ("task_1", QUEUED)
    assert (active.submitted_at, active.deadline) == (START, START + timedelta(seconds=600))
    assert task.store.record["deadline"] == active.deadline.isoformat()
    assert task.client.sent == [task.request]


def test_ten_more_tries_re_attach_to_the_same_job() -> None:
    task = Task()
    task.run_try()
    for _ in range(10):
        task.clock.time += timedelta(minutes=5)
        active = task.run_try()
        assert (active.job.task_id, active.submitted_at, active.status) == ("task_1", START, None)
    assert task.client.posts == 1


def test_a_larger_timeout_extends_the_deadline_of_the_same_job() -> None:
    task = Task()
    task.run_try()
    task.timeout = 7200.0
    assert task.run_try().deadline == START + timedelta(hours=2)


def test_a_clear_of_a_running_task_re_attaches_to_the_same_job() -> None:
    task = Task()
    task.run_try()
    task.clear()
    assert task.run_try().job.task_id == "task_1"
    assert task.client.posts == 1


def test_another_callback_url_is_not_another_request() -> None:
    task = Task("apixo")
    task.run_try()
    task.callback_url = "https://airflow.example.com/hook"
    task.run_try()
    assert task.client.posts == 1


def test_a_changed_request_submits_a_new_job_and_logs_the_one_left_behind() -> None:
    task = Task()
    task.run_try()
    task.prompt = "another lighthouse"
    assert task.run_try().job.task_id == "task_2"
    assert "task_1" in task.warnings[-1]


def test_another_model_or_connection_is_another_request() -> None:
    task = Task("apixo")
    task.run_try()
    task.model = "seedance-2"
    assert task.run_try().job.task_id == "task_2"
    task.client.connect(conn_id="of_another_account")
    assert task.run_try().job.task_id == "task_3"


def test_the_checks_before_payment_are_skipped_for_an_existing_job() -> None:
    task = Task()

    def fail() -> None:
        raise RuntimeError("the target exists")

    task.check_before_payment = fail
    with pytest.raises(RuntimeError):
        task.run_try()
    assert (task.client.posts, dict(task.store)) == (0, {})
    task.check_before_payment = lambda: None
    task.run_try()
    task.check_before_payment = fail
    task.run_try()


# --- not accepted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ConnectionFailed("no route"), RateLimited("429"), InsufficientFunds("402"), ContentRefused("no")],
)
def test_after_a_submission_that_was_not_accepted_the_next_try_submits(error: Exception) -> None:
    task = Task()
    task.client.replies = [error]
    with pytest.raises(type(error)):
        task.run_try()
    assert task.store.phase == "not_accepted"
    task.run_try()
    assert task.client.billed == ["task_2"]


# --- the outcome is unknown -----------------------------------------------------------------------------


def test_an_unknown_outcome_is_reported_until_a_clear_submits() -> None:
    task = Task()
    task.client.replies = [UNKNOWN_OUTCOME]
    with pytest.raises(SubmitOutcomeUnknown) as first:
        task.run_try()
    assert first.value.fatal
    for _ in range(2):
        with pytest.raises(SubmitOutcomeUnknown) as again:
            task.run_try()
        assert type(again.value) is SubmitOutcomeUnknown
        assert START.isoformat() in str(again.value)
        assert again.value.job is None
        assert task.store.record["task_id"] == ""
    assert task.client.posts == 1
    task.clear()
    task.run_try()
    assert task.client.posts == 2


def test_a_job_id_in_the_vendors_error_is_in_the_error_message() -> None:
    task = Task()
    task.client.replies = [SubmitOutcomeUnknown("500", job=_job(task.client.settings, "task_7"))]
    for _ in range(2):
        with pytest.raises(SubmitOutcomeUnknown, match="task_7"):
            task.run_try()


@pytest.mark.parametrize(
    ("vendor", "on_unknown", "error_type", "may_wait"),
    [
        ("apixgo", "fail", SubmitOutcomeUnknown, False),
        ("apixgo", "resubmit", UnknownSubmitWillResubmit, False),
        ("apimart", "fail", UnknownSubmitWillResend, True),
    ],
)
@pytest.mark.parametrize("at_capacity", [False, True])
def test_the_vendors_error_is_kept_and_only_an_idempotency_key_allows_waiting_for_capacity(
    vendor: str,
    on_unknown: OnUnknown,
    error_type: type[SubmitOutcomeUnknown],
    may_wait: bool,
    at_capacity: bool,
) -> None:
    task = Task(vendor, on_unknown)
    reply = SubmitOutcomeUnknown(
        "no reply came", vendor_code="504", vendor_message="gateway timeout", retry_after=7.0
    )
    reply.at_capacity = at_capacity
    task.client.replies = [reply]
    with pytest.raises(SubmitOutcomeUnknown) as error:
        task.run_try()
    assert type(error.value) is error_type
    assert (error.value.summary, error.value.vendor_code, error.value.vendor_message) == (
        reply.summary,
        "504",
        reply.vendor_message,
    )
    assert (error.value.retry_after, error.value.at_capacity) == (7.0, at_capacity and may_wait)


def test_a_worker_killed_during_the_paid_call_is_reported_before_a_clear_submits() -> None:
    task = Task()
    task.client.replies = [WorkerKilled()]
    with pytest.raises(WorkerKilled):
        task.run_try()
    assert (task.store.phase, task.store.record["task_id"]) == ("submitting", "")
    task.clear()
    with pytest.raises(SubmitOutcomeUnknown):
        task.run_try()
    assert task.client.posts == 1
    task.clear()
    task.run_try()
    assert task.client.posts == 2


def test_resubmit_submits_at_each_retry_and_logs_the_risk() -> None:
    task = Task(on_unknown="resubmit")
    task.client.replies = [UNKNOWN_OUTCOME, UNKNOWN_OUTCOME]
    for _ in range(2):
        with pytest.raises(UnknownSubmitWillResubmit) as error:
            task.run_try()
        assert not error.value.fatal
    task.run_try()
    assert [text for text in task.warnings if "both may be billed" in text] == task.warnings
    assert (len(task.warnings), task.client.posts) == (2, 3)


def test_a_lost_job_is_reported_by_a_retry_and_submitted_anew_by_a_clear() -> None:
    task = Task(on_unknown="resubmit")
    task.run_try()
    task.record_phase("lost")
    with pytest.raises(JobLost, match=r"the vendor does not know the job.*task_1"):
        task.run_try()
    task.clear()
    assert task.run_try().job.task_id == "task_2"


# --- idempotency keys -----------------------------------------------------------------------------------


def test_no_idempotency_key_is_sent_to_a_vendor_without_them() -> None:
    task = Task()
    task.run_try()
    assert task.client.keys == [None]
    assert task.store.record["idempotency_key"] == ""


@pytest.mark.parametrize("try_kind", ["retry", "clear"])
def test_an_unknown_submission_is_resent_with_the_same_idempotency_key(try_kind: str) -> None:
    task = Task("apimart")
    task.client.replies = [UNKNOWN_OUTCOME]
    with pytest.raises(UnknownSubmitWillResend) as error:
        task.run_try()
    assert not error.value.fatal
    if try_kind == "clear":
        task.clear()
    task.run_try()
    first, second = task.client.keys
    assert first == second
    assert first is not None
    assert first.startswith("vidgen-")


def test_the_error_before_a_resend_has_the_expiry_of_the_idempotency_key() -> None:
    task = Task("apimart")
    task.client.replies = [UNKNOWN_OUTCOME, UNKNOWN_OUTCOME]
    with pytest.raises(UnknownSubmitWillResend, match=r"until the key expires at 2026-11-20T04:00:00\+00:00"):
        task.run_try()
    task.clock.time += timedelta(minutes=50)
    # A resend does not extend it.
    with pytest.raises(UnknownSubmitWillResend, match=r"until the key expires at 2026-11-20T04:00:00\+00:00"):
        task.run_try()
    task.clock.time += timedelta(minutes=50)
    with pytest.raises(SubmitOutcomeUnknown, match=r"key expired at 2026-11-20T04:00:00\+00:00"):
        task.run_try()


@pytest.mark.parametrize(
    "error", [ConnectionFailed("no route"), RateLimited("429"), InsufficientFunds("402")]
)
def test_a_refused_resend_leaves_the_first_submission_unknown(error: Exception) -> None:
    task = Task("apimart")
    task.client.replies = [WorkerKilled(), error]
    with pytest.raises(WorkerKilled):
        task.run_try()
    # Not "nothing was spent": that is not known.
    with pytest.raises(UnknownSubmitWillResend, match=f"outcome of an earlier.* and now: {error.args[0]}"):
        task.run_try()
    assert task.store.phase == "unknown"
    task.run_try()
    assert len(set(task.client.keys)) == 1


@pytest.mark.parametrize("error", [ConnectionFailed, RateLimited])
def test_the_error_of_a_refused_resend_has_the_vendors_details(error: type[SubmitError]) -> None:
    task = Task("apimart")
    task.client.replies = [
        UNKNOWN_OUTCOME,
        error("busy", vendor_code="429", vendor_message="slow down", retry_after=7.0),
    ]
    with pytest.raises(UnknownSubmitWillResend):
        task.run_try()
    with pytest.raises(UnknownSubmitWillResend) as raised:
        task.run_try()
    assert (raised.value.vendor_code, raised.value.vendor_message, raised.value.retry_after) == (
        "429",
        "slow down",
        7.0,
    )
    assert raised.value.at_capacity is error.at_capacity


def test_a_resend_does_not_extend_the_validity_of_an_idempotency_key() -> None:
    task = Task("apimart")
    task.client.replies = [UNKNOWN_OUTCOME, UNKNOWN_OUTCOME]
    with pytest.raises(UnknownSubmitWillResend):
        task.run_try()
    task.clock.time += timedelta(minutes=50)
    with pytest.raises(UnknownSubmitWillResend):
        task.run_try()
    task.clock.time += timedelta(minutes=50)
    with pytest.raises(SubmitOutcomeUnknown) as error:
        task.run_try()
    assert error.value.fatal
    assert "API key" not in str(error.value)  # it has not changed
    assert task.client.posts == 2
    task.clear()
    task.run_try()
    assert len(set(task.client.keys)) == 2


def test_a_resend_keeps_the_job_id_of_an_earlier_error() -> None:
    task = Task("apimart")
    job_in_error = _job(task.client.settings, "task_7")
    task.client.replies = [SubmitOutcomeUnknown("500", job=job_in_error), RateLimited("429"), UNKNOWN_OUTCOME]
    for _ in range(3):
        with pytest.raises(UnknownSubmitWillResend):
            task.run_try()
        assert task.store.record["task_id"] == "task_7"
    task.clock.time += timedelta(hours=2)
    task.clear()
    task.client.statuses["task_7"] = RUNNING
    assert task.run_try().job.task_id == "task_7"
    assert (task.client.posts, task.client.checked) == (3, ["task_7"])


def test_resubmit_checks_a_job_id_of_an_earlier_error_before_it_submits() -> None:
    task = Task(on_unknown="resubmit")
    job_in_error = _job(task.client.settings, "task_7")
    task.client.replies = [SubmitOutcomeUnknown("500", job=job_in_error)]
    with pytest.raises(UnknownSubmitWillResubmit):
        task.run_try()
    task.client.statuses["task_7"] = RUNNING
    assert task.run_try().job.task_id == "task_7"
    assert (task.client.posts, task.client.checked) == (1, ["task_7"])


def test_a_new_submission_after_a_failed_job_has_a_new_idempotency_key() -> None:
    task = Task("apimart")
    task.run_try()
    task.record_phase("failed")
    task.run_try()
    assert len(set(task.client.keys)) == 2


# --- the store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_an_unreadable_store_fails_the_try_without_a_submission(on_unknown: OnUnknown) -> None:
    task = Task(on_unknown=on_unknown)
    task.store.unreadable = True
    with pytest.raises(LedgerUnreadable):
        task.run_try()
    assert task.client.posts == 0


def test_an_unwritable_intent_fails_the_try_without_a_submission() -> None:
    task = Task()
    task.store.failing_writes = [True]
    with pytest.raises(LedgerUnreadable):
        task.run_try()
    assert task.client.posts == 0


def test_recording_the_job_id_is_retried_with_backoff() -> None:
    task = Task()
    task.store.failing_writes = [False, True, True, True, True]
    assert task.run_try().job.task_id == "task_1"
    assert task.store.phase == "submitted"
    assert task.clock.slept == [1, 2, 4, 8]
    assert len(task.warnings) == 4
    assert all(
        "refused the phase submitted of the job task_1; trying again" in text for text in task.warnings
    )


def test_recording_a_refusal_is_retried_with_backoff() -> None:
    task = Task()
    task.client.replies = [ConnectionFailed("no route")]
    task.store.failing_writes = [False, True, True]
    with pytest.raises(ConnectionFailed):
        task.run_try()
    assert task.store.phase == "not_accepted"
    assert len(task.warnings) == 2
    assert all("refused the phase not_accepted of the submission" in text for text in task.warnings)


def test_a_job_that_cannot_be_recorded_is_reported_with_its_id_and_not_submitted_again() -> None:
    task = Task()
    task.store.failing_writes = [False, *[True] * 5]
    with pytest.raises(JobNotRecorded, match=r"accepted the job, .*\(ConnectionError\).*task_1") as error:
        task.run_try()
    assert error.value.fatal
    with pytest.raises(SubmitOutcomeUnknown):
        task.run_try()
    assert task.client.posts == 1


def test_an_unknown_outcome_is_reported_even_if_it_cannot_be_recorded() -> None:
    task = Task()
    task.client.replies = [UNKNOWN_OUTCOME]
    task.store.failing_writes = [False, *[True] * 5]
    with pytest.raises(SubmitOutcomeUnknown, match="no reply came"):
        task.run_try()
    assert task.store.phase == "submitting"
    assert task.warnings[-1] == (
        "The phase unknown could not be recorded (ConnectionError); "
        "the next try reports the submission as unknown"
    )


# --- a synchronous endpoint -----------------------------------------------------------------------------


def test_the_result_of_a_synchronous_endpoint_is_recorded() -> None:
    task = Task()
    finished = JobStatus(state=JobState.SUCCEEDED, raw_state="succeeded", result_urls=(LINK,))
    task.client.replies = [Submission(job=_job(task.client.settings, ""), status=finished)]
    assert task.run_try().status == finished
    assert task.run_try().status == replace(finished, raw_state="recorded")
    assert task.client.posts == 1


def test_the_result_of_a_synchronous_endpoint_is_recorded_with_its_expiry() -> None:
    task = Task()
    task.client.replies = [Submission(job=_job(task.client.settings, ""), status=VIDEO)]
    task.run_try()
    assert task.store.record["expires_at"] == (START + timedelta(hours=1)).isoformat()
    task.record_phase("delivered")
    task.clear()
    task.clock.time += timedelta(minutes=59)
    assert task.run_try().status is not None
    task.clock.time += timedelta(minutes=1)
    assert task.run_try().job.task_id == "task_2"


@pytest.mark.parametrize("cleared", [False, True])
def test_a_delivered_result_without_a_job_id_is_returned_without_a_status_check(cleared: bool) -> None:
    task = Task()
    finished = JobStatus(state=JobState.SUCCEEDED, raw_state="succeeded", result_urls=(LINK,))
    task.client.replies = [Submission(job=_job(task.client.settings, ""), status=finished)]
    task.run_try()
    task.record_phase("delivered")
    if cleared:
        task.clear()
    assert task.run_try().status == replace(finished, raw_state="recorded")
    assert (task.client.checked, task.client.posts) == ([], 1)


def test_a_failure_without_a_job_id_is_recorded_as_failed() -> None:
    task = Task()
    failure = Failure(category=FailureCategory.INTERNAL)
    ended = JobStatus(state=JobState.FAILED, raw_state="failed", failure=failure)
    task.client.replies = [Submission(job=_job(task.client.settings, ""), status=ended)]
    assert task.run_try().status == ended
    assert task.store.phase == "failed"
    assert task.run_try().job.task_id == "task_2"


def test_a_failure_with_a_job_id_is_recorded_as_submitted() -> None:
    task = Task()
    task.client.replies = [Submission(job=_job(task.client.settings, "task_1"), status=FAILED)]
    assert task.run_try().status == FAILED
    assert task.store.phase == "submitted"
    assert task.run_try().job.task_id == "task_1"


# --- concurrent processes -------------------------------------------------------------------------------


def test_a_second_process_reads_the_intent_of_the_first_one() -> None:
    first, second = Task(), Task()
    second.store = first.store

    def run_second_try() -> None:
        with pytest.raises(SubmitOutcomeUnknown):
            second.run_try()

    first.client.before_submit = run_second_try
    first.run_try()
    assert first.client.posts + second.client.posts == 1


def test_an_outdated_process_reads_nothing_and_cannot_submit() -> None:
    class OutdatedStore(UnreliableStore):
        def get(self, key: str, default: Any = None) -> Any:
            return default

        def set(self, key: str, value: Any) -> None:
            raise PermissionError("404: no such task instance")

    task = Task()
    task.store = OutdatedStore()
    with pytest.raises(LedgerUnreadable):
        task.run_try()
    assert task.client.posts == 0


# --- a clear checks before it submits -------------------------------------------------------------------

REPORTED = ["unknown", "lost", "failed"]


def reported_task(phase: str, **fields: Any) -> Task:
    task = Task()
    task.run_try()
    task.record_phase(phase, **fields)
    task.clear()
    return task


@pytest.mark.parametrize("phase", REPORTED)
@pytest.mark.parametrize("status", [RUNNING, VIDEO, NO_LINK])
def test_a_clear_re_attaches_to_a_reported_job_that_is_still_alive(phase: str, status: JobStatus) -> None:
    task = reported_task(phase)
    task.client.statuses["task_1"] = status
    active = task.run_try()
    assert (active.job.task_id, active.status) == ("task_1", status)
    assert (task.client.checked, task.client.posts, task.store.phase) == (["task_1"], 1, "submitted")
    assert (
        task.warnings[-1]
        == f"apixgo job task_1 is {status.state} at the vendor: re-attaching, nothing is paid"
    )


@pytest.mark.parametrize("phase", REPORTED)
def test_a_clear_submits_once_the_status_check_confirms_that_there_is_no_video(phase: str) -> None:
    for reply in (JobNotFound("no such job"), FAILED):
        task = reported_task(phase)
        task.client.statuses["task_1"] = reply
        assert task.run_try().job.task_id == "task_2"
        assert (task.client.checked, task.client.posts) == (["task_1"], 2)
        message = "apixgo job task_1 has no video and will bring none; a new, paid job is submitted"
        assert task.warnings[-1] == message
        # The new job belongs to this request: the next try re-attaches to it.
        assert (task.run_try().job.task_id, task.client.posts) == ("task_2", 2)


@pytest.mark.parametrize("phase", REPORTED)
@pytest.mark.parametrize("status", [VIDEO, NO_LINK])
def test_a_clear_submits_once_the_links_have_expired(phase: str, status: JobStatus) -> None:
    task = reported_task(phase)
    task.client.statuses["task_1"] = status
    task.clock.time = START + timedelta(minutes=59)
    assert task.run_try().job.task_id == "task_1"
    task = reported_task(phase)
    task.client.statuses["task_1"] = status
    task.clock.time = START + timedelta(hours=1)
    assert task.run_try().job.task_id == "task_2"


@pytest.mark.parametrize("phase", [*REPORTED, "delivered"])
def test_an_expired_link_that_is_still_live_is_used_and_nothing_is_submitted(phase: str) -> None:
    task = reported_task(phase)
    task.client.statuses["task_1"] = VIDEO
    task.links_live = True
    task.clock.time = START + timedelta(minutes=59)
    task.run_try()
    assert task.checked_links == []
    task.record_phase(phase)
    task.clear()
    task.clock.time = START + timedelta(days=2)
    assert task.run_try().status == VIDEO
    assert (task.checked_links, task.client.posts) == ([LINK], 1)


def test_the_first_reported_expiry_of_a_link_counts() -> None:
    """A vendor without an expiry of its own seems to extend its links' life at each status check."""
    task = reported_task("lost", expires_at=(START + timedelta(minutes=5)).isoformat())
    task.client.statuses["task_1"] = VIDEO
    task.clock.time = START + timedelta(minutes=6)
    assert task.run_try().job.task_id == "task_2"


@pytest.mark.parametrize("phase", REPORTED)
def test_a_recorded_expiry_does_not_apply_to_a_running_job(phase: str) -> None:
    task = reported_task(phase, expires_at=(START + timedelta(minutes=5)).isoformat())
    task.client.statuses["task_1"] = RUNNING
    task.clock.time = START + timedelta(minutes=6)
    assert task.run_try().job.task_id == "task_1"
    assert task.client.posts == 1


@pytest.mark.parametrize("phase", [*REPORTED, "delivered"])
@pytest.mark.parametrize("error", [StatusUnavailable("502"), StatusRefused("401")])
def test_a_clear_submits_nothing_while_the_status_check_fails(phase: str, error: Exception) -> None:
    task = reported_task(phase)
    task.client.statuses["task_1"] = error
    with pytest.raises(type(error)) as raised:
        task.run_try()
    assert raised.value is error
    assert not raised.value.fatal  # type: ignore[attr-defined]
    assert task.client.posts == 1


def test_a_retry_after_a_failed_job_submits_without_a_status_check() -> None:
    task = Task()
    task.run_try()
    task.record_phase("failed")
    assert task.run_try().job.task_id == "task_2"
    assert task.client.checked == []


def test_the_checks_before_payment_run_before_a_clear_submits() -> None:
    task = reported_task("lost")
    task.client.statuses["task_1"] = FAILED

    def fail() -> None:
        raise RuntimeError("the target exists")

    task.check_before_payment = fail
    with pytest.raises(RuntimeError):
        task.run_try()
    assert task.client.posts == 1


# --- a delivered video ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cleared", [False, True])
def test_a_delivered_video_is_returned_while_its_link_is_live(cleared: bool) -> None:
    task = reported_task("delivered", files=FILES) if cleared else Task()
    if not cleared:
        task.run_try()
        task.record_phase("delivered")
    task.client.statuses["task_1"] = VIDEO
    active = task.run_try()
    assert (active.job.task_id, active.status, active.files) == ("task_1", VIDEO, ())
    assert task.client.posts == 1
    assert ("airflow vidgen regenerate" in task.warnings[-1]) == cleared


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize(
    "reply", [JobNotFound("no such job"), VIDEO, NO_LINK, StatusUnavailable("502"), StatusRefused("401")]
)
def test_a_delivered_video_is_returned_while_its_file_exists(cleared: bool, reply: Any) -> None:
    task = Task()
    task.run_try()
    task.record_phase("delivered", files=FILES)
    if cleared:
        task.clear()
    task.client.statuses["task_1"] = reply
    task.existing_files = FILES
    task.clock.time = START + timedelta(days=3)
    active = task.run_try()
    assert active.job.task_id == "task_1"
    assert list(active.files) == FILES
    assert active.status is not None
    assert active.status == JobStatus(state=JobState.SUCCEEDED, raw_state="landed")
    assert task.client.posts == 1
    if isinstance(reply, StatusUnavailable | StatusRefused):
        assert task.warnings[-1] == f"{reply.summary}; the landed files still exist"


@pytest.mark.parametrize("reply", [JobNotFound("no such job"), VIDEO, NO_LINK, FAILED])
def test_a_delivered_video_that_no_longer_exists_is_submitted_anew_by_a_clear_but_not_by_a_retry(
    reply: Any,
) -> None:
    task = Task()
    task.run_try()
    task.record_phase("delivered", files=FILES)
    task.client.statuses["task_1"] = reply
    task.clock.time = START + timedelta(days=3)
    with pytest.raises(ResultExpired, match=r"neither its file nor its link exists.*task_1"):
        task.run_try()
    assert task.client.posts == 1
    task.clear()
    assert task.run_try().job.task_id == "task_2"
    assert task.warnings[-1] == "Neither a link nor a file of apixgo job task_1 exists any more"
    # The new job belongs to this request: the next try re-attaches to it.
    assert (task.run_try().job.task_id, task.client.posts) == ("task_2", 2)


@pytest.mark.parametrize("reply", [RUNNING, replace(NO_LINK, expires_at=None)])
def test_a_delivered_job_whose_status_is_unfinished_is_re_attached(reply: JobStatus) -> None:
    task = reported_task("delivered")
    task.client.statuses["task_1"] = reply
    assert task.run_try().status == reply
    assert task.client.posts == 1


def test_regenerate_submits_at_each_clear_and_at_no_retry() -> None:
    task = Task()
    task.on_clear = "regenerate"
    task.run_try()
    task.record_phase("delivered")
    task.client.statuses["task_1"] = VIDEO
    assert task.run_try().job.task_id == "task_1"
    task.clear()
    assert task.run_try().job.task_id == "task_2"
    assert task.run_try().job.task_id == "task_2"
    assert task.client.posts == 2


@pytest.mark.parametrize("phase", ["submitted", "delivered", "unknown", "lost"])
def test_a_discarded_job_is_replaced_by_a_new_one(phase: str) -> None:
    task = Task()
    task.run_try()
    task.record_phase("discarded")
    assert task.run_try().job.task_id == "task_2"
    assert "task_1" in task.warnings[-1]


# --- another host or API key ----------------------------------------------------------------------------

OTHER_BASE_URL = "https://staging.example.com"


@pytest.mark.parametrize("phase", ["submitting", "submitted", "unknown", "delivered", "lost"])
@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_a_changed_base_url_is_reported_with_both_hosts_and_submits_nothing(
    phase: str, cleared: bool, on_unknown: OnUnknown
) -> None:
    for vendor in MODELS:
        task = Task(vendor, on_unknown)
        task.run_try()
        first = task.client.settings.base_url
        task.record_phase(phase)
        if cleared:
            task.clear()
        task.client.connect(host=OTHER_BASE_URL)
        with pytest.raises(JobConnectionMismatch) as error:
            task.run_try()
        assert OTHER_BASE_URL in str(error.value)
        assert first in str(error.value)
        assert not error.value.fatal
        assert (task.client.posts, task.client.checked, task.store.phase) == (1, [], phase)


def test_a_changed_request_can_be_submitted_to_another_base_url() -> None:
    task = Task()
    task.run_try()
    task.prompt = "another lighthouse"
    task.client.connect(host=OTHER_BASE_URL)
    assert task.run_try().job.base_url == OTHER_BASE_URL
    assert "task_1" in task.warnings[-1]


@pytest.mark.parametrize("phase", ["not_accepted", "discarded"])
def test_without_an_existing_job_the_base_url_may_change(phase: str) -> None:
    task = Task()
    task.run_try()
    task.record_phase(phase)
    task.client.connect(host=OTHER_BASE_URL)
    assert task.run_try().job.base_url == OTHER_BASE_URL


def test_a_changed_api_key_invalidates_the_idempotency_key_and_is_reported() -> None:
    task = Task("apimart")
    task.client.replies = [UNKNOWN_OUTCOME]
    with pytest.raises(UnknownSubmitWillResend):
        task.run_try()
    task.client.connect(password="api-key-of-another-account")
    with pytest.raises(SubmitOutcomeUnknown, match=r"An earlier try sent .*new API key") as error:
        task.run_try()
    assert error.value.fatal
    assert task.client.posts == 1
    task.client.connect()
    task.run_try()
    assert len(set(task.client.keys)) == 1


def test_no_error_mentions_idempotency_for_a_vendor_without_keys() -> None:
    task = Task()
    task.client.replies = [UNKNOWN_OUTCOME]
    with pytest.raises(SubmitOutcomeUnknown):
        task.run_try()
    task.client.connect(password="api-key-of-another-account")
    with pytest.raises(SubmitOutcomeUnknown, match="An earlier try sent") as error:
        task.run_try()
    assert "idempotency" not in str(error.value)


@pytest.mark.parametrize("phase", ["unknown", "lost", "failed", "delivered"])
def test_job_not_found_with_another_api_key_is_reported_as_a_changed_account(phase: str) -> None:
    task = reported_task(phase)
    task.client.statuses["task_1"] = JobNotFound(
        "no such job", vendor_code="404", vendor_message="task_not_exist"
    )
    task.client.connect(password="api-key-of-another-account")
    with pytest.raises(AccountChanged, match=r"API key is not the one.*task_1") as error:
        task.run_try()
    assert (error.value.vendor_code, error.value.vendor_message) == ("404", "task_not_exist")
    assert task.client.posts == 1


def test_the_record_reveals_nothing_about_the_api_key() -> None:
    task, other = Task(), Task()
    task.run_try()
    other.prompt = "another lighthouse"
    other.run_try()
    assert "k3y" not in str(task.store.record)
    hashes = {each_task.store.record["api_key_hash"] for each_task in (task, other)}
    assert {len(value) for value in hashes} == {32}
    assert len(hashes) == 2  # even the same key has another hash in each record


# --- the job id -----------------------------------------------------------------------------------------


def test_the_job_id_is_logged_before_it_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    task = Task()
    caplog.set_level(logging.INFO)

    def kill(phase: str) -> None:
        if phase == "submitted":
            raise WorkerKilled

    task.store.before_write = kill
    with pytest.raises(WorkerKilled):
        task.run_try()
    assert "The vendor accepted apixgo job task_1" in caplog.text
    assert task.store.phase == "submitting"


# --- the fingerprint ------------------------------------------------------------------------------------


def test_fingerprint_and_api_key_hash_do_not_change_between_versions() -> None:
    """If they changed, an upgrade would treat each running job as another request's, and pay again."""
    request_hash = fingerprint({"a": 1, "b": "é"}, path="/p", conn_id="c")
    assert request_hash == "55c62ff1aa314986102cca5fdef9359bea677c71543029ec6fc124faab5d8465"
    assert api_key_hash("k3y-of-a-test", request_hash) == "4f59b5e5c144863d698d839085167910"


def test_the_fingerprint_depends_on_body_path_and_account_only() -> None:
    original = fingerprint({"a": 1, "b": "é"}, path="/p", conn_id="c")
    assert original == fingerprint({"b": "é", "a": 1}, path="/p", conn_id="c")
    assert len({
        original,
        fingerprint({"a": 2, "b": "é"}, path="/p", conn_id="c"),
        fingerprint({"a": 1, "b": "é"}, path="/q", conn_id="c"),
        fingerprint({"a": 1, "b": "é"}, path="/p", conn_id="d"),
        fingerprint({"a": "1", "b": "é"}, path="/p", conn_id="c"),
        fingerprint(None, path="/p", conn_id="c"),
        fingerprint({"a": "an unpaired surrogate: \ud83d"}, path="/p", conn_id="c"),
    }) == 7  # fmt: skip
