# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Callbacks of ended jobs: each vendor's retry schedule, loopback addresses only, and faults by option."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_vidgen.simulator.control_access import is_loopback
from airflow_provider_vidgen.simulator.jobs import Job
from airflow_provider_vidgen.simulator.responses import Json
from airflow_provider_vidgen.simulator.state import SimulatorState
from airflow_provider_vidgen.simulator.vendors import VENDORS
from airflow_provider_vidgen.simulator.vendors.base import CallbackSchedule, SimulatedVendor

_VENDORS_BY_NAME: Final = {vendor.name: vendor for vendor in VENDORS}
_NOT_LOOPBACK: Final = "not a loopback address"


@dataclass(frozen=True)
class CallbackAttempt:
    """An attempt to deliver a callback.

    :param at: virtual time.
    :param outcome: HTTP status of the response, or the name of the error.
    """

    task_id: str
    url: str
    at: float
    outcome: str


class CallbackSender:
    """Sends the callbacks of ended jobs.

    :param state: the state of the simulator.
    """

    def __init__(self, state: SimulatorState) -> None:
        self.attempts: list[CallbackAttempt] = []
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(self, job: Job) -> None:
        """Send a callback when the job ends.

        :param job: the job; its request has the URL.
        """
        task = asyncio.get_running_loop().create_task(self._send(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reset(self) -> None:
        """Cancel all callbacks and delete the log of attempts."""
        self.attempts.clear()
        for task in self._tasks:
            task.cancel()

    async def _send(self, job: Job) -> None:
        state, vendor = self._state, _VENDORS_BY_NAME[job.vendor]
        schedule, url = vendor.callback_schedule, job.request.callback_url
        assert schedule is not None
        assert url is not None
        mode = state.options.callbacks
        if mode == "forged":
            # It reports an end that has not been reached, so it is sent before the job ends.
            await self._attempt(job, schedule, url, _forged_body(vendor, job))
        await state.clock.wait_until(lambda: job.finishes_at)
        state.close_ended_jobs()
        if mode == "lost":
            return
        if mode == "late":
            await state.clock.sleep(state.options.callback_delay)
        body = self._body(vendor, job, mode)
        for pause in _pauses(schedule):
            await state.clock.sleep(pause)
            if await self._attempt(job, schedule, url, body):
                break
        if mode == "duplicate":
            await self._attempt(job, schedule, url, body)

    def _body(self, vendor: SimulatedVendor, job: Job, mode: str) -> bytes:
        body = vendor.callback_body(job, self._state.snapshot(job, is_poll=False), self._state.options)
        if mode == "malformed":
            return json.dumps(body).encode()[:-10]
        if mode == "null_result":
            body["data"]["resultJson"] = None
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")

    async def _attempt(self, job: Job, schedule: CallbackSchedule, url: str, body: bytes) -> bool:
        """Send a callback once, and return whether no retry is needed."""
        if is_loopback(urlsplit(url).hostname or ""):
            outcome = await _post(url, body, schedule.timeout)
        else:
            outcome = _NOT_LOOPBACK
        self.attempts.append(CallbackAttempt(job.task_id, url, self._state.clock.now(), outcome))
        if outcome == _NOT_LOOPBACK:
            return True
        status = int(outcome) if outcome.isdigit() else 0
        return status == 200 if schedule.requires_200 else 200 <= status < 300


async def _post(url: str, body: bytes, seconds: float) -> str:
    timeout = aiohttp.ClientTimeout(total=seconds)
    headers = {"Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__


def _pauses(schedule: CallbackSchedule) -> Iterator[float]:
    """Yield the virtual seconds before each attempt."""
    yield 0
    yield from schedule.retries
    if schedule.then_every is not None:
        elapsed = sum(schedule.retries)
        while (elapsed := elapsed + schedule.then_every) <= schedule.until:
            yield schedule.then_every


def _forged_body(vendor: SimulatedVendor, job: Job) -> bytes:
    data: Json = {
        "taskId": job.task_id,
        "state": "success" if vendor.name == "apixo" else "completed",
        "resultJson": json.dumps({"resultUrls": ["https://attacker.example/video.mp4"]}),
    }
    return json.dumps({"code": 200, "data": data}).encode()
