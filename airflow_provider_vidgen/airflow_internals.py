# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Where this package leans on Airflow beyond its public interface, and the versions it was seen to hold on.

Seen on: apache-airflow 3.3.2 with task SDK 1.3.2.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any


def minimum_deferral_seconds() -> float:
    """
    Return how long a task has to stay deferred, or rescheduled.

    One that wakes sooner is marked failed by the scheduler although it is healthy: the executor's report of
    its first leg is read after its second one was queued. A supervisor that misses the end of its task's
    process tells it at its next heartbeat only. It was seen with a wait of 5 s, under load, and of 10 s where
    the heartbeat's interval was 20 s; with 10 s and the usual 5 s it was not.
    """
    from airflow.sdk import conf

    return max(10.0, conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 5.0)


#: What Airflow imports when a trigger first asks for a connection or sets an XCom, in the event loop.
IMPORTED_BY_TRIGGERS = (
    "airflow.sdk.definitions.connection",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.xcom",
    "airflow.sdk.log",
    "asgiref.sync",
)


def max_tries(context: Any) -> int:
    """
    Return Airflow's limit of tries for this task instance.

    A person's clear of a task that is not running raises it, of a deferred one, too; an automatic retry and a
    lost worker leave it as it was. Clearing a running task mostly leaves it as well.
    """
    return int(context["ti"].max_tries)


def unmapped_argument(context: Any, argument: str) -> Any:
    """
    Return what all instances of a mapped task were given for an argument, before rendering.

    ``None`` if the task is not mapped, or if this is what it is mapped over. In a mapped task group it may be
    an object that stands for a value still to come.
    """
    instance = context["ti"]
    if instance.map_index in (None, -1):
        return None
    written = context["dag"].get_task(instance.task_id)
    return getattr(written, "partial_kwargs", vars(written)).get(argument)


async def connection_extra(connection: Any) -> dict[str, Any]:
    """
    Return a connection's extra in a trigger, its secrets masked as ``Connection.extra_dejson`` masks them.

    That one waits for the supervisor, which a trigger must not do in the event loop; its asynchronous
    counterpart came with Airflow 3.3.2.
    """
    from airflow.sdk.log import amask_secret

    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        return {}
    if not isinstance(extra, dict):
        return {}
    await amask_secret(extra)
    return extra


#: A backend may store what it is given elsewhere, and hang: its thread is none of the loop's own.
_serialising = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vidgen-xcom")


async def push_xcom_from_trigger(task_instance: Any, key: str, value: Any) -> None:
    """
    Set an XCom of a deferred task from its trigger; it goes through the triggerer's supervisor.

    ``XCom.aset`` has the backend serialise in the event loop. Here that is done in a thread, one at a time.
    """
    where = {
        "key": key,
        "dag_id": task_instance.dag_id,
        "task_id": task_instance.task_id,
        "run_id": task_instance.run_id,
        "map_index": task_instance.map_index,
    }

    def serialise() -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        stored = XCom.serialize_value(value, **where)

        class Serialised(XCom):  # type: ignore[misc]
            @staticmethod
            def serialize_value(value: Any, **_: Any) -> Any:
                return stored

        return Serialised

    backend = await asyncio.get_running_loop().run_in_executor(_serialising, copy_context().run, serialise)
    await backend.aset(value=None, **where)


#: A task in one of these states holds no job any more, as far as Airflow can tell.
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


def unfinished_instances_before(task_instance: Any, limit: int) -> int:
    """
    Return how many instances of a mapped task come before this one, by map index, and have not ended.

    One that waits for its retry has not ended: its job may go on at the vendor.

    :param limit: below it the number is exact. Above, it may be too small: the states of a thousand
        instances cost the API server some 150 ms, and their number 4 ms.
    """
    name, run_id = task_instance.task_id, task_instance.run_id
    among: dict[str, Any] = {"dag_id": task_instance.dag_id, "task_ids": [name], "run_ids": [run_id]}
    least = task_instance.map_index - task_instance.get_ti_count(**among, states=list(_ENDED))
    if least >= limit:
        return int(least)
    states = task_instance.get_task_states(**among).get(run_id, {})
    before = (f"{name}_{index}" for index in range(task_instance.map_index))
    return sum(instance in states and states[instance] not in _ENDED for instance in before)


def has_state_store_backend() -> bool:
    """Return whether workers keep the values of the task state store outside of Airflow's database."""
    from airflow.sdk import conf

    return bool(conf.get("workers", "state_store_backend", fallback=""))


def clears_state_on_success() -> bool:
    """Return whether Airflow deletes what is in the task state store once the task has succeeded."""
    from airflow.sdk import conf

    return bool(conf.getboolean("state_store", "clear_on_success", fallback=False))


def get_state_row(ti_id: Any, key: str) -> Any:
    """
    Read a value of the task state store from Airflow's own row, past any backend of the workers.

    :raises AirflowRuntimeError: it cannot be read.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStateStore, TaskStateStoreResult

    reply = task_runner.SUPERVISOR_COMMS.send(GetTaskStateStore(ti_id=ti_id, key=key))
    if isinstance(reply, TaskStateStoreResult):
        return reply.value
    if isinstance(reply, ErrorResponse) and reply.error != ErrorType.TASK_STORE_NOT_FOUND:
        raise AirflowRuntimeError(reply)
    return None


def set_state_row(ti_id: Any, key: str, value: Any) -> None:
    """
    Write a value that does not expire into Airflow's own row, past any backend of the workers.

    :raises AirflowRuntimeError: it was not written, as for a try that another one has replaced.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import SetTaskStateStore

    task_runner.SUPERVISOR_COMMS.send(SetTaskStateStore(ti_id=ti_id, key=key, value=value, expires_at=None))


@dataclass(frozen=True)
class CoreTask:
    """A task instance as seen from core code (a command line, say), and its state store."""

    task_id: str
    map_index: int
    state: str
    max_tries: int
    store: CoreStateStore


class CoreStateStore:
    """
    The task state store as seen from core code, where there is no task context.

    :param scope: an ``airflow.state.TaskScope``.
    """

    def __init__(self, scope: Any) -> None:
        from airflow.state import get_state_backend

        self._backend = get_state_backend()
        self._scope = scope

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        stored = self._backend.get(self._scope, key)
        return default if stored is None else json.loads(stored)

    def set(self, key: str, value: Any) -> None:
        """Write a value that does not expire."""
        self._backend.set(self._scope, key, json.dumps(value))


def tasks_of_run(dag_id: str, run_id: str) -> list[CoreTask]:
    """Return the task instances of a run, mapped ones each, in order."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.state import TaskScope
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(TaskInstance)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
    )
    with create_session() as session:
        return [
            CoreTask(
                task_id=ti.task_id,
                map_index=ti.map_index,
                state=str(ti.state),
                max_tries=ti.max_tries,
                store=CoreStateStore(TaskScope(dag_id, run_id, ti.task_id, ti.map_index)),
            )
            for ti in session.scalars(query)
        ]


async def task_state(task_instance: Any) -> str | None:
    """
    Return a task's state from its trigger.

    ``BaseTrigger.on_kill`` also runs when a trigger moves to another triggerer and after a normal event, so
    it has to look before it acts.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    name = task_instance.task_id
    if task_instance.map_index is not None and task_instance.map_index >= 0:
        name = f"{name}_{task_instance.map_index}"
    found = states.get(task_instance.run_id, {}).get(name)
    return None if found is None else str(found)
