# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
No combination of faults leads to a second payment or a lost video.

A state machine combines killed and superseded processes at every fault point, faults of the vendor, the
network and the store, retries, clears, changed requests and moved triggers over several tasks. Then mutations
break the code, one at a time, and the same state machine has to detect each.
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

from airflow_provider_vidgen import ledger, submission
from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.errors import StatusError, SubmitOutcomeUnknown
from airflow_provider_vidgen.generation import Generation
from airflow_provider_vidgen.http import retry_policy
from airflow_provider_vidgen.models import Failure, FailureCategory, JobState, JobStatus
from airflow_provider_vidgen.vendors.apimart import ApiMart
from tests.support.simulated_deployment import (
    FAULTS_AFTER_ACCEPTANCE,
    FAULTS_BEFORE_ACCEPTANCE,
    JOB_OUTCOMES,
    STATUS_FAULTS,
    FaultPlan,
    LostVideo,
    PaidTwice,
    SimulatedDeployment,
    Task,
)

_tasks = st.builds(
    Task,
    vendor=st.sampled_from(["apixgo", "apixgo", "apimart"]),
    deferrable=st.booleans(),
    retries=st.integers(0, 3),
    on_unknown=st.sampled_from(["fail", "fail", "fail", "resubmit"]),
    on_clear=st.sampled_from(["reuse", "regenerate"]),
)
_fault_points = st.none() | st.integers(1, 32)
_status_faults = st.lists(st.sampled_from(("ok", *STATUS_FAULTS)), max_size=3).map(tuple)
#: Accepted jobs without a usable reply are listed twice, to be drawn more often.
_SUBMIT_FAULTS = ("ok", *FAULTS_BEFORE_ACCEPTANCE, *FAULTS_AFTER_ACCEPTANCE, *FAULTS_AFTER_ACCEPTANCE)
_plans = st.builds(
    FaultPlan,
    kill_at=_fault_points,
    supersede_at=_fault_points,
    superseded_by_clear=st.booleans(),
    submit_faults=st.lists(st.sampled_from(_SUBMIT_FAULTS), max_size=4).map(tuple),
    status_faults=_status_faults,
    write_faults=st.lists(st.sampled_from(("ok", "ok", "refused", "lost_reply", "late")), max_size=8).map(
        tuple
    ),
    store_unreadable=st.sampled_from((False,) * 7 + (True,)),
    outcome=st.sampled_from(("succeeds", "succeeds", *JOB_OUTCOMES)),
)
#: The job is accepted and the reply lost; then a refusal, or one lost reply after another.
_unknown_outcomes = st.tuples(
    st.sampled_from(FAULTS_AFTER_ACCEPTANCE), st.sampled_from(FAULTS_BEFORE_ACCEPTANCE)
) | st.just(FAULTS_AFTER_ACCEPTANCE)
_task_index = st.integers(0, 1)


