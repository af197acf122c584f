# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor that takes three jobs at a time and is given six; who waits holds nothing; a pool."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from airflow_runs import PATIENCE, Runs, Task, jobs_for, orders

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow

VIDEOS = 6
CAPPED = 4
QUEUED = 3
REHEARSED = 2
WAITED = "waiting without a worker"
#: Airflow's own words.
RESCHEDULED = "marking task as UP_FOR_RESCHEDULE"


@pytest.fixture(scope="module", autouse=True)
def rehearsal(airflow: LocalAirflow) -> Iterator[subprocess.Popen[str]]:
    """``airflow dags test``, beside the other tests: it waits, too."""
    airflow.wait_for_dag("system_capacity_test", timeout=60)
    command = [sys.executable, "-m", "airflow", "dags", "test", "system_capacity_test"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=airflow.env, **output) as process:  # type: ignore[call-overload]
        yield process
        process.kill()


def _land(runs: Runs, simulator: SimulatorClient, name: str) -> list[Task]:
    tasks = [runs.task("system_capacity", name, index) for index in range(VIDEOS)]
    for task in tasks:
        ended = task.ends("success")
        assert ended["try_number"] == 1, task.log()
        assert task.xcom()["state"] == "succeeded"
    billed = jobs_for(simulator, f"crowded {name} wombat")
    assert len(billed) == VIDEOS
    assert {entry.state for entry in billed} == {"settled"}
    return tasks


def test_a_full_vendor_costs_no_try_and_no_second_job(runs: Runs, simulator: SimulatorClient) -> None:
    tasks = _land(runs, simulator, "unknown")
    assert len(orders(simulator, "crowded unknown wombat")) > VIDEOS
    waited = [task for task in tasks if WAITED in task.log()]
    assert waited
    for task in waited:
        log = task.log()
        assert "HTTP 429" in log
        assert RESCHEDULED in log


def test_where_the_capacity_is_known_nobody_is_refused(runs: Runs, simulator: SimulatorClient) -> None:
    tasks = _land(runs, simulator, "known")
    assert len(orders(simulator, "crowded known wombat")) == VIDEOS
    for task in tasks:
        waited = f"the account takes 3 jobs at a time; {WAITED}" in task.log()
        assert waited is (task.map_index >= 3), task.log()


def test_who_waits_holds_neither_trigger_nor_worker_nor_pool_slot(
    runs: Runs, simulator: SimulatorClient
) -> None:
    first, *waiting = [runs.task("system_queue", "generate", index) for index in range(QUEUED)]
    first.wait("deferred")
    for task in waiting:
        task.wait("up_for_reschedule")
    occupied = [runs.airflow.api("GET", "/pools/vidgen_queue")["occupied_slots"] for _ in range(3)]
    # One who is just having a look holds a slot for that moment.
    assert min(occupied) == 1
    assert all(task.now()["trigger"] is None for task in waiting)
    assert len(orders(simulator, "patient heron")) == 1
    for index, task in enumerate([first, *waiting]):
        job_id = task.wait_for_job() if index else first.record()["task_id"]
        assert len(orders(simulator, "patient heron")) == index + 1
        simulator.end_job(job_id)
        assert task.ends("success")["try_number"] == 1
    assert len(jobs_for(simulator, "patient heron")) == QUEUED


def test_airflow_dags_test_waits_too(rehearsal: subprocess.Popen[str], simulator: SimulatorClient) -> None:
    """It runs one instance after another, in any order; whose turn it is not is looked at again."""
    said, _ = rehearsal.communicate(timeout=2 * PATIENCE)
    assert rehearsal.returncode == 0, said[-4000:]
    assert len(orders(simulator, "rehearsing heron")) == REHEARSED
    assert len(jobs_for(simulator, "rehearsing heron")) == REHEARSED


def test_a_pool_that_counts_deferred_tasks_caps_the_open_jobs(runs: Runs, simulator: SimulatorClient) -> None:
    airflow = runs.airflow
    tasks = [runs.task("system_pool", "generate", index) for index in range(CAPPED)]
    words = "thrifty capybara"
    for ended, under_way in enumerate((2, 3, 4, 4)):
        deadline = time.monotonic() + PATIENCE
        while len(orders(simulator, words)) < under_way or not _two_or_last(tasks, CAPPED - ended):
            assert time.monotonic() < deadline, [task.now()["state"] for task in tasks]
            time.sleep(0.5)
        # The scheduler has had its chance: a third task would have been queued together with the second.
        assert len(orders(simulator, words)) == under_way
        pool = airflow.api("GET", "/pools/vidgen_two_jobs")
        assert pool["occupied_slots"] <= 2
        waiting = next(task for task in tasks if task.now()["state"] == "deferred")
        simulator.end_job(waiting.record()["task_id"])
        waiting.ends("success")


def _two_or_last(tasks: list[Task], left: int) -> bool:
    return sum(task.now()["state"] == "deferred" for task in tasks) == min(2, left)
