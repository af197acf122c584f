# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What workers and triggerers use of Airflow beyond its public interface; :mod:`.airflow_core` has the rest.

Tested with apache-airflow 3.3.2 and task SDK 1.3.2. Internal modules are imported where they are used:
parsing a Dag needs none of them, a worker and a triggerer a few each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from airflow.sdk import conf


def minimum_deferral_seconds() -> float:
    """
    Return the minimum time that a task must stay deferred or rescheduled, in seconds.

    If it resumes sooner, the scheduler may mark it failed although it is healthy: the executor's report of
    the task's first run is then processed after the second one was queued. A supervisor that misses the exit
    of the task's process reports it only at its next heartbeat. This happened after 5 s under load, and after
    10 s with a heartbeat interval of 20 s; it did not after 10 s with the default interval of 5 s.
    """
    return max(10.0, conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 5.0)


#: Modules that Airflow imports, in the event loop, when a trigger first gets a connection or sets an XCom.
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

    Clearing a task that is not running increases the limit, also for a deferred one. An automatic retry and a
    lost worker do not change it, and clearing a running task mostly does not either.
    """
    return int(context["ti"].max_tries)


def unmapped_argument(context: Any, argument: str) -> Any:
    """
    Return an argument that all instances of a mapped task share, before rendering.

    ``None`` if the task is not mapped, or is mapped over this argument. In a mapped task group it may be a
    placeholder for a value that is not known yet.
    """
    instance = context["ti"]
    if instance.map_index in (None, -1):
        return None
    operator = context["dag"].get_task(instance.task_id)
    return getattr(operator, "partial_kwargs", vars(operator)).get(argument)


def mapped_arguments(context: Any) -> dict[str, list[Any] | None]:
    """
    Return the template fields in which the instances of a mapped task may differ.

    :return: by name the values of all instances, as the Dag has them, or ``None`` if another task returns
        them. Where the names are in the result of another task, all fields that the Dag does not set.
    """
    operator = context["dag"].get_task(context["ti"].task_id)
    fields = operator.template_fields
    if not hasattr(operator, "partial_kwargs"):
        # In a mapped task group the group's arguments are placeholders, which are resolved when it runs.
        return {name: None for name in fields if hasattr(getattr(operator, name, None), "resolve")}
    mapped = operator._get_specified_expand_input().value
    if isinstance(mapped, Mapping):
        return {
            name: list(values) if isinstance(values, list | tuple) else None
            for name, values in mapped.items()
            if name in fields
        }
    if isinstance(mapped, list | tuple) and all(isinstance(row, Mapping) for row in mapped):
        names = dict.fromkeys(name for row in mapped for name in row if name in fields)
        return {name: [row.get(name) for row in mapped] for name in names}
    # Default arguments are filled in only when an instance is made.
    group_defaults = getattr(operator.task_group, "default_args", None) or {}
    shared = {*operator.partial_kwargs, *context["dag"].default_args, *group_defaults}
    return {name: None for name in fields if name not in shared}


async def connection_extra(connection: Any) -> dict[str, Any]:
    """
    Return a connection's extra in a trigger, with its secrets masked as by ``Connection.extra_dejson``.

    That property waits for the supervisor, which would block the event loop; its asynchronous counterpart
    exists only since Airflow 3.3.2.
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


def log_after_traceback(operator: Any, message: str) -> None:
    """
    Log a message once more after the traceback of the exception that is about to be raised.

    Airflow logs the exception's message above some 25 lines of traceback. It calls the task's callbacks after
    that, in the same process and log, in a group of lines that its UI shows collapsed; so that group is ended
    first. (The UI ignores that Airflow ends it again.)

    :param operator: the operator that runs; its callbacks are extended in this process only.
    """

    def log_message(context: Any) -> None:
        operator.log.info("::endgroup::")
        for line in message.splitlines():
            operator.log.error("%s", line)

    for kind in ("on_failure_callback", "on_retry_callback"):
        setattr(operator, kind, [*(getattr(operator, kind, None) or ()), log_message])


#: An XCom backend may store values elsewhere, and hang: it must not block a thread of the loop's own
#: executor.
_serialization_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vidgen-xcom")


