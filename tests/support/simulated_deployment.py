# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A simulated deployment with fault injection, for the state machine tests of paid calls.

The operator, the trigger, the submitter, the ledger, the job poller and the worker's client with its retry
policy are real. The vendor, Airflow's tries and its task state store are simulated. At every call to one of
them a process can be killed, or superseded by another process of the same task.
"""

from __future__ import annotations

import asyncio
import functools
import json
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    TaskDeferred,
)

from airflow_provider_vidgen import client as client_module
from airflow_provider_vidgen import clock as clock_module
from airflow_provider_vidgen import generation, job_wait, submission
from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    ConnectionFailed,
    JobLost,
    JobNotRecorded,
    StatusUnavailable,
    SubmitOutcomeUnknown,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.ledger import entry_key
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers import video_task
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply
from tests.support.clock import Clock

MODELS = {"apixgo": "grok-image-video", "apimart": "grok-imagine-1.0-video-apimart"}
LINK = "https://cdn.example.com/{}.mp4"
#: How long the simulated vendor remembers an idempotency key: exactly as long as documented.
IDEMPOTENCY_WINDOW = timedelta(hours=1)
RENDER_TIME = timedelta(seconds=60)
#: The documented lifetime of result links.
LINK_LIFETIME = {"apixgo": timedelta(hours=1), "apimart": timedelta(hours=24)}
TIMEOUT = 120.0
#: Each vendor's reply about an unknown job.
NO_SUCH_JOB = {
    "apixgo": HttpReply(status=400, content=b'{"code": "task_not_exist", "message": "task_not_exist"}'),
    "apimart": HttpReply(status=404, content=b'{"code": 404, "message": "not found"}'),
}
#: Faults of a submission: the vendor accepts no job, or it accepts the job and its reply is lost or useless.
FAULTS_BEFORE_ACCEPTANCE = ("not_sent", "429", "402", "400", "timeout_before", "502_before", "409")
FAULTS_AFTER_ACCEPTANCE = ("timeout_after", "500_after", "no_id_after", "html_after")
STATUS_FAULTS = ("unavailable", "502", "404", "not_json", "401")
JOB_OUTCOMES = ("succeeds", "fails", "hangs", "forgotten")
#: After recording one of these a worker only has to exit.
FINAL_PHASES = ("delivered", "unknown", "lost")


class PaidTwice(AssertionError):
    """The vendor accepted a job although an earlier one must not be paid for again."""


class LostVideo(AssertionError):
    """A task never received its paid video, although no fault was injected any more."""


class ProcessKilled(BaseException):
    """SIGKILL: the code under test cannot catch it."""


class _SilentLogger:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


class UnlimitedAccount:
    """An account without a rate limit, which has tests of its own."""

    @contextmanager
    def count_worker_requests(self, *, just_submitted: bool) -> Iterator[None]:
        yield


@dataclass
class FaultPlan:
    """
    The faults of one process.

    :param kill_at: the number of the fault point at which the process is killed.
    :param kill_after: the process is killed right after it has recorded this phase.
    :param supersede_at: the number of the fault point at which Airflow starts another process, which runs to
        its end.
    :param superseded_by_clear: the reason is a clear of the running task, not missing heartbeats.
    :param submit_faults: the fault of each POST; ``ok`` after the last.
    :param status_faults: the fault of each GET; ``ok`` after the last.
    :param write_faults: the fault of each write to the store: ``ok``, ``refused``, ``lost_reply``, or
        ``late``: the client repeats the write, and the server executes the first one much later.
    :param store_unreadable: the store cannot be read.
    :param outcome: what becomes of a job that this process submits.
    """

    kill_at: int | None = None
    kill_after: str = ""
    supersede_at: int | None = None
    superseded_by_clear: bool = False
    submit_faults: tuple[str, ...] = ()
    status_faults: tuple[str, ...] = ()
    write_faults: tuple[str, ...] = ()
    store_unreadable: bool = False
    outcome: str = "succeeds"


@dataclass
class Job:
    """A job at the vendor; each one is billed when it is accepted."""

    id: str
    request: str
    accepted_at: datetime
    outcome: str
    #: Its id is in the ledger, so a clear has to check it first.
    recorded: bool = False
    #: A status reply has reported that it failed.
    failure_reported: bool = False
    #: Why another job may be paid for; empty if none may.
    may_be_repaid: str = ""
    #: The same, if its video no longer exists: a clear has to check the job first.
    may_be_repaid_if_gone: str = ""


@dataclass
class Task:
    """One (mapped) task instance as Airflow stores it."""

    vendor: str
    deferrable: bool = True
    retries: int = 1
    on_unknown: str = "fail"
    on_clear: str = "reuse"
    state: str = "scheduled"
    try_number: int = 0
    max_tries: int = 0
    ti_id: int = 0
    store: dict[str, str] = field(default_factory=dict)
    #: Repeated writes whose first request the server has not executed yet: task instance id, key, value.
    late_writes: list[tuple[int, str, str]] = field(default_factory=list)
    prompt: int = 0
    jobs: list[Job] = field(default_factory=list)
    #: The deferral: a serialized trigger, and the method that resumes with its arguments.
    trigger: tuple[str, dict[str, Any]] | None = None
    resume_method: str = ""
    resume_kwargs: dict[str, Any] = field(default_factory=dict)
    event: Any = None
    #: How the last process ended, as the user sees it.
    reported: bool = False
    worker_died: bool = False
    result: Any = None

    def __post_init__(self) -> None:
        self.max_tries = self.retries

    @property
    def phase(self) -> str:
        return str(json.loads(self.newest_record)["phase"]) if self.newest_record else "none"

    @property
    def newest_record(self) -> str:
        """The newest entry in the ledger, as JSON."""
        number = 0
        while entry_key(number + 1) in self.store:
            number += 1
        return self.store.get(entry_key(number), "")


class SimulatedDeployment:
    """The vendors and Airflow."""

    def __init__(self) -> None:
        self.clock = Clock(datetime(2026, 11, 20, 3, 0, tzinfo=UTC))
        self.tasks: list[Task] = []
        self.idempotency_keys: dict[tuple[str, str], tuple[Job, datetime]] = {}
        self.job_count = 0
        self.current: Process | None = None
        self.paid_twice = ""

    @contextmanager
    def patched(self) -> Iterator[SimulatedDeployment]:
        """Patch the package to run in this deployment."""
        deployment = self

        class Hook(VideoGenHook):
            def __init__(self, vidgen_conn_id: str) -> None:
                self.vidgen_conn_id = vidgen_conn_id
                assert deployment.current is not None
                self.__dict__["settings"] = deployment.current.settings
                self.__dict__["client"] = deployment.current.client()

            @asynccontextmanager
            async def async_client(self) -> AsyncIterator[Any]:
                client = self.client

                async def status(job: Any, *, max_wait: float) -> Any:
                    return client.status_once(job)

                yield types.SimpleNamespace(settings=self.settings, status=status, limits=UnlimitedAccount())

        virtual_asyncio = types.SimpleNamespace(**{**vars(asyncio), "sleep": self.clock.asleep})
        with ExitStack() as stack:
            for target, name, value in (
                (client_module, "utcnow", self.clock.now),
                (clock_module, "utcnow", self.clock.now),
                (video_task, "utcnow", self.clock.now),
                (video_task, "asyncio", virtual_asyncio),
                (video_task, "VideoGenHook", Hook),
                (generation, "Submitter", functools.partial(submission.Submitter, sleep=self.clock.sleep)),
                (submission, "_log", _SilentLogger()),
                # A simulated link is dead as soon as it has expired.
                (Landing, "links_are_live", lambda landing, links: False),
                (VideoTaskTrigger, "log", _SilentLogger()),
                (VideoGenerationOperator, "log", _SilentLogger()),
                (VideoGenHook, "log", _SilentLogger()),
                (generation, "_log", _SilentLogger()),
                (job_wait, "_log", _SilentLogger()),
                (generation, "VideoGenHook", Hook),
            ):
                stack.enter_context(mock.patch.object(target, name, value))
            yield self

    # --- Airflow ----------------------------------------------------------------------------------------

    def run(self, task: Task, plan: FaultPlan) -> None:
        """Run a task on a worker."""
        if task.state not in ("scheduled", "up_for_reschedule", "resumable"):
            return
        resuming = task.state == "resumable"
        if task.state == "scheduled":
            task.try_number += 1
            # A try that ends before it reads the ledger does not change what an earlier one reported.
            task.reported = task.reported and task.phase in FINAL_PHASES
            task.worker_died = task.worker_died and task.phase in FINAL_PHASES
        task.state = "running"
        Process(self, task, plan).run(resuming)

    def run_trigger(self, task: Task, status_faults: tuple[str, ...]) -> Any:
        """Run the deserialized trigger on a triggerer, which may happen any number of times."""
        if task.trigger is None:
            return None
        process = Process(self, task, FaultPlan(status_faults=status_faults))
        with self._as(process):
            _, kwargs = json.loads(json.dumps(task.trigger))
            events = VideoTaskTrigger(**kwargs).run()
            try:
                anext(events).__await__().send(None)
            except StopIteration as stop:
                return stop.value.payload
            raise AssertionError("the trigger waits for something that is not simulated")

    def resume(self, task: Task, event: Any) -> None:
        """Make a deferred task resumable; only the first event does."""
        if task.state == "deferred" and event is not None:
            task.state, task.event, task.trigger = "resumable", event, None

    def execute_late_writes(self, task: Task) -> None:
        """Execute the writes that the client has abandoned, unless the try is outdated."""
        for ti_id, key, value in task.late_writes:
            if ti_id == task.ti_id:
                task.store[key] = value
        task.late_writes.clear()

    def clear(self, task: Task) -> None:
        """Clear the task while no worker runs it."""
        # A clear permits another payment after a reported error, or with on_clear="regenerate".
        if task.phase == "delivered" and task.on_clear == "regenerate":
            self.permit_another_job(task, "cleared after the delivery with on_clear='regenerate'")
        elif task.state == "success":
            self.permit_another_job(task, "cleared after success", if_gone=True)
        elif task.state in ("failed", "scheduled") and task.reported:
            self.permit_another_job(task, "cleared after a report", if_gone=True)
        elif task.worker_died and task.phase in FINAL_PHASES:
            # As documented in decision.py: the phase was recorded, and the failure in Airflow was not.
            self.permit_another_job(task, "cleared after a worker died between both records", if_gone=True)
        task.max_tries = task.try_number + task.retries
        self.start_try(task, "scheduled")

    def start_try(self, task: Task, state: str) -> None:
        """Start a try with a new task instance id, so that an older process loses its access."""
        task.ti_id += 1
        task.state, task.trigger, task.event = state, None, None

    def fail_try(self, task: Task, error: BaseException | None, *, final: bool) -> None:
        """End a try with an error: schedule a retry, or fail the task."""
        cause = error.__context__ if error is not None else None
        reported = isinstance(cause, SubmitOutcomeUnknown | JobLost | JobNotRecorded)
        task.reported = task.reported or reported
        # A recorded phase whose reply is lost ends the worker as well.
        task.worker_died = task.worker_died or error is None or isinstance(cause, ConnectionError)
        if not final and task.retries and task.try_number <= task.max_tries:
            self.start_try(task, "scheduled")
        else:
            task.state, task.trigger = "failed", None

    @staticmethod
    def permit_another_job(task: Task, reason: str, *, if_gone: bool = False) -> None:
        """
        Permit another payment for the task.

        :param if_gone: for a job whose id is recorded, only if its video no longer exists.
        """
        for job in task.jobs:
            if if_gone and job.recorded:
                job.may_be_repaid_if_gone = job.may_be_repaid_if_gone or reason
            else:
                job.may_be_repaid = job.may_be_repaid or reason

    @contextmanager
    def _as(self, process: Process) -> Iterator[None]:
        before, self.current = self.current, process
        try:
            yield
        finally:
            self.current = before

    # --- the vendor -------------------------------------------------------------------------------------

    def accept(self, task: Task, call: HttpCall, outcome: str, *, outdated: bool) -> Job:
        """Accept a request and bill it, unless its idempotency key is remembered."""
        key = call.headers.get("Idempotency-Key")
        if key is not None and (task.vendor, key) in self.idempotency_keys:
            job, sent_at = self.idempotency_keys[task.vendor, key]
            if self.clock.now() - sent_at < IDEMPOTENCY_WINDOW:
                return job
        request = json.dumps(call.body, sort_keys=True)
        for earlier in task.jobs:
            if earlier.may_be_repaid or earlier.failure_reported or earlier.request != request:
                continue
            if earlier.may_be_repaid_if_gone and self.video_is_gone(task, earlier):
                continue
            if task.on_unknown == "resubmit" and (outdated or earlier.id not in task.newest_record):
                continue  # on_unknown_submit="resubmit" accepts that risk
            # Not raised here: the code under test might catch it.
            self.paid_twice = self.paid_twice or f"{earlier} is paid for again by {task}"
        self.job_count += 1
        job = Job(f"task_{self.job_count}", request, self.clock.now(), outcome)
        task.jobs.append(job)
        if key is not None:
            self.idempotency_keys[task.vendor, key] = (job, self.clock.now())
        return job

    def video_is_gone(self, task: Task, job: Job) -> bool:
        expired_at = job.accepted_at + RENDER_TIME + LINK_LIFETIME[task.vendor]
        return job.outcome == "forgotten" or (job.outcome == "succeeds" and self.clock.now() >= expired_at)

    def state_of(self, job: Job) -> str:
        ended = self.clock.now() >= job.accepted_at + RENDER_TIME
        return job.outcome if ended and job.outcome in ("succeeds", "fails") else "renders"


def _settings(vendor: str) -> ConnectionSettings:
    return ConnectionSettings.read(
        "vidgen_default",
        host=None,
        password="k3y-of-the-simulation",
        extra={"vendor": vendor, "model": MODELS[vendor]},
    )


SETTINGS = {vendor: _settings(vendor) for vendor in MODELS}


class Process:
    """One process of one task: a worker, or the triggerer."""

    def __init__(self, deployment: SimulatedDeployment, task: Task, plan: FaultPlan) -> None:
        self.deployment, self.task, self.plan = deployment, task, plan
        self.ti_id = task.ti_id
        self.max_tries = task.max_tries
        self.try_number = task.try_number
        self.settings = SETTINGS[task.vendor]
        self._fault_points = 0
        self._submit_faults, self._status_faults = iter(plan.submit_faults), iter(plan.status_faults)
        self._write_faults = iter(plan.write_faults)

    @property
    def outdated(self) -> bool:
        return self.ti_id != self.task.ti_id

    @property
    def is_current(self) -> bool:
        """Whether Airflow still accepts the result of this process."""
        return not self.outdated and self.task.state == "running"

    def fault_point(self) -> None:
        """Kill or supersede this process, if its plan has that here."""
        self._fault_points += 1
        if self._fault_points == self.plan.kill_at:
            raise ProcessKilled
        if self._fault_points == self.plan.supersede_at and self.is_current:
            if self.plan.superseded_by_clear:
                # A clear of a running task does not change max_tries, see airflow_internals.max_tries.
                self.deployment.start_try(self.task, "scheduled")
            else:
                self.deployment.fail_try(self.task, None, final=False)
            self.deployment.run(self.task, FaultPlan())

    def client(self) -> WorkerClient:
        client = WorkerClient(self.settings, now=self.deployment.clock.now, sleep=self.deployment.clock.sleep)
        transport = types.SimpleNamespace(submit=self.send_submission, get=self.send_status_check)
        client._transport = transport  # type: ignore[assignment]
        return client

    # --- a worker ---------------------------------------------------------------------------------------

    def run(self, resuming: bool) -> None:
        deployment, task = self.deployment, self.task
        operator = VideoGenerationOperator(
            task_id="make",
            prompt=f"prompt {task.prompt}",
            deferrable=task.deferrable,
            timeout=TIMEOUT,
            on_unknown_submit=task.on_unknown,  # type: ignore[arg-type]
            on_clear=task.on_clear,  # type: ignore[arg-type]
        )
        context: Any = {"ti": self, "task_state_store": self}
        with deployment._as(self):
            try:
                self.fault_point()
                if resuming:
                    execute_complete = getattr(operator, task.resume_method)
                    result = execute_complete(context, event=task.event, **task.resume_kwargs)
                else:
                    result = operator.execute(  # type: ignore[call-arg]
                        context, VideoGenerationOperator__sentinel=ExecutorSafeguard.sentinel_value
                    )
                self.fault_point()
            except ProcessKilled:
                if self.is_current:
                    deployment.fail_try(task, None, final=False)
            except TaskDeferred as deferral:
                self._defer(deferral)
            except AirflowRescheduleException:
                if self.is_current:
                    task.state = "up_for_reschedule"
            except (AirflowException, AirflowFailException) as error:
                if self.is_current:
                    deployment.fail_try(task, error, final=isinstance(error, AirflowFailException))
            except (ConnectionError, PermissionError) as error:
                # Errors of the store are not converted, and are retried as any other.
                if self.is_current:
                    deployment.fail_try(task, error, final=False)
            else:
                if self.is_current:
                    task.state, task.result = "success", result

    def _defer(self, deferral: TaskDeferred) -> None:
        try:
            self.fault_point()
        except ProcessKilled:
            if self.is_current:
                self.deployment.fail_try(self.task, None, final=False)
            return
        if self.is_current:
            self.task.resume_method = deferral.method_name
            self.task.state = "deferred"
            self.task.trigger = deferral.trigger.serialize()
            self.task.resume_kwargs = dict(deferral.kwargs or {})

    # --- the task instance and its state store ----------------------------------------------------------

    dag_id, run_id, task_id, map_index = "d", "r", "make", -1

    @property
    def id(self) -> int:
        return self.ti_id

    def xcom_push(self, key: str, value: Any) -> None:
        self.fault_point()

    def get(self, key: str, default: Any = None) -> Any:
        self.fault_point()
        if self.plan.store_unreadable:
            raise ConnectionError("the API server is away")
        # Airflow replies "not found" to an outdated id, which its client reads as "no such key".
        value = None if self.outdated else self.task.store.get(key)
        return default if value is None else json.loads(value)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.fault_point()
        fault = next(self._write_faults, "ok")
        if self.outdated:
            raise PermissionError("404: no such task instance")
        if fault == "refused":
            raise ConnectionError("the API server is away")
        self.task.store[key] = json.dumps(value)
        for job in self.task.jobs:
            job.recorded = job.recorded or f'"{job.id}"' in self.task.store[key]
        if fault == "late":
            self.task.late_writes.append((self.ti_id, key, self.task.store[key]))
        if value.get("phase") == self.plan.kill_after:
            raise ProcessKilled
        if fault == "lost_reply":
            raise ConnectionError("the API server went away")
        self.fault_point()

    # --- the network ------------------------------------------------------------------------------------

    def send_submission(self, call: HttpCall) -> HttpReply:
        self.fault_point()
        fault = next(self._submit_faults, "ok")
        if fault == "not_sent":
            raise ConnectionFailed("no route")
        if fault == "timeout_before":
            raise SubmitOutcomeUnknown("no reply")
        if fault in FAULTS_BEFORE_ACCEPTANCE:
            code = int(fault[:3])
            return HttpReply(status=code, content=b'{"error": {"message": "no"}}')
        job = self.deployment.accept(self.task, call, self.plan.outcome, outdated=self.outdated)
        self.fault_point()
        if fault == "timeout_after":
            raise SubmitOutcomeUnknown("no reply")
        if fault in FAULTS_AFTER_ACCEPTANCE:
            content = {"no_id_after": b"{}", "html_after": b"<html>"}.get(fault, b'{"error": "oops"}')
            return HttpReply(status=500 if fault == "500_after" else 200, content=content)
        created: Any = {"task_id": job.id, "status": "queued"}
        if self.task.vendor == "apimart":
            created = {"code": 200, "data": [{"task_id": job.id, "status": "submitted"}]}
        return HttpReply(status=200, content=json.dumps(created).encode())

    def send_status_check(self, call: HttpCall, handle: VideoJob) -> HttpReply:
        self.fault_point()
        fault = next(self._status_faults, "ok")
        if fault == "unavailable":
            raise StatusUnavailable("no reply", job=handle)
        if fault == "not_json":
            return HttpReply(status=200, content=b"<html>")
        if fault != "ok":
            return HttpReply(status=int(fault), content=b'{"error": {"message": "no"}}')
        job = next((job for job in self.task.jobs if job.id == call.path.rpartition("/")[2]), None)
        if job is None or job.outcome == "forgotten":
            return NO_SUCH_JOB[self.task.vendor]
        state = self.deployment.state_of(job)
        job.failure_reported = job.failure_reported or state == "fails"
        link, ended = LINK.format(job.id), int((job.accepted_at + RENDER_TIME).timestamp())
        if self.task.vendor == "apimart":
            raw_state = {"succeeds": "completed", "fails": "failed", "renders": "processing"}[state]
            data = {"id": job.id, "status": raw_state, "result": {"videos": [{"url": [link]}]}}
            data["error"] = {"message": "internal error"} if state == "fails" else None
            data["completed"] = ended if state == "succeeds" else None
            body = {"code": 200, "data": data}
        else:
            raw_state = {"succeeds": "SUCCESS", "fails": "FAILURE", "renders": "IN_PROGRESS"}[state]
            data = {"task_id": job.id, "status": raw_state, "result_url": link if state == "succeeds" else ""}
            data["fail_reason"] = "internal error" if state == "fails" else ""
            data["finish_time"] = ended if state == "succeeds" else 0
            body = {"code": "success", "data": data}
        self.fault_point()
        return HttpReply(status=200, content=json.dumps(body).encode())