class NeverPayTwice(RuleBasedStateMachine):
    """Two mapped tasks, each with its own store; the vendor checks the invariant when it accepts a job."""

    rule_counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.deployment = SimulatedDeployment()
        self._patches = self.deployment.patched()
        self._patches.__enter__()

    @initialize(tasks=st.tuples(_tasks, _tasks))
    def create_tasks(self, tasks: tuple[Task, Task]) -> None:
        self.deployment.tasks = list(tasks)

    @rule(index=_task_index, plan=_plans)
    def a_worker_runs(self, index: int, plan: FaultPlan) -> None:
        self.deployment.run(self.deployment.tasks[index], plan)
        self._count("worker")

    @rule(index=_task_index, kill_at=st.integers(1, 20), replied=st.booleans())
    def a_worker_is_killed(self, index: int, kill_at: int, replied: bool) -> None:
        submit_faults = () if replied else ("timeout_after",) * 4
        self.deployment.run(
            self.deployment.tasks[index], FaultPlan(kill_at=kill_at, submit_faults=submit_faults)
        )
        self._count("worker")

    @rule(index=_task_index, phase=st.sampled_from(("submitting", "unknown", "delivered", "failed")))
    def a_worker_is_killed_right_after_a_record(self, index: int, phase: str) -> None:
        submit_faults = () if phase in ("delivered", "failed") else ("timeout_after",) * 4
        self.deployment.run(
            self.deployment.tasks[index], FaultPlan(kill_after=phase, submit_faults=submit_faults)
        )
        self._count("worker")

    @rule(index=_task_index, submit_faults=_unknown_outcomes)
    def a_submission_has_an_unknown_outcome(self, index: int, submit_faults: tuple[str, ...]) -> None:
        self.deployment.run(self.deployment.tasks[index], FaultPlan(submit_faults=submit_faults))
        self._count("worker")

    @rule(index=_task_index)
    def a_worker_cannot_read_the_store(self, index: int) -> None:
        self.deployment.run(self.deployment.tasks[index], FaultPlan(store_unreadable=True))
        self._count("worker")

    @rule(index=_task_index)
    def a_worker_runs_without_faults(self, index: int) -> None:
        self.deployment.run(self.deployment.tasks[index], FaultPlan())
        self._count("worker")

    @rule(index=_task_index, status_faults=_status_faults, twice=st.booleans())
    def a_triggerer_runs_the_trigger(self, index: int, status_faults: tuple[str, ...], twice: bool) -> None:
        task = self.deployment.tasks[index]
        events = [self.deployment.run_trigger(task, status_faults)]
        if twice:
            # Moved to another triggerer while the first one still runs it.
            events.insert(0, self.deployment.run_trigger(task, ()))
        for event in events:
            self.deployment.resume(task, event)
        self._count("triggerer")

    @rule(
        index=_task_index, event=st.none() | st.sampled_from([{}, {"v": 9}, {"v": 1, "reason": "job_lost"}])
    )
    def an_unusable_event_resumes_the_task(self, index: int, event: Any) -> None:
        self.deployment.resume(self.deployment.tasks[index], event)
        self._count("event")

    @rule(index=_task_index)
    def a_worker_runs_and_its_first_write_is_executed_late(self, index: int) -> None:
        self.deployment.run(self.deployment.tasks[index], FaultPlan(write_faults=("late",)))
        self.deployment.execute_late_writes(self.deployment.tasks[index])
        self._count("worker")

    @rule(index=_task_index)
    def late_writes_are_executed(self, index: int) -> None:
        self.deployment.execute_late_writes(self.deployment.tasks[index])
        self._count("late")

    @rule(index=_task_index)
    def the_task_is_cleared(self, index: int) -> None:
        self.deployment.clear(self.deployment.tasks[index])
        self._count("clear")

    @rule(index=_task_index, draw=st.integers(0, 5))
    def the_request_changes(self, index: int, draw: int) -> None:
        self.deployment.tasks[index].prompt += draw == 0
        self._count("change")

    @rule(seconds=st.sampled_from([1, 20, 70, 900, 3500, 3700]))
    def time_passes(self, seconds: int) -> None:
        self.deployment.clock.sleep(seconds)
        self._count("time")

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        if self.deployment.paid_twice:
            raise PaidTwice(self.deployment.paid_twice)

    def teardown(self) -> None:
        try:
            if not self.deployment.paid_twice:
                for task in self.deployment.tasks:
                    self._finish_without_faults(task)
                self.nothing_is_paid_twice()
        finally:
            self._patches.__exit__(None, None, None)

    def _finish_without_faults(self, task: Task) -> None:
        """Run the task without faults: it gets a video, without another payment."""
        for job in task.jobs:
            # The vendor would never return a video for these.
            job.outcome = "succeeds" if job.outcome in ("hangs", "forgotten") else job.outcome
        for _ in range(12):
            if task.state == "success":
                break
            if task.state == "failed":
                self.deployment.clear(task)
            elif task.state == "deferred":
                self.deployment.resume(task, self.deployment.run_trigger(task, ()))
            else:
                self.deployment.run(task, FaultPlan())
        if task.state != "success" or not task.result["result_urls"]:
            self.nothing_is_paid_twice()
            raise LostVideo(f"{task} never received its video")
        self._count("finish")

    def _count(self, rule_name: str) -> None:
        self.rule_counts[rule_name] += 1


def _budget(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=50,
        derandomize=True,
        database=None,
        deadline=None,
        # The failure's message explains it; shrinking would take minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def test_no_fault_leads_to_a_second_payment_or_a_lost_video() -> None:
    NeverPayTwice.rule_counts.clear()
    run_state_machine_as_test(NeverPayTwice, settings=_budget(260))
    steps = sum(count for name, count in NeverPayTwice.rule_counts.items() if name != "finish")
    assert steps >= 10_000, NeverPayTwice.rule_counts


# --- mutations of the code ------------------------------------------------------------------------------


def _record_the_intent_after_the_submission(patch: pytest.MonkeyPatch) -> None:
    real = ledger.Ledger.record_intent

    def record_intent(self: Any, *args: Any, **kwargs: Any) -> Any:
        write, self._write = self._write, lambda record: record
        try:
            return real(self, *args, **kwargs)
        finally:
            self._write = write

    patch.setattr(ledger.Ledger, "record_intent", record_intent)


def _fingerprint_with_the_try_number(patch: pytest.MonkeyPatch) -> None:
    current_try = Counter[str]()
    real, real_fingerprint = SimulatedDeployment.run, submission.fingerprint

    def run(self: SimulatedDeployment, task: Task, plan: FaultPlan) -> None:
        current_try["number"] = task.try_number + 1
        real(self, task, plan)

    def fingerprint(*args: Any, **kwargs: Any) -> str:
        return f"{real_fingerprint(*args, **kwargs)}-{current_try['number']}"

    patch.setattr(SimulatedDeployment, "run", run)
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
    real = WorkerClient.status_once

    @functools.wraps(real)
    def status_once(self: WorkerClient, job: Any) -> JobStatus:
        try:
            return real(self, job)
        except StatusError:
            failure = Failure(category=FailureCategory.INTERNAL)
            return JobStatus(state=JobState.FAILED, raw_state="error", failure=failure)

    patch.setattr(WorkerClient, "status_once", status_once)


def _treat_a_resent_request_as_the_first(patch: pytest.MonkeyPatch) -> None:
    real = WorkerClient.submit

    def submit(self: WorkerClient, *args: Any, **kwargs: Any) -> Any:
        errors: list[Exception] = []
        vendor_read = self.settings.vendor.read_submit

        def read_submit(*a: Any, **k: Any) -> Any:
            try:
                return vendor_read(*a, **k)
            except Exception as error:
                errors.append(error)
                raise

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.settings.vendor, "read_submit", read_submit)
            try:
                return real(self, *args, **kwargs)
            except SubmitOutcomeUnknown as error:
                raise errors[-1] if errors else error from None

    patch.setattr(WorkerClient, "submit", submit)


def _set_fields_of_all_tasks(patch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Restrict the search to tasks that the mutation affects."""
    real = Task.__post_init__

    def post_init(self: Task) -> None:
        vars(self).update(fields)
        real(self)

    patch.setattr(Task, "__post_init__", post_init)


def _never_expire_an_idempotency_key(patch: pytest.MonkeyPatch) -> None:
    _set_fields_of_all_tasks(patch, vendor="apimart", on_unknown="fail", retries=3)
    patch.setattr(ApiMart, "idempotency_window", timedelta(days=365))


def _treat_a_retry_after_delivery_as_a_clear(patch: pytest.MonkeyPatch) -> None:
    real = submission.decide
    # With on_clear="reuse" a clear returns the same video as a retry does.
    _set_fields_of_all_tasks(patch, on_clear="regenerate")
    patch.setattr(submission, "decide", lambda *args, **kwargs: real(*args, **{**kwargs, "cleared": True}))


def _record_a_delivery_as_failed(patch: pytest.MonkeyPatch) -> None:
    real = Generation._record
    # Only a retry pays again at once: a clear checks a failed job first.
    _set_fields_of_all_tasks(patch, retries=3)

    def record(self: Any, job: Any, phase: ledger.Phase, **changes: Any) -> None:
        phase = ledger.Phase.FAILED if phase is ledger.Phase.DELIVERED else phase
        real(self, job, phase, **changes)

    patch.setattr(Generation, "_record", record)


def _overwrite_the_first_record(patch: pytest.MonkeyPatch) -> None:
    real = ledger.Ledger._write

    def write(self: Any, record: ledger.Record) -> ledger.Record:
        self._newest = 0
        return real(self, record)

    patch.setattr(ledger.Ledger, "_write", write)


def _submit_at_each_clear_after_delivery(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(submission.Submitter, "_delivered_before", lambda self, record: None)


@pytest.mark.parametrize(
    "mutation",
    [
        _overwrite_the_first_record,
        _submit_at_each_clear_after_delivery,
        _record_the_intent_after_the_submission,
        _fingerprint_with_the_try_number,
        _retry_on_a_read_timeout,
        _resubmit_on_an_unreadable_store,
        _resubmit_on_a_poll_error,
        _treat_a_resent_request_as_the_first,
        _never_expire_an_idempotency_key,
        _treat_a_retry_after_delivery_as_a_clear,
        _record_a_delivery_as_failed,
    ],
    ids=lambda mutation: mutation.__name__.strip("_"),
)
def test_the_state_machine_detects_the_mutation(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(PaidTwice):
        run_state_machine_as_test(NeverPayTwice, settings=_budget(800))
