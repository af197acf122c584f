# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The provider's operator and trigger with a breakpoint. The provider itself contains no test code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import TriggerEvent

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from dev.chaos import scenarios
from dev.chaos.breakpoints import Breakpoint

if TYPE_CHECKING:
    from airflow_provider_vidgen.models import VideoJob


class InstrumentedTrigger(VideoTaskTrigger):
    """The trigger, with crash points while it waits and before it sends its event."""

    def __init__(self, *, breakpoint_kwargs: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.breakpoint_kwargs = breakpoint_kwargs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        kwargs = {**super().serialize()[1], "breakpoint_kwargs": self.breakpoint_kwargs}
        return "dev.chaos.instrumented_operator.InstrumentedTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait before the event is sent, and record that it was sent."""
        breakpoint_ = Breakpoint(**self.breakpoint_kwargs)
        async for event in super().run():
            if breakpoint_.fault != scenarios.WORKER:
                await breakpoint_.async_wait_at(scenarios.EVENT)
            yield event
            breakpoint_.trace("event sent")

    async def _poll_until_ended(self, job: VideoJob) -> None:
        breakpoint_ = Breakpoint(**self.breakpoint_kwargs)
        breakpoint_.trace("polling")
        breakpoint_.reach(scenarios.DEFERRED)
        await super()._poll_until_ended(job)


class InstrumentedOperator(VideoGenerationOperator):
    """The operator; its arguments and its breakpoint are set by the run's conf."""

    def execute(self, context: Any) -> Any:
        """Generate the video of the run's conf, or skip the task if the conf has none for it."""
        breakpoint_ = self._configure(context)
        is_cleared = "finished" in breakpoint_.steps()
        breakpoint_.trace("execute")
        result = super().execute(context)
        if is_cleared:
            breakpoint_.wait_at(scenarios.CLEARED)
        return result

    def execute_complete(self, context: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        """Continue after the trigger event."""
        breakpoint_ = self._configure(context)
        breakpoint_.trace("resume")
        if breakpoint_.fault == scenarios.WORKER:
            # A deferred task has no worker process; the one that receives the event is killed.
            breakpoint_.wait_at(scenarios.EVENT)
        return super().execute_complete(context, event, *args, **kwargs)

    def defer(self, *, trigger: Any, **kwargs: Any) -> Any:
        """Defer with the instrumented trigger."""
        breakpoint_ = self._breakpoint
        breakpoint_.wait_at(scenarios.DEFERRING)
        instrumented = InstrumentedTrigger(breakpoint_kwargs=breakpoint_.to_dict(), **trigger.serialize()[1])
        super().defer(trigger=instrumented, **kwargs)

    def _configure(self, context: Any) -> Breakpoint:
        arguments = (context["dag_run"].conf or {}).get("tasks", {}).get(self.task_id)
        if arguments is None:
            raise AirflowSkipException("the run's conf has no scenario for this task")
        if not hasattr(self, "_breakpoint"):
            for name, value in arguments.items():
                if name != "breakpoint":
                    setattr(self, name, value)
            self._breakpoint = Breakpoint(**arguments["breakpoint"])
            _patch_provider(self._breakpoint)
        return self._breakpoint


def _patch_provider(breakpoint_: Breakpoint) -> None:
    """Add the crash points of a submission to this process, which runs a single task."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    from airflow_provider_vidgen.client import WorkerClient
    from airflow_provider_vidgen.generation import Generation
    from airflow_provider_vidgen.ledger import Ledger, Phase

    record_intent, transition, submit = Ledger.record_intent, Ledger.transition, WorkerClient.submit
    deliver = Generation._deliver
    write = TaskStateStoreAccessor.set
    is_accepted = False

    @wraps(record_intent)
    def traced_intent(self: Any, *args: Any, **kwargs: Any) -> Any:
        breakpoint_.wait_at(scenarios.BEFORE_INTENT)
        breakpoint_.trace("intent")
        record = record_intent(self, *args, **kwargs)
        breakpoint_.trace("intent written")
        breakpoint_.wait_at(scenarios.AFTER_INTENT)
        return record

    @wraps(submit)
    def traced_submit(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal is_accepted
        breakpoint_.reach(scenarios.ACCEPTED)
        breakpoint_.trace("POST")
        submission = submit(self, *args, **kwargs)
        is_accepted = True
        breakpoint_.record_job(submission.job.task_id)
        breakpoint_.trace("response")
        breakpoint_.wait_at(scenarios.RESPONSE)
        return submission

    @wraps(transition)
    def traced_transition(self: Any, record: Any, phase: Any, **changes: Any) -> Any:
        written = transition(self, record, phase, **changes)
        breakpoint_.trace(f"record {phase}")
        if phase is Phase.SUBMITTED:
            breakpoint_.wait_at(scenarios.PERSISTED)
        return written

    @wraps(deliver)
    def traced_deliver(self: Any, job: Any, status: Any) -> Any:
        breakpoint_.wait_at(scenarios.RESUMING)
        if status.failure is None:
            # The process that lands the file; the proxy holds the download half way.
            breakpoint_.reach(scenarios.LANDING)
        result = deliver(self, job, status)
        breakpoint_.trace("finished")
        return result

    @wraps(write)
    def traced_write(self: Any, *args: Any, **kwargs: Any) -> None:
        if is_accepted:
            breakpoint_.wait_at(scenarios.FIRST_WRITE)
        write(self, *args, **kwargs)

    if breakpoint_.ignore_ledger:
        Ledger.read = lambda self: None  # type: ignore[method-assign]
    Ledger.record_intent = traced_intent  # type: ignore[method-assign]
    Ledger.transition = traced_transition  # type: ignore[method-assign]
    Generation._deliver = traced_deliver  # type: ignore[method-assign]
    WorkerClient.submit = traced_submit  # type: ignore[method-assign]
    TaskStateStoreAccessor.set = traced_write  # type: ignore[method-assign]
