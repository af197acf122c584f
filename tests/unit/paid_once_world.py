# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A small world in which the real operator, trigger, ledger and client run, and everything else may go wrong.

Real are the operator's execute and resume, the trigger, the attempt, the ledger, the watch and the worker's
client with its policies. The vendor, Airflow's bookkeeping of tries and its state store are models. A
process can be killed, or overtaken by another one of the same task, at every point where it touches them.
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
#: How long the model of the vendor remembers a key: not a moment longer than its file says.
KEY_MEMORY = timedelta(hours=1)
RENDERING = timedelta(seconds=60)
#: How long the vendors' files say that links live.
RETENTION = {"apixgo": timedelta(hours=1), "apimart": timedelta(hours=24)}
TIMEOUT = 120.0
#: How each vendor says that it does not know a job.
NO_SUCH_JOB = {
    "apixgo": HttpReply(status=400, content=b'{"code": "task_not_exist", "message": "task_not_exist"}'),
    "apimart": HttpReply(status=404, content=b'{"code": 404, "message": "not found"}'),
}
#: What a POST may meet: nothing arrives, or the job is taken and the answer gets lost in some way.
BEFORE = ("not_sent", "429", "402", "400", "timeout_before", "502_before", "409")
AFTER = ("timeout_after", "500_after", "no_id_after", "html_after")
GETS = ("unavailable", "502", "404", "nonsense", "401")
FATES = ("succeeds", "fails", "hangs", "forgotten")
#: With these errors a task reports that a job may be left behind.
REPORTS = {kind.__name__ for kind in (SubmitOutcomeUnknown, JobLost, JobNotRecorded)}
#: After these a worker only has to end.
LAST_WORDS = ("delivered", "unknown", "lost")


class PaidTwice(AssertionError):
    """A job was accepted while nothing excused the one before it."""


class LostVideo(AssertionError):
    """A paid video never reached the task, although everything went well from some moment on."""


class Killed(BaseException):
    """SIGKILL: nothing catches it."""


class _Silent:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


class Unlimited:
    """An account whose checks need not wait for their turn: that is another test's matter."""

    @contextmanager
    def count_worker_requests(self, *, just_submitted: bool) -> Iterator[None]:
        yield


@dataclass
class Plan:
    """
    What goes wrong in one process.

    :param kill_at: the process dies at this point.
    :param kill_after: the process dies right after it has recorded this phase.
    :param overtake_at: at this point Airflow gives it up and another process runs to its end.
    :param by_clear: it is given up because a person clears the running task, not for want of heartbeats.
    :param posts: what each POST meets, ``ok`` after the last.
    :param gets: what each GET meets, ``ok`` after the last.
    :param writes: what each write to the store meets: ``ok``, ``refused``, ``lost_answer``, or ``late``: it
        was given up and repeated, and is finished a second time much later.
    :param unreadable: the store cannot be read.
    """

    kill_at: int | None = None
    kill_after: str = ""
    overtake_at: int | None = None
    by_clear: bool = False
    posts: tuple[str, ...] = ()
    gets: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    unreadable: bool = False
    fate: str = "succeeds"


@dataclass
class Job:
    """A job at the vendor; each one is billed when it is accepted."""

    id: str
    request: str
    accepted_at: datetime
    fate: str
    #: Its id was written down, so no report may forget it.
    recorded: bool = False
    #: The vendor has told that it ended without a video.
    told_failed: bool = False
    #: Why it may be paid for once more, if it may.
    excuse: str = ""
    #: Why it may be paid for once more if its video is gone: a clear has to ask the vendor first.
    excuse_if_gone: str = ""


