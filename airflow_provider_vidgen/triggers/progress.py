# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Show a job's progress on its task, without holding anybody up.

XComs of all triggers go through the one process that supervises the triggerer, and so do the events that wake
tasks, in the same line. A thousand triggers that start together would all write at their first check.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.models import JobStatus

#: Seconds for an answer; one that never comes must not hold up the others.
_ANSWER = 5.0
#: Seconds in all, in line and for the answer.
_PATIENCE = 30.0
#: A task whose job has ended is woken rather than shown to be nearly there.
_LAST_PATIENCE = 2.0
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def show(task_instance: Any, status: JobStatus, *, has_ended: bool) -> None:
    """
    Set the task's XCom ``progress``; of all triggers in this loop, one at a time.

    :raises Exception: it could not be set, or not in time.
    """
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    patience = _LAST_PATIENCE if has_ended else _PATIENCE
    async with asyncio.timeout(patience), turn, asyncio.timeout(_ANSWER):
        await airflow_internals.push_xcom_from_trigger(
            task_instance, "progress", {"state": str(status.state), "progress": status.progress}
        )
