# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A task that is killed, cleared or marked failed re-attaches to its job, which is paid once."""

from __future__ import annotations

import time

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from airflow_provider_vidgen.simulator import SimulatorClient
from tests.support.task_runs import Runs, Task, bill, run_airflow_command, submissions

DAG = "system_attach"


@pytest.fixture(scope="module")
def killed(runs: Runs) -> dict[str, str]:
    """The jobs of the two tasks whose processes are killed right after the vendor has accepted them."""
    jobs = {name: runs.task(DAG, name).wait_for_job() for name in ("killed_task", "killed_worker")}
    runs.airflow.signal_process(runs.task(DAG, "killed_task").now()["pid"])
    process = psutil.Process(runs.task(DAG, "killed_worker").now()["pid"])
    # The executor's worker goes first, or it would report the end of its task.
    runs.airflow.signal_process(process.ppid())
    runs.airflow.signal_process(process.pid)
    return jobs


@pytest.fixture(scope="module")
def cleared_while_deferred(runs: Runs) -> str:
    """The job of the task that is cleared while it is deferred."""
    task = runs.task(DAG, "deferred")
    task.wait("deferred")
    job_id = task.record()["task_id"]
    task.clear()
    return str(job_id)


@pytest.fixture(scope="module")
def cleared_after_delivery(runs: Runs) -> str:
    """The job of the task that is cleared after it has succeeded."""
    task = runs.task(DAG, "delivered")
    task.wait_until_finished("success")
    job_id = task.record()["task_id"]
    task.clear()
    return str(job_id)


@pytest.fixture(scope="module")
def marked_failed_while_deferred(runs: Runs) -> str:
    """The job of the task that is marked failed while it is deferred."""
    task = runs.task(DAG, "marked_failed")
    task.wait("deferred")
    job_id = task.record()["task_id"]
    runs.airflow.set_state(DAG, task.run_id, "marked_failed", "failed")
    return str(job_id)


@pytest.fixture(scope="module", autouse=True)
def all_at_once(
    killed: object,
    cleared_while_deferred: object,
    cleared_after_delivery: object,
    marked_failed_while_deferred: object,
) -> None:
    """Interrupt all tasks before the first test, so that Airflow handles them at the same time."""


def assert_reattached(task: Task, job_id: str, simulator: SimulatorClient) -> None:
    task.wait_until_finished("success", try_number=2)
    assert task.xcom()["task_id"] == job_id
    assert f"An earlier try submitted the job {job_id}" in task.log(2)
    assert len(submissions(simulator, f"{task.task_id} [sim:stuck]")) == 1
    assert bill(simulator, job_id).state == "settled"


def test_a_clear_of_a_deferred_task_reattaches_to_the_same_job(
    runs: Runs, simulator: SimulatorClient, cleared_while_deferred: str
) -> None:
    task = runs.task(DAG, "deferred")
    task.wait("deferred", try_number=2)
    simulator.end_job(cleared_while_deferred)
    assert_reattached(task, cleared_while_deferred, simulator)


def test_marking_a_deferred_task_failed_logs_that_the_job_goes_on_and_a_clear_reattaches_to_it(
    runs: Runs, simulator: SimulatorClient, marked_failed_while_deferred: str
) -> None:
    task, job_id = runs.task(DAG, "marked_failed"), marked_failed_while_deferred
    deadline = time.monotonic() + 20
    while (message := f"APIModels cannot cancel jobs: apimodels job {job_id} continues") not in task.log(1):
        assert time.monotonic() < deadline, f"the log does not contain: {message}"
        time.sleep(0.5)
    assert task.record()["phase"] == "submitted"
    task.clear()
    task.wait("deferred", try_number=2)
    simulator.end_job(job_id)
    assert_reattached(task, job_id, simulator)


def test_a_clear_of_a_delivered_task_returns_the_same_video_and_pays_nothing(
    runs: Runs, simulator: SimulatorClient, cleared_after_delivery: str
) -> None:
    task = runs.task(DAG, "delivered")
    task.wait_until_finished("success", try_number=2)
    result = task.xcom()
    assert result["task_id"] == cleared_after_delivery
    assert result["result_urls"] == task.xcom("result_urls") != []
    assert "airflow vidgen regenerate" in task.log(2)
    assert bill(simulator, cleared_after_delivery).state == "settled"
    assert len(submissions(simulator, "a velvet pangolin, delivered")) == 1


def test_a_clear_makes_a_new_video_after_the_regenerate_command(
    runs: Runs, simulator: SimulatorClient, cleared_after_delivery: str
) -> None:
    """Follows the test above: the same task is cleared again, after the command that its log names."""
    task = runs.task(DAG, "delivered")
    task.wait_until_finished("success", try_number=2)
    output = run_airflow_command(runs.airflow, "vidgen", "regenerate", DAG, task.run_id, "delivered")
    assert cleared_after_delivery in output
    task.clear()
    task.wait_until_finished("success", try_number=3)
    assert task.xcom()["task_id"] != cleared_after_delivery
    assert len(submissions(simulator, "a velvet pangolin, delivered")) == 2


def test_a_killed_task_process_is_retried_on_the_same_job(
    runs: Runs, simulator: SimulatorClient, killed: dict[str, str]
) -> None:
    task, job_id = runs.task(DAG, "killed_task"), killed["killed_task"]
    task.wait("running", try_number=2)
    simulator.end_job(job_id)
    assert_reattached(task, job_id, simulator)
    assert task.wait_until_finished("success")["try_number"] == 2


# Last, because Airflow notices a killed worker only after half a minute without a heartbeat.
def test_a_killed_worker_is_retried_on_the_same_job(
    runs: Runs, simulator: SimulatorClient, killed: dict[str, str]
) -> None:
    task, job_id = runs.task(DAG, "killed_worker"), killed["killed_worker"]
    task.wait("running", try_number=2)
    simulator.end_job(job_id)
    assert_reattached(task, job_id, simulator)
