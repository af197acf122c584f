# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor that takes three jobs at a time and is given six; and a pool that lets no more than two in."""

from __future__ import annotations

import time

from airflow_runs import PATIENCE, Runs, Task, jobs_for, orders

from airflow_provider_vidgen.simulator import SimulatorClient

VIDEOS = 6
CAPPED = 4


def _land(runs: Runs, simulator: SimulatorClient, name: str) -> list[Task]:
    tasks = [runs.task("system_room", name, index) for index in range(VIDEOS)]
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
    waited = [task for task in tasks if "waiting for room without a worker" in task.log()]
    assert waited
    for task in waited:
        assert "HTTP 429" in task.log()


def test_where_the_room_is_known_nobody_is_refused(runs: Runs, simulator: SimulatorClient) -> None:
    tasks = _land(runs, simulator, "known")
    assert len(orders(simulator, "crowded known wombat")) == VIDEOS
    for task in tasks:
        lined_up = "waiting in line without a worker" in task.log()
        assert lined_up is (task.map_index >= 3), task.log()


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
        simulator.end(waiting.record()["task_id"])
        waiting.ends("success")


def _two_or_last(tasks: list[Task], left: int) -> bool:
    return sum(task.now()["state"] == "deferred" for task in tasks) == min(2, left)
