# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator and the trigger of the package with a trap on their way. The package itself knows of none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import TriggerEvent

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from dev.chaos import plan
from dev.chaos.trap import Trap

if TYPE_CHECKING:
    from airflow_provider_vidgen.models import VideoJob


class ChaosTrigger(VideoTaskTrigger):
    """The trigger; its task can be caught while it waits, and when the event is on its way."""

    def __init__(self, *, trap: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trap = trap

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return "dev.chaos.task.ChaosTrigger", {**super().serialize()[1], "trap": self.trap}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Stop before the event, and say when it is out."""
        trap = Trap(**self.trap)
        async for event in super().run():
            if trap.kind != plan.WORKER:
                await trap.areach(plan.EVENT)
            yield event
            trap.note("event sent")

    async def _poll_until_ended(self, job: VideoJob) -> None:
        trap = Trap(**self.trap)
        trap.note("watching")
        trap.arrive(plan.DEFERRED)
        await super()._poll_until_ended(job)


class ChaosOperator(VideoGenerationOperator):
    """The operator; what it makes and where it is caught stands in the run's conf."""

    def execute(self, context: Any) -> Any:
        """Make the video of the run's conf, if there is one for this task."""
        trap = self._prepare(context)
        cleared = "finished" in trap.steps()
        trap.note("execute")
        result = super().execute(context)
        if cleared:
            trap.reach(plan.CLEARED)
        return result

    def resume(  # type: ignore[override]
        self, context: Any, event: Any, **kwargs: Any
    ) -> Any:
        """Go on after the event."""
        trap = self._prepare(context)
        trap.note("resume")
        if trap.kind == plan.WORKER:
            # No worker belongs to the task before: the one that picks up the event is the one to kill.
            trap.reach(plan.EVENT)
        return super().resume(context, event, **kwargs)

    def settle(self, context: Any, hook: Any, job: Any, status: Any) -> Any:
        """Stop with the vendor's last word in hand."""
        trap = self._prepare(context)
        trap.reach(plan.RESUMING)
        return super().settle(context, hook, job, status)

    def finish(self, context: Any, hook: Any, job: Any, status: Any) -> Any:
        """Say which process lands the file; the proxy stops the download half way."""
        trap = self._prepare(context)
        trap.arrive(plan.LANDING)
        result = super().finish(context, hook, job, status)
        trap.note("finished")
        return result

    def defer(self, *, trigger: Any, **kwargs: Any) -> Any:
        """Leave the worker with our trigger."""
        trap = self._trap
        trap.reach(plan.DEFERRING)
        mine = ChaosTrigger(trap=trap.to_dict(), **trigger.serialize()[1])
        super().defer(trigger=mine, **kwargs)

    def _prepare(self, context: Any) -> Trap:
        cell = (context["dag_run"].conf or {}).get("cells", {}).get(self.task_id)
        if cell is None:
            raise AirflowSkipException("not in this round")
        if not hasattr(self, "_trap"):
            for name, value in cell.items():
                if name != "trap":
                    setattr(self, name, value)
            self._trap = Trap(**cell["trap"])
            _lay(self._trap)
        return self._trap


def _lay(trap: Trap) -> None:
    """Put the trap into this process, which runs this one task and nothing else."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    from airflow_provider_vidgen.client import WorkerClient
    from airflow_provider_vidgen.ledger import Ledger, Phase

    submitting, moved, submit = Ledger.submitting, Ledger.moved, WorkerClient.submit
    write = TaskStateStoreAccessor.set
    accepted = False

    @wraps(submitting)
    def traced_submitting(self: Any, *args: Any, **kwargs: Any) -> Any:
        trap.reach(plan.BEFORE_INTENT)
        trap.note("intent")
        record = submitting(self, *args, **kwargs)
        trap.note("intent written")
        trap.reach(plan.AFTER_INTENT)
        return record

    @wraps(submit)
    def traced_submit(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal accepted
        trap.arrive(plan.UNANSWERED)
        trap.note("POST")
        submission = submit(self, *args, **kwargs)
        accepted = True
        trap.job(submission.job.task_id)
        trap.note("answer")
        trap.reach(plan.ANSWERED)
        return submission

    @wraps(moved)
    def traced_moved(self: Any, record: Any, phase: Any, **changes: Any) -> Any:
        written = moved(self, record, phase, **changes)
        trap.note(f"record {phase}")
        if phase is Phase.SUBMITTED:
            trap.reach(plan.PERSISTED)
        return written

    @wraps(write)
    def traced_write(self: Any, *args: Any, **kwargs: Any) -> None:
        if accepted:
            trap.reach(plan.FIRST_WRITE)
        write(self, *args, **kwargs)

    if trap.forgetful:
        Ledger.read = lambda self: None  # type: ignore[method-assign]
    Ledger.submitting = traced_submitting  # type: ignore[method-assign]
    Ledger.moved = traced_moved  # type: ignore[method-assign]
    WorkerClient.submit = traced_submit  # type: ignore[method-assign]
    TaskStateStoreAccessor.set = traced_write  # type: ignore[method-assign]
