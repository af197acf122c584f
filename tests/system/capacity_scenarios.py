# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Scenarios about capacity, each driven step by step in a thread of its own from the start of the stage.

They take one to two minutes of waiting each. The tests are in ``test_vendor_capacity.py``.
"""

from __future__ import annotations

import time

from airflow_provider_vidgen.simulator import SimulatorClient
from tests.support.task_runs import (
    TIMEOUT,
    Runs,
    Task,
    billed_jobs,
    run_airflow_command,
    submissions,
)

POOL_TASKS = 4
QUEUED_TASKS = 3
DAGS_TEST_TASKS = 2
#: Seconds between two polls; the scenarios share the API server with the tests.
_POLL = 0.5


def queue(runs: Runs, simulator: SimulatorClient) -> None:
    """A task that waits for capacity holds no trigger, no worker and no pool slot, and submits in turn."""
    first, *waiting = [runs.task("system_queue", "generate", index) for index in range(QUEUED_TASKS)]
    first.wait("deferred")
    for task in waiting:
        task.wait("up_for_reschedule")
    # A waiting task holds a slot only for the moment in which it checks the capacity.
    occupied = []
    for _ in range(3):
        occupied.append(runs.airflow.api("GET", "/pools/vidgen_queue")["occupied_slots"])
        time.sleep(_POLL)
    assert min(occupied) == 1
    assert all(task.now()["trigger"] is None for task in waiting)
    assert len(submissions(simulator, "patient heron")) == 1
    for index, task in enumerate([first, *waiting]):
        job_id = task.wait_for_job() if index else first.record()["task_id"]
        assert len(submissions(simulator, "patient heron")) == index + 1
        simulator.end_job(job_id)
        assert task.wait_until_finished("success")["try_number"] == 1
    assert len(billed_jobs(simulator, "patient heron")) == QUEUED_TASKS


def dags_test(runs: Runs, simulator: SimulatorClient) -> None:
    """``airflow dags test`` runs one instance at a time, in any order, and retries one that has to wait."""
    runs.airflow.wait_for_dag("system_capacity_test", timeout=60)
    run_airflow_command(runs.airflow, "dags", "test", "system_capacity_test", timeout=2 * TIMEOUT)
    assert len(submissions(simulator, "rehearsing heron")) == DAGS_TEST_TASKS
    assert len(billed_jobs(simulator, "rehearsing heron")) == DAGS_TEST_TASKS


def pool(runs: Runs, simulator: SimulatorClient) -> None:
    """A pool of two slots that counts deferred tasks never has more than two open jobs."""
    tasks = [runs.task("system_pool", "generate", index) for index in range(POOL_TASKS)]
    prompt = "thrifty capybara"
    for ended, submitted in enumerate((2, 3, 4, 4)):
        deadline = time.monotonic() + TIMEOUT
        expected_deferred = min(2, POOL_TASKS - ended)
        while len(submissions(simulator, prompt)) < submitted or _deferred(tasks) != expected_deferred:
            assert time.monotonic() < deadline, [task.now()["state"] for task in tasks]
            time.sleep(_POLL)
        # The scheduler would have queued a third task together with the second.
        assert len(submissions(simulator, prompt)) == submitted
        assert runs.airflow.api("GET", "/pools/vidgen_two_jobs")["occupied_slots"] <= 2
        deferred = next(task for task in tasks if task.now()["state"] == "deferred")
        simulator.end_job(deferred.record()["task_id"])
        deferred.wait_until_finished("success")


def _deferred(tasks: list[Task]) -> int:
    return sum(task.now()["state"] == "deferred" for task in tasks)


SCENARIOS = {function.__name__: function for function in (queue, dags_test, pool)}
