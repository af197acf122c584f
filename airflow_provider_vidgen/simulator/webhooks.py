# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Callbacks: delivered on each vendor's schedule, to loopback addresses only, and wrong on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_vidgen.simulator.answers import Json
from airflow_provider_vidgen.simulator.guard import is_loopback
from airflow_provider_vidgen.simulator.jobs import Job
from airflow_provider_vidgen.simulator.vendors import VENDORS
from airflow_provider_vidgen.simulator.vendors.base import Schedule, Vendor
from airflow_provider_vidgen.simulator.world import World

_BY_NAME: Final = {vendor.name: vendor for vendor in VENDORS}


class Webhooks:
    """Watches the jobs that want a callback.

    :param world: the state of the simulator.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, job: Job) -> None:
        """Deliver a callback once the job has ended.

        :param job: the job, whose order names the address.
        """
        task = asyncio.get_running_loop().create_task(self._deliver(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Give up all deliveries."""
        for task in self._tasks:
            task.cancel()

    async def _deliver(self, job: Job) -> None:
        world, vendor = self._world, _BY_NAME[job.vendor]
        schedule, url = vendor.schedule, job.order.callback_url
        assert schedule is not None
        assert url is not None
        mode = world.options.webhooks
        if mode == "forged":
            # It claims an end that has not come, and so it is sent before the job has ended.
            await self._post(job, schedule, url, _forged(vendor, job))
        await world.clock.wait_until(lambda: job.finishes)
        world.tick()
        if mode == "lost":
            return
        if mode == "late":
            await world.clock.sleep(world.options.late_seconds)
        body = self._body(vendor, job, mode)
        for pause in _pauses(schedule):
            await world.clock.sleep(pause)
            if await self._post(job, schedule, url, body):
                break
        if mode == "duplicate":
            await self._post(job, schedule, url, body)

    def _body(self, vendor: Vendor, job: Job, mode: str) -> bytes:
        told = vendor.callback(job, self._world.look(job, counted=False), self._world.options)
        if mode == "malformed":
            return json.dumps(told).encode()[:-10]
        if mode == "null_result":
            told["data"]["resultJson"] = None
        return json.dumps(told, ensure_ascii=False).encode(errors="replace")

    async def _post(self, job: Job, schedule: Schedule, url: str, body: bytes) -> bool:
        outcome = (
            await _attempt(url, body, schedule.timeout)
            if is_loopback(urlsplit(url).hostname or "")
            else "not a loopback address"
        )
        self._world.deliveries.append(
            {"task_id": job.task_id, "url": url, "at": self._world.clock.now(), "outcome": outcome}
        )
        if outcome == "not a loopback address":
            return True
        status = int(outcome) if outcome.isdigit() else 0
        return status == 200 if schedule.only_200 else 200 <= status < 300


async def _attempt(url: str, body: bytes, seconds: float) -> str:
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


def _pauses(schedule: Schedule) -> Iterator[float]:
    """Give the virtual seconds before each attempt."""
    yield 0
    yield from schedule.retries
    if schedule.then_every is not None:
        gone = sum(schedule.retries)
        while (gone := gone + schedule.then_every) <= schedule.until:
            yield schedule.then_every


def _forged(vendor: Vendor, job: Job) -> bytes:
    data: Json = {
        "taskId": job.task_id,
        "state": "success" if vendor.name == "apixo" else "completed",
        "resultJson": json.dumps({"resultUrls": ["https://attacker.example/video.mp4"]}),
    }
    return json.dumps({"code": 200, "data": data}).encode()
