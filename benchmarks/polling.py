# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What watching jobs costs the one event loop of a triggerer: ``make bench-polling``.

Three contenders and an idle one, each in a fresh process, in turn, against the same server of status replies:

* ours: a ``VideoTaskTrigger`` for each job;
* peer: Airflow's ``HttpSensorTrigger`` for each job, which makes no sense of the reply;
* floor: bare aiohttp, a coroutine for each job on one session;
* idle: a coroutine for each job that sleeps, for the memory.

Jobs arrive evenly over one interval, and the interval grows with their number, so that the load is the same.
All have loaded what a triggerer has: Python's garbage collector walks through it for each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from benchmarks.landing import resident
from benchmarks.status_server import READY, allow_many_sockets, running_server

_ROOT = Path(__file__).parents[1]
_KEY = "sk-0123456789abcdef"
_AUTHORIZATION = {"Authorization": f"Bearer {_KEY}"}
_ROUTE = "/api/v1/video/generations"
_NAMES = ("floor", "ours", "peer", "idle")
_LOADED = ("airflow_provider_vidgen.triggers.video_task", "airflow.providers.http.triggers.http")
_LAG_STEP = 0.01
#: The steady state begins when every job has been asked about once: after so many intervals, as ours are
#: spread by a tenth, and some seconds for what is late.
_FIRST_CHECKS = 2.2
_SETTLE = 2.0

Watch = Callable[[str, float], Coroutine[Any, Any, bool]]
Run = dict[str, float]


def main() -> None:
    """Compare, or be one contender."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rate", type=float, default=625, help="checks a second of all jobs together")
    parser.add_argument("--seconds", type=float, default=20, help="length of the steady state")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES)
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        allow_many_sockets()
        # Airflow logs to the standard output; the peer a line for each check.
        result = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        (jobs,) = args.jobs
        name, url = args.contender
        told = asyncio.run(contend(name, url, jobs, jobs / args.rate, args.seconds))
        os.write(result, json.dumps(told).encode())
        return
    for jobs in args.jobs:
        found: dict[str, list[Run]] = {name: [] for name in args.only}
        for number in range(args.rounds):
            for name in args.only:
                found[name].append(measure(name, jobs, args.rate, args.seconds))
                print(f"{jobs} jobs, round {number + 1}, {name}: {found[name][-1]}", file=sys.stderr)
        show(found, jobs, jobs / args.rate)


# --- one contender, in its process ------------------------------------------------------------------------


@asynccontextmanager
async def floor(url: str) -> AsyncIterator[Watch]:
    """Bare aiohttp."""
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=100), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def watch(job: str, interval: float) -> bool:
            while True:
                await asyncio.sleep(interval)
                async with session.get(
                    url + _ROUTE, params={"task_id": job}, headers=_AUTHORIZATION
                ) as response:
                    body = json.loads(await response.read())
                if body["data"]["state"] == "completed":
                    return True

        yield watch


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Watch]:
    """The package's trigger, through its public way only."""
    from airflow_provider_vidgen.clock import utcnow
    from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger

    extra = {"vendor": "apimodels", "allow_private_urls": True, "requests_per_minute": 1_000_000}
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(
        {"conn_type": "vidgen", "host": url, "password": _KEY, "extra": extra}
    )

    async def watch(job: str, interval: float) -> bool:
        now = utcnow()
        trigger = VideoTaskTrigger(
            vidgen_conn_id="bench",
            job={"vendor": "apimodels", "base_url": url, "model": "grok-video-3", "task_id": job},
            submitted_at=now.isoformat(),
            deadline=(now + timedelta(hours=1)).isoformat(),
            not_before=now.isoformat(),
            cancel_on_kill=True,
            poll_interval=interval,
        )
        events = [event async for event in trigger.run()]
        return [event.payload["reason"] for event in events] == ["ended"]

    yield watch


