# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A deferred task holds neither a worker nor a pool slot, and resumes only after its worker has gone."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_vidgen.simulator import SimulatorClient
from tests.support.task_runs import TIMEOUT, Runs, Task, bill

VIDEOS = 9
PARALLELISM = 8
FAST_VIDEOS = 8
#: Seconds for which every task stays deferred: an earlier event could reach Airflow before the deferral.
SHORTEST_DEFERRAL = 10


def test_a_deferred_task_holds_no_pool_slot_and_no_worker(runs: Runs, simulator: SimulatorClient) -> None:
    airflow = runs.airflow
    tasks = [runs.task("system_slots", "generate", index) for index in range(VIDEOS)]
    assert len(tasks) > PARALLELISM
    for task in tasks:
        task.wait("deferred")
    pool = airflow.api("GET", "/pools/vidgen_one")
    assert pool["slots"] == 1
    assert (pool["deferred_slots"], pool["running_slots"], pool["queued_slots"]) == (VIDEOS, 0, 0)
    assert (pool["occupied_slots"], pool["open_slots"]) == (0, 1)

    run_id = airflow.start_run("system_bystander")
    bystander = Task(airflow, "system_bystander", run_id, "pass_by")
    bystander.wait_until_finished("success")
    assert {task.now()["state"] for task in tasks} == {"deferred"}
    assert bystander.xcom() == "passed"

    for task in tasks:
        simulator.end_job(task.record()["task_id"])
    for task in tasks:
        task.wait_until_finished("success")
        assert bill(simulator, task.xcom()["task_id"]).state == "settled"


def test_a_video_that_is_finished_at_the_first_poll_does_not_resume_its_task_too_early(runs: Runs) -> None:
    tasks = [runs.task("system_early", "generate", index) for index in range(FAST_VIDEOS)]
    for task in tasks:
        finished = task.wait_until_finished("success")
        assert finished["try_number"] == 1, task.log()
        assert "Pausing task as DEFERRED" in task.log()
        assert task.xcom()["state"] == "succeeded"
        started, ended = (datetime.fromisoformat(finished[key]) for key in ("start_date", "end_date"))
        assert SHORTEST_DEFERRAL <= (ended - started).total_seconds() < TIMEOUT
