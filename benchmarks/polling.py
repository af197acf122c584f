# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What polling many jobs costs the event loop of a triggerer: ``make bench-polling``.

Each contender runs in a fresh process, in turn, against the same status server:

* vidgen: a ``VideoTaskTrigger`` for each job;
* http_sensor: Airflow's ``HttpSensorTrigger`` for each job, which does not parse the response;
* aiohttp: bare aiohttp with a coroutine for each job on one session, as the lower bound;
* idle: a coroutine for each job that sleeps, for the memory.

Jobs start evenly over one poll interval, and the interval grows with their number, so that the request rate
is always the same. All contenders import what a triggerer has imported, because Python's garbage collector
traverses it.
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

from benchmarks.process_usage import resident_memory
from benchmarks.status_server import FINISHED_JOB, raise_open_file_limit, running_status_server

_ROOT = Path(__file__).parents[1]
_KEY = "sk-0123456789abcdef"
_AUTHORIZATION = {"Authorization": f"Bearer {_KEY}"}
_ROUTE = "/api/v1/video/generations"
_NAMES = ("aiohttp", "vidgen", "http_sensor", "idle")
_IMPORTS = ("airflow_provider_vidgen.triggers.video_task", "airflow.providers.http.triggers.http")
_LAG_INTERVAL = 0.01
#: The steady state starts when every job was polled once: after this number of intervals, as the provider's
#: intervals vary by a tenth, and some seconds for late requests.
_WARM_UP_INTERVALS = 2.2
_WARM_UP_SECONDS = 2.0

#: Polls a job at an interval until it is finished; returns whether it was.
Poll = Callable[[str, float], Coroutine[Any, Any, bool]]
Figures = dict[str, float]


def main() -> None:
    """Compare the contenders, or run one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1_000, 10_000], help="(%(default)s)")
    parser.add_argument("--rate", type=float, default=625, help="checks a second of all jobs (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="length of the steady state (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--contenders", nargs="+", choices=_NAMES, default=_NAMES)
    parser.add_argument("--run-contender", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run_contender:
        raise_open_file_limit()
        # Airflow logs to standard output; http_sensor logs a line for each check.
        output = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        (jobs,) = args.jobs
        name, url = args.run_contender
        figures = asyncio.run(run_contender(name, url, jobs, jobs / args.rate, args.seconds))
        os.write(output, json.dumps(figures).encode())
        return
    for jobs in args.jobs:
        runs: dict[str, list[Figures]] = {name: [] for name in args.contenders}
        for number in range(args.rounds):
            for name in args.contenders:
                runs[name].append(measure(name, jobs, args.rate, args.seconds))
                print(f"{jobs} jobs, round {number + 1}, {name}: {runs[name][-1]}", file=sys.stderr)
        print_table(runs, jobs, jobs / args.rate)


# --- In the process of a contender ------------------------------------------------------------------------


@asynccontextmanager
async def aiohttp_poll(url: str) -> AsyncIterator[Poll]:
    """Bare aiohttp."""
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=100), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def poll(job: str, interval: float) -> bool:
            while True:
                await asyncio.sleep(interval)
                async with session.get(
                    url + _ROUTE, params={"task_id": job}, headers=_AUTHORIZATION
                ) as response:
                    body = json.loads(await response.read())
                if body["data"]["state"] == "completed":
                    return True

        yield poll


@asynccontextmanager
async def vidgen_poll(url: str) -> AsyncIterator[Poll]:
    """This provider's trigger, through its public interface."""
    from airflow_provider_vidgen.clock import utcnow
    from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger

    extra = {"vendor": "apimodels", "allow_private_urls": True, "requests_per_minute": 1_000_000}
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(
        {"conn_type": "vidgen", "host": url, "password": _KEY, "extra": extra}
    )

    async def poll(job: str, interval: float) -> bool:
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

    yield poll


