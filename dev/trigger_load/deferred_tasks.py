# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Defer tasks without running them: ``python -m dev.trigger_load.deferred_tasks`` in an Airflow's environment.

A thousand deferred tasks would need a thousand worker runs, which take longer than the load test itself. This
module writes to the database what the API server writes when a running task defers itself. It reads the run
and its :class:`Deferral` objects as JSON from standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_TIMEOUT = 120.0
_POLL_INTERVAL = 0.5


@dataclass(frozen=True)
class Deferral:
    """
    A task instance to be deferred.

    :param classpath: class path of the trigger.
    :param trigger_kwargs: arguments of the trigger.
    :param next_kwargs: arguments of the method that runs after the trigger event.
    """

    task_id: str
    map_index: int
    classpath: str
    trigger_kwargs: dict[str, Any]
    next_kwargs: dict[str, Any]


def defer(env: Mapping[str, str], dag_id: str, run_id: str, deferrals: Sequence[Deferral]) -> None:
    """
    Wait until the scheduler has created all task instances of the run, and defer them.

    :param env: environment variables of the Airflow.
    """
    deferred = [asdict(deferral) for deferral in deferrals]
    subprocess.run(
        [sys.executable, "-m", "dev.trigger_load.deferred_tasks"],
        env=dict(env),
        input=json.dumps({"dag_id": dag_id, "run_id": run_id, "deferrals": deferred}).encode(),
        stdout=subprocess.DEVNULL,
        timeout=2 * _TIMEOUT,
        check=True,
    )


def _wait_for_scheduler(dag_id: str, run_id: str, count: int) -> dict[tuple[str, int], Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.id).where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.state == "scheduled"
    )
    deadline = time.monotonic() + _TIMEOUT
    while True:
        with create_session() as session:
            ids = {(task_id, map_index): id_ for task_id, map_index, id_ in session.execute(query)}
        if len(ids) >= count:
            return ids
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(ids)} of {count} task instances of {run_id} are scheduled")
        time.sleep(_POLL_INTERVAL)


def _write_deferrals(dag_id: str, run_id: str, deferrals: Sequence[Deferral]) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.sdk.serde import serialize
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import update

    ids = _wait_for_scheduler(dag_id, run_id, len(deferrals))
    now = datetime.now(UTC)
    with create_session() as session:
        for deferral in deferrals:
            trigger = Trigger(classpath=deferral.classpath, kwargs={})
            trigger.encrypted_kwargs = json.dumps(serialize(deferral.trigger_kwargs))
            session.add(trigger)
            session.flush()
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.id == ids[deferral.task_id, deferral.map_index])
                .values(
                    state=TaskInstanceState.DEFERRED,
                    try_number=1,
                    start_date=now,
                    trigger_id=trigger.id,
                    next_method="execute_complete",
                    next_kwargs=serialize(deferral.next_kwargs),
                    trigger_timeout=now + timedelta(days=1),
                )
            )


if __name__ == "__main__":
    request = json.load(sys.stdin)
    _write_deferrals(
        request["dag_id"], request["run_id"], [Deferral(**fields) for fields in request["deferrals"]]
    )
