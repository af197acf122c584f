# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Defer tasks without running them: ``python -m dev.crowd.deferring`` in the environment of an Airflow.

A thousand deferred tasks need a thousand runs of a worker, which take longer than what is looked at here.
This writes to the database what the API server writes when a running task defers itself. It reads from
standard input: the run, and for each task instance its trigger and what its method is called with.
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
_POLL = 0.5


@dataclass(frozen=True)
class Deferral:
    """
    One task instance to be deferred.

    :param classpath: of the trigger.
    :param trigger: the trigger's arguments.
    :param resume: the arguments with which the task goes on.
    """

    task_id: str
    map_index: int
    classpath: str
    trigger: dict[str, Any]
    resume: dict[str, Any]


def defer(env: Mapping[str, str], dag_id: str, run_id: str, deferrals: Sequence[Deferral]) -> None:
    """
    Wait until the scheduler has seen all task instances of the run, and defer them.

    :param env: the environment of the Airflow.
    """
    told = {"dag_id": dag_id, "run_id": run_id, "deferrals": [asdict(one) for one in deferrals]}
    subprocess.run(
        [sys.executable, "-m", "dev.crowd.deferring"],
        env=dict(env),
        input=json.dumps(told).encode(),
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
            found = {(task_id, index): id_ for task_id, index, id_ in session.execute(query)}
        if len(found) >= count:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(found)} of {count} task instances of {run_id} are scheduled")
        time.sleep(_POLL)


def _write(dag_id: str, run_id: str, deferrals: Sequence[Deferral]) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.sdk.serde import serialize
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import update

    ids = _wait_for_scheduler(dag_id, run_id, len(deferrals))
    now = datetime.now(UTC)
    with create_session() as session:
        for one in deferrals:
            row = Trigger(classpath=one.classpath, kwargs={})
            row.encrypted_kwargs = json.dumps(serialize(one.trigger))
            session.add(row)
            session.flush()
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.id == ids[one.task_id, one.map_index])
                .values(
                    state=TaskInstanceState.DEFERRED,
                    try_number=1,
                    start_date=now,
                    trigger_id=row.id,
                    next_method="resume",
                    next_kwargs=serialize(one.resume),
                    trigger_timeout=now + timedelta(days=1),
                )
            )


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    _write(asked["dag_id"], asked["run_id"], [Deferral(**one) for one in asked["deferrals"]])
