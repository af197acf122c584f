# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Push the XCom ``progress`` from triggers, without delaying other triggers.

The XComs of all triggers pass through the one process that supervises the triggerer, in the same queue as the
events that resume tasks. Without a limit, a thousand triggers that start together would all push at their
first check.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.polling import Progress
from airflow_provider_vidgen.video_status import PROGRESS_KEY
from airflow_provider_vidgen.xcom import build_progress

#: Seconds for the supervisor's reply; without a limit, a missing reply would block the other triggers.
_PUSH_TIMEOUT = 5.0
#: Seconds in all, for the lock and the reply.
_TIMEOUT = 30.0
#: The same for a job that has ended: resuming its task is more important than the last progress.
_TIMEOUT_WHEN_ENDED = 2.0
#: One per event loop.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def push_progress(task_instance: Any, progress: Progress, *, has_ended: bool) -> None:
    """
    Set the task's XCom ``progress``; the triggers of a loop push one at a time.

    :param has_ended: the job has ended, so the push must not take long.
    :raises Exception: it could not be set, or not in time.
    """
    lock = _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    timeout = _TIMEOUT_WHEN_ENDED if has_ended else _TIMEOUT
    async with asyncio.timeout(timeout), lock, asyncio.timeout(_PUSH_TIMEOUT):
        await airflow_internals.push_xcom_from_trigger(task_instance, PROGRESS_KEY, build_progress(progress))
