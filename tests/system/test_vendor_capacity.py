# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Accounts that accept three concurrent jobs and are given six; tasks that wait for capacity; a pool."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_vidgen.simulator import SimulatorClient
from tests.support.task_runs import Runs, Task, billed_jobs, submissions

VIDEOS = 6
WAITED = "rescheduled, the next check is in"
#: Airflow's own message.
RESCHEDULED = "marking task as UP_FOR_RESCHEDULE"


def assert_all_succeed_in_one_try(runs: Runs, simulator: SimulatorClient, name: str) -> list[Task]:
    tasks = [runs.task("system_capacity", name, index) for index in range(VIDEOS)]
    for task in tasks:
        finished = task.wait_until_finished("success")
        assert finished["try_number"] == 1, task.log()
        assert task.xcom()["state"] == "succeeded"
    billed = billed_jobs(simulator, f"crowded {name} wombat")
    assert len(billed) == VIDEOS
    assert {entry.state for entry in billed} == {"settled"}
    return tasks


def test_a_vendor_at_capacity_costs_no_try_and_no_second_job(runs: Runs, simulator: SimulatorClient) -> None:
    tasks = assert_all_succeed_in_one_try(runs, simulator, "unknown")
    assert len(submissions(simulator, "crowded unknown wombat")) > VIDEOS
    waited = [task for task in tasks if WAITED in task.log()]
    assert waited
    for task in waited:
        log = task.log()
        assert "HTTP 429" in log
        assert RESCHEDULED in log


def test_with_a_known_limit_no_submission_is_refused(runs: Runs, simulator: SimulatorClient) -> None:
    tasks = assert_all_succeed_in_one_try(runs, simulator, "known")
    assert len(submissions(simulator, "crowded known wombat")) == VIDEOS
    for task in tasks:
        waited = f"the account runs 3 jobs at a time; {WAITED}" in task.log()
        assert waited is (task.map_index >= 3), task.log()


def test_a_task_that_waits_for_capacity_holds_neither_trigger_nor_worker_nor_pool_slot(
    runs: Runs, capacity_scenarios: Callable[[str], None]
) -> None:
    capacity_scenarios("queue")


def test_airflow_dags_test_waits_for_capacity_too(
    runs: Runs, capacity_scenarios: Callable[[str], None]
) -> None:
    capacity_scenarios("dags_test")


def test_a_pool_that_counts_deferred_tasks_caps_the_open_jobs(
    runs: Runs, capacity_scenarios: Callable[[str], None]
) -> None:
    capacity_scenarios("pool")