@asynccontextmanager
async def http_sensor_poll(url: str) -> AsyncIterator[Poll]:
    """The trigger of Airflow's http provider."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "http", "host": url})

    async def poll(job: str, interval: float) -> bool:
        trigger = HttpSensorTrigger(
            endpoint="/sensor",
            http_conn_id="bench",
            data={"task_id": job},
            headers=_AUTHORIZATION,
            poke_interval=interval,
        )
        return [event.payload async for event in trigger.run()] == [True]

    yield poll


@asynccontextmanager
async def idle_poll(url: str) -> AsyncIterator[Poll]:
    """No requests."""

    async def poll(job: str, interval: float) -> bool:
        await asyncio.sleep(0 if job == FINISHED_JOB else 3600)
        return True

    yield poll


CONTENDERS = {
    "aiohttp": aiohttp_poll,
    "vidgen": vidgen_poll,
    "http_sensor": http_sensor_poll,
    "idle": idle_poll,
}


async def run_contender(name: str, url: str, jobs: int, interval: float, seconds: float) -> Figures:
    """Poll the jobs in this process's event loop, and return the figures of the steady state."""

    async def start_late(number: int) -> bool:
        await asyncio.sleep(interval * number / jobs)
        return await poll(f"job-{number}", interval)

    for module in _IMPORTS:
        importlib.import_module(module)
    async with CONTENDERS[name](url) as poll:
        await poll(FINISHED_JOB, 0.01)  # performs all lazy imports
        gc.collect()
        memory = resident_memory()
        tasks = [asyncio.create_task(start_late(number)) for number in range(jobs)]
        await asyncio.sleep(_WARM_UP_INTERVALS * interval + _WARM_UP_SECONDS)
        since, cpu = time.monotonic(), time.process_time()
        lags = sorted(await measure_lags(seconds))
        until, cpu = time.monotonic(), time.process_time() - cpu
        gc.collect()
        memory = resident_memory() - memory
        ended_early = sum(task.done() for task in tasks)
        await finish_all_jobs(url)
        # Idle coroutines do not end; the others get the time of two polls.
        done, pending = await asyncio.wait(tasks, timeout=0 if name == "idle" else 2 * interval + 20)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return {
        "since": since,
        "until": until,
        "cpu": cpu,
        "lag_p50": lags[len(lags) // 2],
        "lag_p99": lags[len(lags) * 99 // 100],
        "lag_max": lags[-1],
        "memory_per_job": memory * 1024**2 / jobs,
        "ended_early": ended_early,
        "ended": sum(task.exception() is None and task.result() for task in done),
    }


async def measure_lags(seconds: float) -> list[float]:
    """Return by how many seconds short sleeps end late."""
    lags = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await asyncio.sleep(_LAG_INTERVAL)
        lags.append(time.perf_counter() - start - _LAG_INTERVAL)
    return lags


async def finish_all_jobs(url: str) -> None:
    """Have the server report all jobs as finished."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /finish HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"{}")
    writer.close()


# --- In the main process ----------------------------------------------------------------------------------


def measure(name: str, jobs: int, rate: float, seconds: float) -> Figures:
    """Run one contender against a new server, and return its figures."""
    with running_status_server() as url, tempfile.TemporaryDirectory(prefix="vidgen-bench-") as home:
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        command = [sys.executable, "-m", "benchmarks.polling", "--run-contender", name, url]
        process = subprocess.run(
            [*command, "--jobs", str(jobs), "--rate", str(rate), "--seconds", str(seconds)],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**environment, "PYTHONPATH": str(_ROOT), "AIRFLOW_HOME": home},
        )
        figures: Figures = json.loads(process.stdout)
        report = f"{url}/report?since={figures['since']}&until={figures['until']}"
        with build_opener(ProxyHandler({})).open(report) as response:
            figures |= json.load(response)
    figures["cpu_per_check"] = figures["cpu"] / figures["checks"] if figures["checks"] else 0.0
    figures["longest_gap_in_intervals"] = figures["longest_gap"] * rate / jobs
    return figures


def print_table(runs: dict[str, list[Figures]], jobs: int, interval: float) -> None:
    """Print the medians of all rounds, and the ratios between vidgen and the other contenders."""

    def median(name: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs[name])

    rounds = len(next(iter(runs.values())))
    print(f"\n{jobs:,} jobs, polled every {interval:g} s, rounds: {rounds}\n")
    print(
        "| | CPU per check | checks | lag p50 | p99 | max | memory per job | connections | at once "
        "| longest wait | ended |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in runs:
        print(
            f"| {name} | {median(name, 'cpu_per_check') * 1e6:.0f} µs | {median(name, 'checks'):.0f} "
            f"| {median(name, 'lag_p50') * 1e3:.1f} ms | {median(name, 'lag_p99') * 1e3:.1f} ms "
            f"| {median(name, 'lag_max') * 1e3:.0f} ms | {median(name, 'memory_per_job') / 1024:.1f} KiB "
            f"| {median(name, 'opened_connections'):.0f} | {median(name, 'max_open_connections'):.0f} "
            f"| {median(name, 'longest_gap_in_intervals'):.2f} intervals | {median(name, 'ended'):.0f} |"
        )
    for other in ("aiohttp", "http_sensor"):
        if {other, "vidgen"} <= runs.keys():
            ratios = [
                vidgen_run["cpu_per_check"] / other_run["cpu_per_check"]
                for vidgen_run, other_run in zip(runs["vidgen"], runs[other], strict=True)
            ]
            by_round = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"vidgen / {other}, CPU per check: {statistics.median(ratios):.2f} (rounds: {by_round})")
    if {"idle", "vidgen"} <= runs.keys():
        difference = (median("vidgen", "memory_per_job") - median("idle", "memory_per_job")) / 1024
        print(f"memory per job above that of an idle coroutine: {difference:.1f} KiB")


if __name__ == "__main__":
    main()