async def push_xcom_from_trigger(task_instance: Any, key: str, value: Any) -> None:
    """
    Set an XCom of a deferred task from its trigger; it goes through the triggerer's supervisor.

    ``XCom.aset`` lets the backend serialize in the event loop. Here that is done in a thread, one value at a
    time.
    """
    xcom_id = {
        "key": key,
        "dag_id": task_instance.dag_id,
        "task_id": task_instance.task_id,
        "run_id": task_instance.run_id,
        "map_index": task_instance.map_index,
    }

    def serialize() -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        serialized = XCom.serialize_value(value, **xcom_id)

        class AlreadySerialized(XCom):  # type: ignore[misc]
            @staticmethod
            def serialize_value(value: Any, **_: Any) -> Any:
                return serialized

        return AlreadySerialized

    run = copy_context().run
    backend = await asyncio.get_running_loop().run_in_executor(_serialization_thread, run, serialize)
    await backend.aset(value=None, **xcom_id)


#: A task in one of these states has no running job, as far as Airflow knows.
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


def unfinished_instances_before(task_instance: Any, limit: int) -> int:
    """
    Count the instances of a mapped task that have a smaller map index than this one and have not ended.

    An instance that waits for its retry has not ended: its job may continue at the vendor.

    :param limit: a count up to this number is exact. A higher one may be too small: fetching the states of a
        thousand instances costs the API server some 150 ms, counting them 4 ms.
    """
    task_id, run_id = task_instance.task_id, task_instance.run_id
    query: dict[str, Any] = {"dag_id": task_instance.dag_id, "task_ids": [task_id], "run_ids": [run_id]}
    lower_bound = task_instance.map_index - task_instance.get_ti_count(**query, states=list(_ENDED))
    if lower_bound >= limit:
        return int(lower_bound)
    states = task_instance.get_task_states(**query).get(run_id, {})
    earlier = (f"{task_id}_{index}" for index in range(task_instance.map_index))
    return sum(instance in states and states[instance] not in _ENDED for instance in earlier)


def has_state_store_backend() -> bool:
    """Whether workers keep the values of the task state store outside of Airflow's database."""
    return bool(conf.get("workers", "state_store_backend", fallback=""))


def clears_state_on_success() -> bool:
    """Whether Airflow deletes a task's values from the state store when the task succeeds."""
    return bool(conf.getboolean("state_store", "clear_on_success", fallback=False))


def get_state_row(ti_id: Any, key: str) -> Any:
    """
    Read a value of the task state store from Airflow's database, bypassing any backend of the workers.

    :raises AirflowRuntimeError: the value cannot be read.
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
    Write a value that does not expire to Airflow's database, bypassing any backend of the workers.

    :raises AirflowRuntimeError: the value was not written, for example because a newer try has replaced this
        one.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import SetTaskStateStore

    task_runner.SUPERVISOR_COMMS.send(SetTaskStateStore(ti_id=ti_id, key=key, value=value, expires_at=None))


async def task_state(task_instance: Any) -> str | None:
    """
    Return the state of a trigger's task.

    ``BaseTrigger.on_kill`` also runs when a trigger moves to another triggerer and after a normal event, so
    it must check the state first.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    instance = task_instance.task_id
    if task_instance.map_index is not None and task_instance.map_index >= 0:
        instance = f"{instance}_{task_instance.map_index}"
    state = states.get(task_instance.run_id, {}).get(instance)
    return None if state is None else str(state)


def exports_legacy_metrics() -> bool:
    """Whether Airflow sends each metric a second time, with the tags' values in its name."""
    return bool(conf.getboolean("metrics", "legacy_names_on", fallback=True))


def metrics_backend() -> Any:
    """
    Return Airflow's metrics, as they are configured: StatsD, Datadog, OpenTelemetry, or nothing.

    A worker initialises those of the task SDK for each task. A triggerer initialises only those of Airflow's
    core, in the parent of the process that runs the triggers.
    """
    from airflow.sdk._shared.observability.metrics import stats

    if stats._factory is None:
        from airflow.sdk.observability.metrics import stats_utils

        factory = stats_utils.get_stats_factory()
        stats.initialize(factory=factory, export_legacy_names=exports_legacy_metrics())
    return stats


def prepare_metrics() -> None:
    """
    Do what blocks once: connect to the metrics backend, and parse Airflow's list of its own metrics.

    Airflow does it when a process sends its first metric, which in a triggerer may be in the event loop.
    """
    stats = metrics_backend()
    # A timer without a name sends nothing.
    stats.timer()
    if exports_legacy_metrics():
        stats._get_registry()


def add_hook_lineage(reporter: Any, *, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """
    Add URIs to Airflow's hook lineage; without a plugin that reads it, such as OpenLineage's, do nothing.

    :param reporter: the hook or ``ObjectStoragePath`` that has read and written them.
    """
    from airflow.sdk.lineage import get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    for uri in inputs:
        collector.add_input_asset(context=reporter, uri=uri)
    for uri in outputs:
        collector.add_output_asset(context=reporter, uri=uri)