@dataclass
class Task:
    """One (mapped) task instance as Airflow keeps it."""

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
    #: Writes that were given up and repeated, and that the server has still to finish: by whom, key, value.
    late: list[tuple[int, str, str]] = field(default_factory=list)
    prompt: int = 0
    jobs: list[Job] = field(default_factory=list)
    #: The deferral: a serialized trigger, and the arguments of resume.
    trigger: tuple[str, dict[str, Any]] | None = None
    resume_by: str = ""
    resume_with: dict[str, Any] = field(default_factory=dict)
    event: Any = None
    #: How the last process ended, as a person sees it.
    reported: bool = False
    died: bool = False
    result: Any = None

    def __post_init__(self) -> None:
        self.max_tries = self.retries

    @property
    def phase(self) -> str:
        return str(json.loads(self.newest)["phase"]) if self.newest else "none"

    @property
    def newest(self) -> str:
        """The newest entry of the record."""
        number = 0
        while entry_key(number + 1) in self.store:
            number += 1
        return self.store.get(entry_key(number), "")


class World:
    """The vendor, and Airflow."""

    def __init__(self) -> None:
        self.clock = Clock(datetime(2026, 11, 20, 3, 0, tzinfo=UTC))
        self.tasks: list[Task] = []
        self.keys: dict[tuple[str, str], tuple[Job, datetime]] = {}
        self.count = 0
        self.current: Process | None = None
        self.paid_twice = ""

    @contextmanager
    def running(self) -> Iterator[World]:
        """Put the package into this world."""
        world = self

        class Hook(VideoGenHook):
            def __init__(self, vidgen_conn_id: str) -> None:
                self.vidgen_conn_id = vidgen_conn_id
                assert world.current is not None
                self.__dict__["settings"] = world.current.settings
                self.__dict__["client"] = world.current.client()

            @asynccontextmanager
            async def async_client(self) -> AsyncIterator[Any]:
                client = self.client

                async def status(job: Any, *, max_wait: float) -> Any:
                    return client._status_once(job)

                yield types.SimpleNamespace(settings=self.settings, status=status, limits=Unlimited())

        slow = types.SimpleNamespace(**{**vars(asyncio), "sleep": self.clock.asleep})
        with ExitStack() as stack:
            for where, name, value in (
                (client_module, "utcnow", self.clock.now),
                (clock_module, "utcnow", self.clock.now),
                (video_task, "utcnow", self.clock.now),
                (video_task, "asyncio", slow),
                (video_task, "VideoGenHook", Hook),
                (generation, "Submitter", functools.partial(submission.Submitter, sleep=self.clock.sleep)),
                (submission, "_log", _Silent()),
                # Here links die when their time has passed.
                (Landing, "links_are_live", lambda landing, links: False),
                (VideoTaskTrigger, "log", _Silent()),
                (VideoGenerationOperator, "log", _Silent()),
                (VideoGenHook, "log", _Silent()),
                (generation, "_log", _Silent()),
                (job_wait, "_log", _Silent()),
                (generation, "VideoGenHook", Hook),
            ):
                stack.enter_context(mock.patch.object(where, name, value))
            yield self

    # --- Airflow ----------------------------------------------------------------------------------------

    def run(self, task: Task, plan: Plan) -> None:
        """A worker takes the task up."""
        if task.state not in ("scheduled", "up_for_reschedule", "woken"):
            return
        resuming = task.state == "woken"
        if task.state == "scheduled":
            task.try_number += 1
            # A try that ends before it could look leaves what was reported, or what a death left.
            task.reported = task.reported and task.phase in LAST_WORDS
            task.died = task.died and task.phase in LAST_WORDS
        task.state = "running"
        Process(self, task, plan).run(resuming)

    def watch(self, task: Task, gets: tuple[str, ...]) -> Any:
        """A triggerer runs the trigger, built anew from what was stored; it may do so any number of times."""
        if task.trigger is None:
            return None
        process = Process(self, task, Plan(gets=gets))
        with self._as(process):
            _, kwargs = json.loads(json.dumps(task.trigger))
            events = VideoTaskTrigger(**kwargs).run()
            try:
                anext(events).__await__().send(None)
            except StopIteration as stop:
                return stop.value.payload
            raise AssertionError("the trigger waits for something that is not of this world")

    def wake(self, task: Task, event: Any) -> None:
        """The first event wins, a later one finds nothing to wake."""
        if task.state == "deferred" and event is not None:
            task.state, task.event, task.trigger = "woken", event, None

    def finish_late_writes(self, task: Task) -> None:
        """The server ends what its client has given up, unless the try is outdated."""
        for ti_id, key, value in task.late:
            if ti_id == task.ti_id:
                task.store[key] = value
        task.late.clear()

    def clear(self, task: Task) -> None:
        """A person clears the task while no worker holds it."""
        # Rule 1: after a report, or where it is asked for, a clear is the wish to pay again.
        if task.phase == "delivered" and task.on_clear == "regenerate":
            self.excuse(task, "cleared after the delivery, and a new one is wanted")
        elif task.state == "success":
            self.excuse(task, "cleared after success", if_gone=True)
        elif task.state in ("failed", "scheduled") and task.reported:
            self.excuse(task, "cleared after a report", if_gone=True)
        elif task.died and task.phase in LAST_WORDS:
            # Told in the ledger's docstring: the worker's last word was written, and Airflow's was not.
            self.excuse(task, "cleared after a death between the last word and Airflow's", if_gone=True)
        task.max_tries = task.try_number + task.retries
        self.anew(task, "scheduled")

    def anew(self, task: Task, state: str) -> None:
        """Another try: another id, so that an older process has no access any more."""
        task.ti_id += 1
        task.state, task.trigger, task.event = state, None, None

    def ended(self, task: Task, error: BaseException | None, *, final: bool) -> None:
        """A try ended badly: one more, or failed."""
        cause = error.__context__ if error is not None else None
        reported = isinstance(cause, SubmitOutcomeUnknown | JobLost | JobNotRecorded)
        task.reported = task.reported or reported
        # A last word whose answer got lost ends a worker as well.
        task.died = task.died or error is None or isinstance(cause, ConnectionError)
        if not final and task.retries and task.try_number <= task.max_tries:
            self.anew(task, "scheduled")
        else:
            task.state, task.trigger = "failed", None

    @staticmethod
    def excuse(task: Task, why: str, *, if_gone: bool = False) -> None:
        """
        Permit another job.

        :param if_gone: of a job whose id is recorded, only if the vendor has no video of it to give.
        """
        for job in task.jobs:
            if if_gone and job.recorded:
                job.excuse_if_gone = job.excuse_if_gone or why
            else:
                job.excuse = job.excuse or why

    @contextmanager
    def _as(self, process: Process) -> Iterator[None]:
        before, self.current = self.current, process
        try:
            yield
        finally:
            self.current = before

    # --- the vendor -------------------------------------------------------------------------------------

    def accept(self, task: Task, call: HttpCall, fate: str, *, outdated: bool) -> Job:
        """Take a request, and bill it, unless it comes under a key that is remembered."""
        key = call.headers.get("Idempotency-Key")
        if key is not None and (task.vendor, key) in self.keys:
            job, since = self.keys[task.vendor, key]
            if self.clock.now() - since < KEY_MEMORY:
                return job
        request = json.dumps(call.body, sort_keys=True)
        for earlier in task.jobs:
            if earlier.excuse or earlier.told_failed or earlier.request != request:
                continue
            if earlier.excuse_if_gone and self.is_gone(task, earlier):
                continue
            if task.on_unknown == "resubmit" and (outdated or earlier.id not in task.newest):
                continue  # that risk was accepted
            # Noted and not raised: the code under test might catch it.
            self.paid_twice = self.paid_twice or f"{earlier} is paid for again by {task}"
        self.count += 1
        job = Job(f"task_{self.count}", request, self.clock.now(), fate)
        task.jobs.append(job)
        if key is not None:
            self.keys[task.vendor, key] = (job, self.clock.now())
        return job

    def is_gone(self, task: Task, job: Job) -> bool:
        died = job.accepted_at + RENDERING + RETENTION[task.vendor]
        return job.fate == "forgotten" or (job.fate == "succeeds" and self.clock.now() >= died)

    def state_of(self, job: Job) -> str:
        ended = self.clock.now() >= job.accepted_at + RENDERING
        return job.fate if ended and job.fate in ("succeeds", "fails") else "renders"


