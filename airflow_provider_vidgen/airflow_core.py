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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow_provider_vidgen.errors import TaskRef


@dataclass(frozen=True, kw_only=True)
class CoreTask:
    """
    A task instance and its state store, in core code such as a command line.

    :param name: the instance's name instead of its map index, where there is one.
    :param next_check: when a rescheduled task runs again, ISO 8601, UTC.
    """

    task_id: str
    map_index: int
    state: str
    max_tries: int
    store: CoreStateStore
    name: str = ""
    next_check: str = ""


@dataclass(frozen=True, kw_only=True)
class LockedTask(CoreTask):
    """
    A task instance that nothing else changes meanwhile.

    :param rendered_argument: returns an argument of the operator as text, empty if it is not known.
    :param clear: clears the instance and those downstream of it, and returns their number; see
        :func:`_clear`.
    """

    rendered_argument: Callable[[str], str]
    clear: Callable[[], int]


class UnknownRun(Exception):
    """There is no such Dag, or no such run of it; the text says which."""


class CannotClear(Exception):
    """The task instance was not cleared; the text is the reason."""


class CoreStateStore:
    """
    The task state store in core code, where there is no task context.

    :param backend: from ``airflow.state.get_state_backend``.
    :param scope: an ``airflow.state.TaskScope``.
    :param session: of the database; its owner commits.
    """

    def __init__(self, backend: Any, scope: Any, session: Any) -> None:
        self._backend = backend
        self._scope = scope
        self._session = session

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        stored = self._backend.get(self._scope, key, session=self._session)
        return default if stored is None else json.loads(stored)

    def set(self, key: str, value: Any) -> None:
        """Write a value that does not expire."""
        self._backend.set(self._scope, key, json.dumps(value), session=self._session)


def use_connections_of_the_database() -> None:
    """Let hooks of this process read Airflow's database, as ``airflow connections get`` does."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def _fields(ti: Any, session: Any) -> dict[str, Any]:
    from airflow.state import TaskScope, get_state_backend

    scope = TaskScope(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    return {
        "task_id": ti.task_id,
        "map_index": ti.map_index,
        "state": str(ti.state) if ti.state else "not scheduled",
        "max_tries": ti.max_tries,
        "store": CoreStateStore(get_state_backend(), scope, session),
        "name": ti.rendered_map_index or "",
    }


@contextmanager
def tasks_of_run(dag_id: str, run_id: str) -> Iterator[list[CoreTask]]:
    """
    Provide the task instances of a run, by task id and map index, with one session for all of them.

    :raises UnknownRun: there is no such run.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    of_the_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    next_checks = (
        select(TaskReschedule.ti_id, func.max(TaskReschedule.reschedule_date))
        .join(TaskInstance, TaskInstance.id == TaskReschedule.ti_id)
        .where(*of_the_run, TaskInstance.state == "up_for_reschedule")
        .group_by(TaskReschedule.ti_id)
    )
    query = select(TaskInstance).where(*of_the_run).order_by(TaskInstance.task_id, TaskInstance.map_index)
    with create_session() as session:
        instances = session.scalars(query).all()
        if not instances:
            _check_run(dag_id, run_id, session)
        checks = {ti_id: time.isoformat() for ti_id, time in session.execute(next_checks)}
        yield [CoreTask(**_fields(ti, session), next_check=checks.get(ti.id, "")) for ti in instances]


def _check_run(dag_id: str, run_id: str, session: Any) -> None:
    """
    Check that a run exists.

    :raises UnknownRun: it does not.
    """
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    runs = select(DagRun.run_id).where(DagRun.dag_id == dag_id)
    if session.scalar(runs.where(DagRun.run_id == run_id)) is not None:
        return
    newest = session.scalars(runs.order_by(DagRun.run_after.desc()).limit(3)).all()
    if newest:
        raise UnknownRun(f"The Dag {dag_id!r} has no run {run_id!r}. Its newest runs: {', '.join(newest)}.")
    if session.get(DagModel, dag_id) is None:
        raise UnknownRun(f"There is no Dag {dag_id!r}. `airflow dags list` shows the Dags.")
    raise UnknownRun(f"The Dag {dag_id!r} has no run {run_id!r}, and no other.")