@asynccontextmanager
async def peer(url: str) -> AsyncIterator[Watch]:
    """Airflow's own trigger."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "http", "host": url})

    async def watch(job: str, interval: float) -> bool:
        trigger = HttpSensorTrigger(
            endpoint="/sensor",
            http_conn_id="bench",
            data={"task_id": job},
            headers=_AUTHORIZATION,
            poke_interval=interval,
        )
        return [event.payload async for event in trigger.run()] == [True]

    yield watch


@asynccontextmanager
async def idle(url: str) -> AsyncIterator[Watch]:
    """Nothing at all."""

    async def watch(job: str, interval: float) -> bool:
        await asyncio.sleep(0 if job == READY else 3600)
        return True

    yield watch


CONTENDERS = {"floor": floor, "ours": ours, "peer": peer, "idle": idle}


async def contend(name: str, url: str, jobs: int, interval: float, seconds: float) -> Run:
    """Watch jobs in this process's one event loop, and return what the steady state took."""

    async def arrive(number: int) -> bool:
        await asyncio.sleep(interval * number / jobs)
        return await watch(f"job-{number}", interval)

    for module in _LOADED:
        importlib.import_module(module)
    async with CONTENDERS[name](url) as watch:
        await watch(READY, 0.01)  # whatever is imported late is there now
        gc.collect()
        memory = resident()
        tasks = [asyncio.create_task(arrive(number)) for number in range(jobs)]
        await asyncio.sleep(_FIRST_CHECKS * interval + _SETTLE)
        since, cpu = time.monotonic(), time.process_time()
        late = sorted(await lateness(seconds))
        until, cpu = time.monotonic(), time.process_time() - cpu
        gc.collect()
        memory = resident() - memory
        died = sum(task.done() for task in tasks)
        await finish(url)
        # The idle ones do not end; the others have until every job was asked about twice.
        done, waiting = await asyncio.wait(tasks, timeout=0 if name == "idle" else 2 * interval + 20)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return {
        "since": since,
        "until": until,
        "cpu": cpu,
        "lag_p50": late[len(late) // 2],
        "lag_p99": late[len(late) * 99 // 100],
        "lag_max": late[-1],
        "memory": memory * 1024**2 / jobs,
        "died": died,
        "ended": sum(task.exception() is None and task.result() for task in done),
    }


async def lateness(seconds: float) -> list[float]:
    """Return by how much each of many short sleeps was too long."""
    samples = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await asyncio.sleep(_LAG_STEP)
        samples.append(time.perf_counter() - start - _LAG_STEP)
    return samples


async def finish(url: str) -> None:
    """Have the server call all jobs finished."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /finish HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"{}")
    writer.close()


# --- all of them ------------------------------------------------------------------------------------------


def measure(name: str, jobs: int, rate: float, seconds: float) -> Run:
    """Run one contender against a fresh server."""
    with running_server() as url, tempfile.TemporaryDirectory(prefix="vidgen-bench-") as home:
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        program = [sys.executable, "-m", "benchmarks.polling", "--contender", name, url]
        told = subprocess.run(
            [*program, "--jobs", str(jobs), "--rate", str(rate), "--seconds", str(seconds)],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**environment, "PYTHONPATH": str(_ROOT), "AIRFLOW_HOME": home},
        )
        run: Run = json.loads(told.stdout)
        ask = f"{url}/report?since={run['since']}&until={run['until']}"
        with build_opener(ProxyHandler({})).open(ask) as reply:
            run |= json.load(reply)
    run["cpu_per_check"] = run["cpu"] / run["checks"] if run["checks"] else 0.0
    run["lateness"] = run["longest"] * rate / jobs
    return run


def show(found: dict[str, list[Run]], jobs: int, interval: float) -> None:
    """Print the medians of all rounds, and what ours is to the others."""

    def median(name: str, field: str) -> float:
        return statistics.median(run[field] for run in found[name])

    rounds = len(next(iter(found.values())))
    print(f"\n{jobs:,} jobs, asked about every {interval:g} s, rounds: {rounds}\n")
    print(
        "| | CPU per check | checks | lag p50 | p99 | max | memory per job | connections | at once "
        "| longest wait | ended |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in found:
        print(
            f"| {name} | {median(name, 'cpu_per_check') * 1e6:.0f} µs | {median(name, 'checks'):.0f} "
            f"| {median(name, 'lag_p50') * 1e3:.1f} ms | {median(name, 'lag_p99') * 1e3:.1f} ms "
            f"| {median(name, 'lag_max') * 1e3:.0f} ms | {median(name, 'memory') / 1024:.1f} KiB "
            f"| {median(name, 'opened'):.0f} | {median(name, 'most_open'):.0f} "
            f"| {median(name, 'lateness'):.2f} intervals | {median(name, 'ended'):.0f} |"
        )
    for other in ("floor", "peer"):
        if {other, "ours"} <= found.keys():
            ratios = [
                mine["cpu_per_check"] / its["cpu_per_check"]
                for mine, its in zip(found["ours"], found[other], strict=True)
            ]
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"ours / {other}, CPU per check: {statistics.median(ratios):.2f} (each round: {each})")
    if {"idle", "ours"} <= found.keys():
        more = (median("ours", "memory") - median("idle", "memory")) / 1024
        print(f"memory per job over an idle coroutine's: {more:.1f} KiB")


if __name__ == "__main__":
    main()