def _settings(vendor: str) -> ConnectionSettings:
    return ConnectionSettings.read(
        "vidgen_default",
        host=None,
        password="k3y-of-this-world",
        extra={"vendor": vendor, "model": MODELS[vendor]},
    )


SETTINGS = {vendor: _settings(vendor) for vendor in MODELS}


class Process:
    """One process of one task: a worker, or the triggerer."""

    def __init__(self, world: World, task: Task, plan: Plan) -> None:
        self.world, self.task, self.plan = world, task, plan
        self.ti_id = task.ti_id
        self.max_tries = task.max_tries
        self.try_number = task.try_number
        self.settings = SETTINGS[task.vendor]
        self._points = 0
        self._posts, self._gets = iter(plan.posts), iter(plan.gets)
        self._writes = iter(plan.writes)

    @property
    def outdated(self) -> bool:
        return self.ti_id != self.task.ti_id

    @property
    def holds(self) -> bool:
        """Whether Airflow still listens to how this process ends."""
        return not self.outdated and self.task.state == "running"

    def point(self) -> None:
        """A moment at which this process may die, or be overtaken."""
        self._points += 1
        if self._points == self.plan.kill_at:
            raise Killed
        if self._points == self.plan.overtake_at and self.holds:
            if self.plan.by_clear:
                # Clearing a running task leaves max_tries, see airflow_internals.max_tries.
                self.world.anew(self.task, "scheduled")
            else:
                self.world.ended(self.task, None, final=False)
            self.world.run(self.task, Plan())

    def client(self) -> WorkerClient:
        client = WorkerClient(self.settings, now=self.world.clock.now, sleep=self.world.clock.sleep)
        client._transport = types.SimpleNamespace(submit=self.post, get=self.ask)  # type: ignore[assignment]
        return client

    # --- a worker ---------------------------------------------------------------------------------------

    def run(self, resuming: bool) -> None:
        world, task = self.world, self.task
        operator = VideoGenerationOperator(
            task_id="make",
            prompt=f"prompt {task.prompt}",
            deferrable=task.deferrable,
            timeout=TIMEOUT,
            on_unknown_submit=task.on_unknown,  # type: ignore[arg-type]
            on_clear=task.on_clear,  # type: ignore[arg-type]
        )
        context: Any = {"ti": self, "task_state_store": self}
        with world._as(self):
            try:
                self.point()
                if resuming:
                    resume = getattr(operator, task.resume_by)
                    result = resume(context, event=task.event, **task.resume_with)
                else:
                    result = operator.execute(  # type: ignore[call-arg]
                        context, VideoGenerationOperator__sentinel=ExecutorSafeguard.sentinel_value
                    )
                self.point()
            except Killed:
                if self.holds:
                    world.ended(task, None, final=False)
            except TaskDeferred as deferral:
                self._defer(deferral)
            except AirflowRescheduleException:
                if self.holds:
                    task.state = "up_for_reschedule"
            except (AirflowException, AirflowFailException) as error:
                if self.holds:
                    world.ended(task, error, final=isinstance(error, AirflowFailException))
            except (ConnectionError, PermissionError) as error:
                # The store's own errors come through as they are, and are retried as any other.
                if self.holds:
                    world.ended(task, error, final=False)
            else:
                if self.holds:
                    task.state, task.result = "success", result

    def _defer(self, deferral: TaskDeferred) -> None:
        try:
            self.point()
        except Killed:
            if self.holds:
                self.world.ended(self.task, None, final=False)
            return
        if self.holds:
            self.task.resume_by = deferral.method_name
            self.task.state = "deferred"
            self.task.trigger = deferral.trigger.serialize()
            self.task.resume_with = dict(deferral.kwargs or {})

    # --- the task instance and its state store ----------------------------------------------------------

    dag_id, run_id, task_id, map_index = "d", "r", "make", -1

    @property
    def id(self) -> int:
        return self.ti_id

    def xcom_push(self, key: str, value: Any) -> None:
        self.point()

    def get(self, key: str, default: Any = None) -> Any:
        self.point()
        if self.plan.unreadable:
            raise ConnectionError("the API server is away")
        # Airflow answers "not found" to an outdated id, and its client takes that for "no such key".
        value = None if self.outdated else self.task.store.get(key)
        return default if value is None else json.loads(value)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.point()
        fault = next(self._writes, "ok")
        if self.outdated:
            raise PermissionError("404: no such task instance")
        if fault == "refused":
            raise ConnectionError("the API server is away")
        self.task.store[key] = json.dumps(value)
        for job in self.task.jobs:
            job.recorded = job.recorded or f'"{job.id}"' in self.task.store[key]
        if fault == "late":
            self.task.late.append((self.ti_id, key, self.task.store[key]))
        if value.get("phase") == self.plan.kill_after:
            raise Killed
        if fault == "lost_answer":
            raise ConnectionError("the API server went away")
        self.point()

    # --- the network ------------------------------------------------------------------------------------

    def post(self, call: HttpCall) -> HttpReply:
        self.point()
        fault = next(self._posts, "ok")
        if fault == "not_sent":
            raise ConnectionFailed("no route")
        if fault == "timeout_before":
            raise SubmitOutcomeUnknown("no reply")
        if fault in BEFORE:
            code = int(fault[:3])
            return HttpReply(status=code, content=b'{"error": {"message": "no"}}')
        job = self.world.accept(self.task, call, self.plan.fate, outdated=self.outdated)
        self.point()
        if fault == "timeout_after":
            raise SubmitOutcomeUnknown("no reply")
        if fault in AFTER:
            content = {"no_id_after": b"{}", "html_after": b"<html>"}.get(fault, b'{"error": "oops"}')
            return HttpReply(status=500 if fault == "500_after" else 200, content=content)
        created: Any = {"task_id": job.id, "status": "queued"}
        if self.task.vendor == "apimart":
            created = {"code": 200, "data": [{"task_id": job.id, "status": "submitted"}]}
        return HttpReply(status=200, content=json.dumps(created).encode())

    def ask(self, call: HttpCall, handle: VideoJob) -> HttpReply:
        self.point()
        fault = next(self._gets, "ok")
        if fault == "unavailable":
            raise StatusUnavailable("no reply", job=handle)
        if fault == "nonsense":
            return HttpReply(status=200, content=b"<html>")
        if fault != "ok":
            return HttpReply(status=int(fault), content=b'{"error": {"message": "no"}}')
        job = next((job for job in self.task.jobs if job.id == call.path.rpartition("/")[2]), None)
        if job is None or job.fate == "forgotten":
            return NO_SUCH_JOB[self.task.vendor]
        state = self.world.state_of(job)
        job.told_failed = job.told_failed or state == "fails"
        link, ended = LINK.format(job.id), int((job.accepted_at + RENDERING).timestamp())
        if self.task.vendor == "apimart":
            word = {"succeeds": "completed", "fails": "failed", "renders": "processing"}[state]
            data = {"id": job.id, "status": word, "result": {"videos": [{"url": [link]}]}}
            data["error"] = {"message": "internal error"} if state == "fails" else None
            data["completed"] = ended if state == "succeeds" else None
            body = {"code": 200, "data": data}
        else:
            word = {"succeeds": "SUCCESS", "fails": "FAILURE", "renders": "IN_PROGRESS"}[state]
            data = {"task_id": job.id, "status": word, "result_url": link if state == "succeeds" else ""}
            data["fail_reason"] = "internal error" if state == "fails" else ""
            data["finish_time"] = ended if state == "succeeds" else 0
            body = {"code": "success", "data": data}
        self.point()
        return HttpReply(status=200, content=json.dumps(body).encode())
