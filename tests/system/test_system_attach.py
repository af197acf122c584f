# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A job survives whatever happens to its task, and is paid once."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
from airflow_runs import PATIENCE, Runs, Task, bill, orders

from airflow_provider_vidgen.simulator import SimulatorClient

DAG = "system_attach"


@pytest.fixture(scope="module")
def killed(runs: Runs, simulator: SimulatorClient) -> dict[str, str]:
    """The jobs of the two tasks whose processes were killed right after the vendor had accepted them."""
    jobs = {name: runs.task(DAG, name).wait_for_job() for name in ("killed_task", "killed_worker")}
    runs.airflow.signal_process(runs.task(DAG, "killed_task").now()["pid"])
    process = psutil.Process(runs.task(DAG, "killed_worker").now()["pid"])
    # The executor's worker, which would otherwise report what became of its task.
    runs.airflow.signal_process(process.ppid())
    runs.airflow.signal_process(process.pid)
    return jobs


@pytest.fixture(scope="module")
def cleared_while_deferred(runs: Runs, simulator: SimulatorClient) -> str:
    task = runs.task(DAG, "deferred")
    task.wait("deferred")
    job = task.record()["task_id"]
    task.clear()
    return str(job)


@pytest.fixture(scope="module")
def cleared_after_delivery(runs: Runs) -> str:
    task = runs.task(DAG, "delivered")
    task.ends("success")
    job = task.record()["task_id"]
    task.clear()
    return str(job)


@pytest.fixture(scope="module")
def marked_failed_while_deferred(runs: Runs) -> str:
    task = runs.task(DAG, "marked_failed")
    task.wait("deferred")
    job = task.record()["task_id"]
    runs.airflow.set_state(DAG, task.run_id, "marked_failed", "failed")
    return str(job)


@pytest.fixture(scope="module", autouse=True)
def all_at_once(
    killed: object,
    cleared_while_deferred: object,
    cleared_after_delivery: object,
    marked_failed_while_deferred: object,
) -> None:
    """What takes time goes on while other tests look at other tasks."""


def assert_asked_about_the_same_job(task: Task, job: str, simulator: SimulatorClient) -> None:
    task.ends("success", try_number=2)
    assert task.xcom()["task_id"] == job
    assert f"An earlier try has submitted the job {job}" in task.log(2)
    assert len(orders(simulator, f"{task.task_id} [sim:stuck]")) == 1
    assert bill(simulator, job).state == "settled"


def test_clearing_a_delivered_task_returns_the_same_video_for_nothing(
    runs: Runs, simulator: SimulatorClient, cleared_after_delivery: str
) -> None:
    task = runs.task(DAG, "delivered")
    task.ends("success", try_number=2)
    result = task.xcom()
    assert result["task_id"] == cleared_after_delivery
    assert result["result_urls"] == task.xcom("result_urls") != []
    assert "airflow vidgen regenerate" in task.log(2)
    assert bill(simulator, cleared_after_delivery).state == "settled"
    assert len(orders(simulator, "a velvet pangolin, delivered")) == 1


def test_a_cleared_task_makes_a_new_video_once_it_is_told_to(
    runs: Runs, simulator: SimulatorClient, cleared_after_delivery: str
) -> None:
    """After the test above: the same task is cleared again, with the command that its log names."""
    task = runs.task(DAG, "delivered")
    task.ends("success", try_number=2)
    command = [sys.executable, "-m", "airflow", "vidgen", "regenerate", DAG, task.run_id, "delivered"]
    done = subprocess.run(command, env=runs.airflow.env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert cleared_after_delivery in done.stdout
    task.clear()
    task.ends("success", try_number=3)
    assert task.xcom()["task_id"] != cleared_after_delivery
    assert len(orders(simulator, "a velvet pangolin, delivered")) == 2


def test_clearing_a_deferred_task_asks_about_the_same_job(
    runs: Runs, simulator: SimulatorClient, cleared_while_deferred: str
) -> None:
    task = runs.task(DAG, "deferred")
    task.wait("deferred", try_number=2)
    simulator.end_job(cleared_while_deferred)
    assert_asked_about_the_same_job(task, cleared_while_deferred, simulator)


def test_a_killed_task_process_is_retried_on_the_same_job(
    runs: Runs, simulator: SimulatorClient, killed: dict[str, str]
) -> None:
    task, job = runs.task(DAG, "killed_task"), killed["killed_task"]
    task.wait("running", try_number=2)
    simulator.end_job(job)
    assert_asked_about_the_same_job(task, job, simulator)
    assert task.ends("success")["try_number"] == 2


# Last in the suite's order of waiting: Airflow has to miss the heartbeats of half a minute first.
def test_a_killed_worker_is_retried_on_the_same_job(
    runs: Runs, simulator: SimulatorClient, killed: dict[str, str]
) -> None:
    task, job = runs.task(DAG, "killed_worker"), killed["killed_worker"]
    task.wait("running", try_number=2)
    simulator.end_job(job)
    assert_asked_about_the_same_job(task, job, simulator)


def test_marking_a_deferred_task_failed_says_that_the_job_goes_on_and_a_clear_asks_about_it(
    runs: Runs, simulator: SimulatorClient, marked_failed_while_deferred: str
) -> None:
    task, job = runs.task(DAG, "marked_failed"), marked_failed_while_deferred
    deadline = time.monotonic() + 20
    while (said := f"APIModels cannot cancel jobs: apimodels job {job} goes on") not in task.log(1):
        assert time.monotonic() < deadline, f"the log does not say: {said}"
        time.sleep(0.5)
    assert task.record()["phase"] == "submitted"
    task.clear()
    task.wait("deferred", try_number=2)
    simulator.end_job(job)
    assert_asked_about_the_same_job(task, job, simulator)
