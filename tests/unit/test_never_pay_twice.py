# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Never pay twice, never lose a paid video: whatever crashes, whenever.

A state machine mixes deaths and doubles of processes at every point, faults of vendor, network and store,
retries, clears, changed requests and moved triggers over several tasks. Then the code is broken on purpose,
one way at a time, and the same machine has to notice.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from paid_once_world import AFTER, BEFORE, FATES, GETS, LostVideo, PaidTwice, Plan, Task, World

from airflow_provider_vidgen import ledger, submission
from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.errors import StatusError, SubmitOutcomeUnknown
from airflow_provider_vidgen.generation import Generation
from airflow_provider_vidgen.http import retry_policy
from airflow_provider_vidgen.models import Failure, FailureCategory, JobState, JobStatus
from airflow_provider_vidgen.vendors.apimart import ApiMart

_tasks = st.builds(
    Task,
    vendor=st.sampled_from(["apixgo", "apixgo", "apimart"]),
    deferrable=st.booleans(),
    retries=st.integers(0, 3),
    on_unknown=st.sampled_from(["fail", "fail", "fail", "resubmit"]),
    on_clear=st.sampled_from(["reuse", "regenerate"]),
)
_points = st.none() | st.integers(1, 32)
_gets = st.lists(st.sampled_from(("ok", *GETS)), max_size=3).map(tuple)
_plans = st.builds(
    Plan,
    kill_at=_points,
    overtake_at=_points,
    by_clear=st.booleans(),
    posts=st.lists(st.sampled_from(("ok", *BEFORE, *AFTER, *AFTER)), max_size=4).map(tuple),
    gets=_gets,
    writes=st.lists(st.sampled_from(("ok", "ok", "refused", "lost_answer", "late")), max_size=8).map(tuple),
    unreadable=st.sampled_from((False,) * 7 + (True,)),
    fate=st.sampled_from(("succeeds", "succeeds", *FATES)),
)
#: Taken, and no answer; then what looks like a certain refusal, or no answer again and again.
_doubts = st.tuples(st.sampled_from(AFTER), st.sampled_from(BEFORE)) | st.just(AFTER)
_which = st.integers(0, 1)


