# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What people see of a task and do about its job: names, extra links, and the ``airflow vidgen`` commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vidgen.links.video_links import FILE_ROUTE, TAB_ROUTE
from airflow_provider_vidgen.simulator import SimulatorClient
from dev.airflow_api import FINISHED_TASK
from tests.support.task_runs import Runs, Task, bill, run_airflow_commands, submissions

DAG = "system_actions"


def vidgen(runs: Runs, *commands: tuple[str, ...]) -> list[list[str]]:
    """Run commands about the run of the Dag; return each one's output, and why it failed."""
    run_id = runs.ids[DAG]
    return run_airflow_commands(
        runs.airflow, *(("vidgen", name, DAG, run_id, *rest) for name, *rest in commands)
    )


def links(task: Task) -> Any:
    path = f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/links"
    params = {"map_index": task.map_index}
    return task.airflow.api("GET", path, params=params)["extra_links"]


@pytest.fixture(scope="module")
def reported_job(runs: Runs) -> str:
    """The job of a task that was marked failed while the job was running."""
    task = runs.task(DAG, "reported")
    job_id = task.wait_for_job()
    runs.airflow.set_state(DAG, task.run_id, task.task_id, "failed")
    task.wait(FINISHED_TASK)
    return job_id


def test_mapped_instances_have_names_while_they_wait(runs: Runs) -> None:
    rendering, waiting = (runs.task(DAG, "named", index) for index in (0, 1))
    assert rendering.wait("deferred")["rendered_map_index"] == "red kettle"
    assert waiting.wait("up_for_reschedule")["rendered_map_index"] == "blue lamp"
    for task in (rendering, waiting):
        assert "red kettle" not in task.log()
        assert "blue lamp" not in task.log()


def test_a_deferred_task_has_a_link_to_its_tab_and_none_to_a_file(runs: Runs) -> None:
    task = runs.task(DAG, "named", 0)
    task.wait("deferred")
    found = links(task)
    assert found["Videos"].endswith(f"/tasks/named/mapped/0/plugin/{TAB_ROUTE}")
    assert (found["Landed file"], found["Vendor console"]) == (None, None)


def test_a_finished_task_has_a_link_to_its_file(runs: Runs) -> None:
    task = runs.task(DAG, "landed")
    task.wait_until_finished("success")
    assert links(task)["Landed file"].startswith(f"/{FILE_ROUTE}?dag_id={DAG}&run_id=")
    download = runs.task(DAG, "download", 0)
    finished = download.wait_until_finished("success")
    job_id = task.record()["task_id"]
    assert finished["rendered_map_index"] == job_id
    assert links(download)["Landed file"].endswith(f"/copies/{job_id}-0.mp4")


def test_jobs_lists_submitted_jobs_and_tasks_that_wait_for_capacity(runs: Runs) -> None:
    rendering, waiting = (runs.task(DAG, "named", index) for index in (0, 1))
    rendering.wait("deferred")
    waiting.wait("up_for_reschedule")
    jobs, without_index, active = vidgen(
        runs, ("jobs", "-o", "json"), ("check", "named"), ("check", "named", "--map-index", "0")
    )
    named = {row["map_index"]: row for row in json.loads(jobs[0]) if row["task"] == "named"}
    assert named["0"]["phase"] == "submitted"
    assert named["0"]["job_id"] == rendering.record()["task_id"]
    assert (named["1"]["phase"], named["1"]["name"]) == ("waiting", "blue lamp")
    assert named["1"]["since"] < named["1"]["next_check"] < named["1"]["until"]
    assert "give the map index of one of its instances, 0 to 1" in without_index[1]
    assert "named[0] is deferred. Wait until it has ended" in active[1]


def test_jobs_of_an_unknown_dag_or_run_is_an_error(runs: Runs) -> None:
    commands = [("vidgen", "jobs", dag_id, "other") for dag_id in (DAG, "x")]
    unknown_run, unknown_dag = run_airflow_commands(runs.airflow, *commands)
    assert f"has no run 'other'. Its newest runs: {runs.ids[DAG]}" in unknown_run[1]
    assert "There is no Dag 'x'." in unknown_dag[1]


def test_an_adopted_job_is_checked_first_and_then_cleared_and_finished_without_a_second_bill(
    runs: Runs, simulator: SimulatorClient, reported_job: str
) -> None:
    task = runs.task(DAG, "reported")
    check, regenerate, refused, adopted = vidgen(
        runs,
        ("check", "reported"),
        ("regenerate", "reported"),
        ("adopt", "reported", "--job-id", "task_nope"),
        ("adopt", "reported", "--job-id", reported_job, "--clear"),
    )
    assert f"job {reported_job} of {DAG} {task.run_id} reported is running." in check[0]
    assert "submits a new, paid job" in regenerate[0]
    assert "APIModels does not know the job task_nope" in refused[1]
    assert f"has adopted the apimodels job {reported_job} (running at the vendor)" in adopted[0]
    assert "The task was cleared, with 1 downstream" in adopted[0]
    task.wait("running", try_number=2)
    simulator.end_job(reported_job)
    task.wait_until_finished("success", try_number=2)
    runs.task(DAG, "publish").wait_until_finished("success")
    assert task.xcom()["task_id"] == reported_job
    assert len(submissions(simulator, "a velvet pangolin, reported")) == 1
    assert bill(simulator, reported_job).state == "settled"


def test_each_command_is_in_airflows_audit_log(runs: Runs, reported_job: str) -> None:
    """Follows the test above."""
    query = {"dag_id": DAG, "task_id": "reported", "limit": 100}
    events = [entry["event"] for entry in runs.airflow.api("GET", "/eventLogs", params=query)["event_logs"]]
    assert {"cli_vidgen_check", "cli_vidgen_regenerate", "cli_vidgen_adopt"} <= set(events)
