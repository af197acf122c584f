# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Task instances and the contexts of their tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow_provider_vidgen.ledger import Ledger
from tests.support.clock import NOW
from tests.support.state_store import FakeStateStore

#: The keys of a generation's XCom ``return_value``, in order.
RESULT_KEYS = (
    "vendor",
    "model",
    "task_id",
    "state",
    "result_urls",
    "thumbnail_url",
    "duration_seconds",
    "created_at",
    "completed_at",
    "expires_at",
    "cost",
    "files",
)


class FakeTaskInstance:
    """The attributes and methods of a task instance that the operators use."""

    def __init__(self, **fields: Any) -> None:
        self.dag_id, self.task_id, self.run_id = "d", "t", "r"
        self.try_number = 1
        self.max_tries = 2
        self.id = "ti-1"
        self.map_index = -1
        self.start_date = NOW
        #: The states of the mapped instances in the run: ``{"t_0": "success"}``.
        self.states: dict[str, str | None] = {}
        self.xcom: dict[str, Any] = {}
        self.pushed: list[tuple[str, Any]] = []
        self.__dict__.update(fields)

    def get_task_states(
        self, *, dag_id: str, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str | None]]:
        assert (dag_id, task_ids, run_ids) == (self.dag_id, [self.task_id], [self.run_id])
        return {self.run_id: self.states}

    def get_ti_count(self, *, states: list[str], **_: Any) -> int:
        return sum(state in states for state in self.states.values())

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value
        self.pushed.append((key, value))


def context(**ti: Any) -> dict[str, Any]:
    """Return the context of a task's first try."""
    return {"ti": FakeTaskInstance(**ti), "task_state_store": FakeStateStore()}


def record_of(context: dict[str, Any]) -> dict[str, Any]:
    """Return the newest ledger record in a task's state store."""
    found = Ledger(context["task_state_store"], max_tries=0, now=lambda: NOW).read()
    assert found is not None
    return found.to_json()


def task_instance(**fields: Any) -> Any:
    """Return the task instance that Airflow gives to a trigger."""
    return SimpleNamespace(
        **{"id": "ti-1", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, **fields}
    )