class NeverPayTwice(RuleBasedStateMachine):
    """Two mapped tasks, each with a store of its own; the invariant stands where the vendor accepts a job."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._inside = self.world.running()
        self._inside.__enter__()

    @initialize(tasks=st.tuples(_tasks, _tasks))
    def begin(self, tasks: tuple[Task, Task]) -> None:
        self.world.tasks = list(tasks)

    @rule(which=_which, plan=_plans)
    def a_worker_runs(self, which: int, plan: Plan) -> None:
        self.world.run(self.world.tasks[which], plan)
        self._count("worker")

    @rule(which=_which, kill_at=st.integers(1, 20), answered=st.booleans())
    def a_worker_dies(self, which: int, kill_at: int, answered: bool) -> None:
        posts = () if answered else ("timeout_after",) * 4
        self.world.run(self.world.tasks[which], Plan(kill_at=kill_at, posts=posts))
        self._count("worker")

    @rule(which=_which, phase=st.sampled_from(("submitting", "unknown", "delivered")))
    def a_worker_dies_right_after_its_record(self, which: int, phase: str) -> None:
        posts = () if phase == "delivered" else ("timeout_after",) * 4
        self.world.run(self.world.tasks[which], Plan(kill_after=phase, posts=posts))
        self._count("worker")

    @rule(which=_which, posts=_doubts)
    def a_worker_is_left_in_doubt(self, which: int, posts: tuple[str, ...]) -> None:
        self.world.run(self.world.tasks[which], Plan(posts=posts))
        self._count("worker")

    @rule(which=_which)
    def a_worker_cannot_read_the_store(self, which: int) -> None:
        self.world.run(self.world.tasks[which], Plan(unreadable=True))
        self._count("worker")

    @rule(which=_which)
    def a_worker_runs_undisturbed(self, which: int) -> None:
        self.world.run(self.world.tasks[which], Plan())
        self._count("worker")

    @rule(which=_which, gets=_gets, twice=st.booleans())
    def a_triggerer_runs_the_trigger(self, which: int, gets: tuple[str, ...], twice: bool) -> None:
        task = self.world.tasks[which]
        events = [self.world.watch(task, gets)]
        if twice:
            # Moved to another triggerer while the first one had not noticed.
            events.insert(0, self.world.watch(task, ()))
        for event in events:
            self.world.wake(task, event)
        self._count("triggerer")

    @rule(which=_which, event=st.none() | st.sampled_from([{}, {"v": 9}, {"v": 1, "reason": "job_lost"}]))
    def a_strange_event_wakes_the_task(self, which: int, event: Any) -> None:
        self.world.wake(self.world.tasks[which], event)
        self._count("event")

    @rule(which=_which)
    def a_worker_runs_and_its_first_write_comes_late(self, which: int) -> None:
        self.world.run(self.world.tasks[which], Plan(writes=("late",)))
        self.world.finish_late_writes(self.world.tasks[which])
        self._count("worker")

    @rule(which=_which)
    def late_writes_are_finished(self, which: int) -> None:
        self.world.finish_late_writes(self.world.tasks[which])
        self._count("late")

    @rule(which=_which)
    def a_person_clears(self, which: int) -> None:
        self.world.clear(self.world.tasks[which])
        self._count("clear")

    @rule(which=_which, really=st.integers(0, 5))
    def the_request_changes(self, which: int, really: int) -> None:
        self.world.tasks[which].prompt += really == 0
        self._count("change")

    @rule(seconds=st.sampled_from([1, 20, 70, 900, 3500, 3700]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.sleep(seconds)
        self._count("time")

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        if self.world.paid_twice:
            raise PaidTwice(self.world.paid_twice)

    def teardown(self) -> None:
        try:
            if not self.world.paid_twice:
                for task in self.world.tasks:
                    self._bring_home(task)
                self.nothing_is_paid_twice()
        finally:
            self._inside.__exit__(None, None, None)

    def _bring_home(self, task: Task) -> None:
        """From now on all goes well: the task gets a video, and not at the price of another one."""
        for job in task.jobs:
            # A job that its vendor has forgotten brings no video however long one asks.
            job.fate = "succeeds" if job.fate in ("hangs", "forgotten") else job.fate
        for _ in range(12):
            if task.state == "success":
                break
            if task.state == "failed":
                self.world.clear(task)
            elif task.state == "deferred":
                self.world.wake(task, self.world.watch(task, ()))
            else:
                self.world.run(task, Plan())
        if task.state != "success" or not task.result["result_urls"]:
            self.nothing_is_paid_twice()
            raise LostVideo(f"{task} never got its video")
        self._count("home")

    def _count(self, what: str) -> None:
        self.seen[what] += 1


def _budget(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=50,
        derandomize=True,
        database=None,
        deadline=None,
        # What is found is explained by its own message; shrinking a broken mutant would take minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def test_whatever_crashes_nothing_is_paid_twice_and_no_paid_video_is_lost() -> None:
    NeverPayTwice.seen.clear()
    run_state_machine_as_test(NeverPayTwice, settings=_budget(260))
    steps = sum(count for what, count in NeverPayTwice.seen.items() if what != "home")
    assert steps >= 10_000, NeverPayTwice.seen


# --- the same machine notices when the code is broken ---------------------------------------------------


def _persist_after_the_post(patch: pytest.MonkeyPatch) -> None:
    real = ledger.Ledger.record_intent

    def record_intent(self: Any, *args: Any, **kwargs: Any) -> Any:
        write, self._write = self._write, lambda record: record
        try:
            return real(self, *args, **kwargs)
        finally:
            self._write = write

    patch.setattr(ledger.Ledger, "record_intent", record_intent)


def _key_with_the_try_number(patch: pytest.MonkeyPatch) -> None:
    tries = Counter[str]()
    real, real_fingerprint = World.run, submission.fingerprint

    def run(self: World, task: Task, plan: Plan) -> None:
        tries["now"] = task.try_number + 1
        real(self, task, plan)

    def fingerprint(*args: Any, **kwargs: Any) -> str:
        return f"{real_fingerprint(*args, **kwargs)}-{tries['now']}"

    patch.setattr(World, "run", run)
    patch.setattr(submission, "fingerprint", fingerprint)


def _retry_on_a_read_timeout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retry_policy, "SAFE_TO_RESEND", (*retry_policy.SAFE_TO_RESEND, SubmitOutcomeUnknown))


def _resubmit_on_an_unreadable_store(patch: pytest.MonkeyPatch) -> None:
    real = ledger.Ledger._find_newest

    def find_newest(self: ledger.Ledger) -> tuple[int, Any]:
        try:
            return real(self)
        except ConnectionError:
            return 0, None

    patch.setattr(ledger.Ledger, "_find_newest", find_newest)


def _resubmit_on_a_poll_error(patch: pytest.MonkeyPatch) -> None:
    real = WorkerClient._status_once

    @functools.wraps(real)
    def status_once(self: WorkerClient, job: Any) -> JobStatus:
        try:
            return real(self, job)
        except StatusError:
            failure = Failure(category=FailureCategory.INTERNAL)
            return JobStatus(state=JobState.FAILED, raw_state="error", failure=failure)

    patch.setattr(WorkerClient, "_status_once", status_once)


def _forget_that_an_earlier_sending_was_open(patch: pytest.MonkeyPatch) -> None:
    real = WorkerClient.submit

    def submit(self: WorkerClient, *args: Any, **kwargs: Any) -> Any:
        last: list[Exception] = []
        vendor_read = self.settings.vendor.read_submit

        def read_submit(*a: Any, **k: Any) -> Any:
            try:
                return vendor_read(*a, **k)
            except Exception as error:
                last.append(error)
                raise

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.settings.vendor, "read_submit", read_submit)
            try:
                return real(self, *args, **kwargs)
            except SubmitOutcomeUnknown as error:
                raise last[-1] if last else error from None

    patch.setattr(WorkerClient, "submit", submit)


def _all_tasks_have(patch: pytest.MonkeyPatch, **fields: str) -> None:
    """Do not look where the mutation changes nothing."""
    real = Task.__post_init__

    def post_init(self: Task) -> None:
        real(self)
        vars(self).update(fields)

    patch.setattr(Task, "__post_init__", post_init)


def _trust_a_key_forever(patch: pytest.MonkeyPatch) -> None:
    _all_tasks_have(patch, vendor="apimart")
    patch.setattr(ApiMart, "idempotency_window", timedelta(days=365))


def _take_a_retry_after_delivery_for_a_clear(patch: pytest.MonkeyPatch) -> None:
    real = submission.decide
    # Where it is not so, a clear returns the same video as a retry does.
    _all_tasks_have(patch, on_clear="regenerate")
    patch.setattr(submission, "decide", lambda *args, **kwargs: real(*args, **{**kwargs, "cleared": True}))


def _take_what_was_delivered_for_failed(patch: pytest.MonkeyPatch) -> None:
    real = Generation._record

    def record(self: Any, job: Any, phase: ledger.Phase, **changes: Any) -> None:
        phase = ledger.Phase.FAILED if phase is ledger.Phase.DELIVERED else phase
        real(self, job, phase, **changes)

    patch.setattr(Generation, "_record", record)


def _write_over_what_was_written_before(patch: pytest.MonkeyPatch) -> None:
    real = ledger.Ledger._write

    def write(self: Any, record: ledger.Record) -> ledger.Record:
        self._newest = 0
        return real(self, record)

    patch.setattr(ledger.Ledger, "_write", write)


def _pay_for_a_delivered_video_at_each_clear(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submission.Submitter, "_delivered_before", lambda self, record: None)


@pytest.mark.parametrize(
    "mutation",
    [
        _write_over_what_was_written_before,
        _pay_for_a_delivered_video_at_each_clear,
        _persist_after_the_post,
        _key_with_the_try_number,
        _retry_on_a_read_timeout,
        _resubmit_on_an_unreadable_store,
        _resubmit_on_a_poll_error,
        _forget_that_an_earlier_sending_was_open,
        _trust_a_key_forever,
        _take_a_retry_after_delivery_for_a_clear,
        _take_what_was_delivered_for_failed,
    ],
    ids=lambda mutation: mutation.__name__.strip("_"),
)
def test_the_machine_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(PaidTwice):
        run_state_machine_as_test(NeverPayTwice, settings=_budget(800))
