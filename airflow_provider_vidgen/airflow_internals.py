# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Where this package leans on Airflow beyond its public interface, and the versions it was seen to hold on.

Seen on: apache-airflow 3.3.2 with task SDK 1.3.2.
"""

from __future__ import annotations

from typing import Any

#: A task that wakes sooner after it was deferred is marked failed by the scheduler although it is healthy:
#: the executor's report of its first leg is read after its second one was queued. With 2 s and more it was
#: not seen on an idle host, with 5 s it was under load.
SECONDS_BEFORE_WAKING = 10.0


def max_tries(context: Any) -> int:
    """
    Return Airflow's limit of tries for this task instance.

    A person's clear of a finished task raises it; an automatic retry, a lost worker and the clear of a
    running task leave it as it was. This is how the two are told apart.
    """
    return int(context["ti"].max_tries)


async def push_xcom_from_trigger(task_instance: Any, key: str, value: Any) -> None:
    """
    Set an XCom of a deferred task from its trigger.

    The call goes through the triggerer's supervisor and blocks, so it is made in a thread.
    """
    import asyncio

    from airflow.sdk.execution_time.xcom import XCom

    await asyncio.to_thread(
        XCom.set,
        key=key,
        value=value,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )
