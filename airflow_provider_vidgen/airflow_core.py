# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What the command line and the API server use of Airflow beyond its public interface.

Both have access to Airflow's database. Tested with apache-airflow 3.3.2. Internal modules are imported where
they are used.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CoreTask:
    """A task instance and its state store, in core code such as a command line."""

    task_id: str
    map_index: int
    state: str
    max_tries: int
    store: CoreStateStore


class CoreStateStore:
    """
    The task state store in core code, where there is no task context.

    :param backend: from ``airflow.state.get_state_backend``.
    :param scope: an ``airflow.state.TaskScope``.
    """

    def __init__(self, backend: Any, scope: Any) -> None:
        self._backend = backend
        self._scope = scope

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        stored = self._backend.get(self._scope, key)
        return default if stored is None else json.loads(stored)

    def set(self, key: str, value: Any) -> None:
        """Write a value that does not expire."""
        self._backend.set(self._scope, key, json.dumps(value))


def use_connections_of_the_database() -> None:
    """Let hooks of this process read Airflow's database, as ``airflow connections get`` does."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def tasks_of_run(dag_id: str, run_id: str) -> list[CoreTask]:
    """Return the task instances of a run, by task id and map index."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.state import TaskScope, get_state_backend
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(TaskInstance)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
    )
    backend = get_state_backend()
    with create_session() as session:
        return [
            CoreTask(
                task_id=ti.task_id,
                map_index=ti.map_index,
                state=str(ti.state),
                max_tries=ti.max_tries,
                store=CoreStateStore(backend, TaskScope(dag_id, run_id, ti.task_id, ti.map_index)),
            )
            for ti in session.scalars(query)
        ]
