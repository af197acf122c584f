# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Waiting costs no worker, and a task that waits is not woken too early."""

from __future__ import annotations

from datetime import datetime

from airflow_runs import PATIENCE, Runs, Task, bill

from airflow_provider_vidgen.simulator import SimulatorClient

VIDEOS = 9
PARALLELISM = 8
EARLY = 8


def test_a_deferred_video_holds_no_slot(runs: Runs, simulator: SimulatorClient) -> None:
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
    passing = Task(airflow, "system_bystander", run_id, "pass_by")
    passing.ends("success")
    assert {task.now()["state"] for task in tasks} == {"deferred"}
    assert passing.xcom() == "passed"

    for task in tasks:
        simulator.end_job(task.record()["task_id"])
    for task in tasks:
        task.ends("success")
        assert bill(simulator, task.xcom()["task_id"]).state == "settled"


def test_videos_that_are_there_at_the_first_look_do_not_wake_their_tasks_too_early(runs: Runs) -> None:
    tasks = [runs.task("system_early", "generate", index) for index in range(EARLY)]
    for task in tasks:
        ended = task.ends("success")
        assert ended["try_number"] == 1, task.log()
        assert "Pausing task as DEFERRED" in task.log()
        assert task.xcom()["state"] == "succeeded"
        begun, done = (datetime.fromisoformat(ended[key]) for key in ("start_date", "end_date"))
        assert 10 <= (done - begun).total_seconds() < PATIENCE
