# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A Dag run in memory, in place of Airflow's database, for the command line and the API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vidgen.airflow_core import CannotClear, CoreTask, LockedTask, UnknownRun
from airflow_provider_vidgen.errors import TaskRef
from airflow_provider_vidgen.ledger import Record, entry_key
from tests.support.ledgers import ledger_on
from tests.support.state_store import FakeStateStore

MAX_TRIES = 2


@dataclass
class FakeRun:
    """
    The run ``run`` of the Dag ``dag``.

    :param conn_id: of all tasks.
    :param connections: by id, as this process sees them.
    :param cannot_clear: why no task can be cleared.
    """

    tasks: list[CoreTask] = field(default_factory=list)
    conn_id: str = "vidgen_default"
    connections: dict[str, Any] = field(default_factory=dict)
    cannot_clear: str = ""
    cleared: list[int] = field(default_factory=list)

    def add(self, stored: Any = None, *, state: str = "failed", map_index: int = -1, **fields: Any) -> None:
        """
        Add an instance of the task ``make``.

        :param stored: its record, or the value of an invalid one.
        """
        store = FakeStateStore()
        if stored is not None:
            store.set(entry_key(1), stored.to_json() if isinstance(stored, Record) else stored)
        values = {"task_id": "make", "max_tries": MAX_TRIES, "store": store, **fields}
        self.tasks.append(CoreTask(state=state, map_index=map_index, **values))

    def record(self, map_index: int = -1) -> Record | None:
        """Return an instance's newest record."""
        [task] = [task for task in self.tasks if task.map_index == map_index]
        return ledger_on(task.store, max_tries=MAX_TRIES).read()

    def stores(self) -> list[dict[str, str]]:
        """Return copies of what the instances have stored."""
        return [dict(task.store) for task in self.tasks]  # type: ignore[call-overload]

    @contextmanager
    def tasks_of_run(self, dag_id: str, run_id: str) -> Iterator[list[CoreTask]]:
        if (dag_id, run_id) != ("dag", "run"):
            raise UnknownRun(f"The Dag {dag_id!r} has no run {run_id!r}, and no other.")
        yield self.tasks

    @contextmanager
    def locked_task(self, task: TaskRef) -> Iterator[LockedTask | None]:
        index = -1 if task.map_index is None else task.map_index
        before = self.stores()
        found = [found for found in self.tasks if (found.task_id, found.map_index) == (task.task_id, index)]
        try:
            yield (
                None
                if not found
                else LockedTask(
                    **vars(found[0]),
                    rendered_argument=lambda name: self.conn_id,
                    clear=lambda: self._clear(index),
                )
            )
        except BaseException:
            # As the database does.
            for instance, stored in zip(self.tasks, before, strict=True):
                instance.store.clear()  # type: ignore[attr-defined]
                instance.store.update(stored)  # type: ignore[attr-defined]
            raise

    def _clear(self, map_index: int) -> int:
        if self.cannot_clear:
            raise CannotClear(self.cannot_clear)
        self.cleared.append(map_index)
        return 3