@contextmanager
def locked_task(task: TaskRef) -> Iterator[LockedTask | None]:
    """
    Provide a task instance, or ``None``; what is written is committed at the end, unless the block raises.

    The scheduler cannot queue the task and no worker can start it meanwhile: its state stays as it was read.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    is_the_task = (
        TaskInstance.dag_id == task.dag_id,
        TaskInstance.run_id == task.run_id,
        TaskInstance.task_id == task.task_id,
        TaskInstance.map_index == (-1 if task.map_index is None else task.map_index),
    )
    is_the_run = (DagRun.dag_id == task.dag_id, DagRun.run_id == task.run_id)
    with create_session() as session:
        # An update locks the row in every database; SQLite knows no SELECT FOR UPDATE. The run comes first,
        # as in the scheduler, because clearing the task changes both.
        for model, conditions in ((DagRun, is_the_run), (TaskInstance, is_the_task)):
            statement = update(model).where(*conditions).values(updated_at=model.updated_at)
            session.execute(statement.execution_options(synchronize_session=False))
        ti = session.scalar(select(TaskInstance).where(*is_the_task))
        yield (
            None
            if ti is None
            else LockedTask(
                **_fields(ti, session),
                rendered_argument=lambda name: _rendered_argument(ti, name, session),
                clear=lambda: _clear(ti, session),
            )
        )


def _rendered_argument(ti: Any, name: str, session: Any) -> str:
    """
    Return an argument of a task instance: as it was rendered, else as the Dag has it.

    Airflow keeps the rendered fields of the last runs only. A template or an expanded argument is not known
    without them.
    """
    from airflow.models.dagbag import DBDagBag
    from airflow.models.renderedtifields import RenderedTaskInstanceFields

    rendered = RenderedTaskInstanceFields.get_templated_fields(ti, session=session) or {}
    value = rendered.get(name)
    if value is None:
        dag = DBDagBag(load_op_links=False).get_dag_for_run(dag_run=ti.dag_run, session=session)
        if dag is None or not dag.has_task(ti.task_id):
            return ""
        operator = dag.get_task(ti.task_id)
        value = getattr(operator, "partial_kwargs", vars(operator)).get(name)
    return value if isinstance(value, str) and "{" not in value else ""


def _clear(ti: Any, session: Any) -> int:
    """
    Clear a task instance and those downstream of it, as Airflow's own dialog does by default.

    A finished run goes back to *queued*.

    :return: the number of cleared task instances.
    :raises CannotClear: one of them is running, or the Dag is not known.
    """
    from airflow.api_fastapi.common.dagbag import resolve_run_on_latest_version
    from airflow.exceptions import AirflowClearRunningTaskException
    from airflow.models.dagbag import DBDagBag
    from airflow.models.taskinstance import clear_task_instances, find_relevant_relatives
    from airflow.utils.state import DagRunState

    dag = DBDagBag(load_op_links=False).get_dag_for_run(dag_run=ti.dag_run, session=session)
    if dag is None or not dag.has_task(ti.task_id):
        raise CannotClear("its Dag, or this task of it, is not in the database")
    is_mapped = ti.map_index >= 0
    tasks, instances = ([], [(ti.task_id, ti.map_index)]) if is_mapped else ([ti.task_id], [])
    relatives = find_relevant_relatives(
        tasks, instances, dag=dag, run_id=ti.run_id, direction="downstream", session=session
    )
    latest = resolve_run_on_latest_version(None, ti.dag_id, session)
    cleared = dag.clear(
        dry_run=True,
        task_ids=[*tasks, *instances, *relatives],
        run_id=ti.run_id,
        session=session,
        run_on_latest_version=latest,
    )
    try:
        clear_task_instances(
            cleared,
            session,
            DagRunState.QUEUED,
            run_on_latest_version=latest,
            prevent_running_task=True,
        )
    except AirflowClearRunningTaskException:
        raise CannotClear("a task downstream of it is running") from None
    return len(cleared)
