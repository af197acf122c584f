# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor waits for jobs that were submitted elsewhere, and never submits."""

from __future__ import annotations

import pytest
import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow
from tests.support.system_accounts import GOOD_KEY
from tests.support.task_runs import Runs, Task, bill, submissions

DAG = "system_sensors"
MODES = ("deferred", "poked")


@pytest.fixture(scope="module")
def jobs(simulator: SimulatorClient) -> dict[str, str]:
    """Job ids, by mode, of jobs that were not submitted by Airflow."""
    job_ids = {}
    with requests.Session() as session:
        session.trust_env = False
        for mode in MODES:
            response = session.post(
                f"{simulator.base_url('apixo')}/api/v1/generateTask/grok-video",
                headers={"Authorization": f"Bearer {GOOD_KEY}"},
                json={
                    "request_type": "async",
                    "input": {"mode": "text-to-video", "prompt": f"from elsewhere, {mode} [sim:stuck]"},
                },
                timeout=10,
            )
            response.raise_for_status()
            job_ids[mode] = response.json()["data"]["taskId"]
    return job_ids


@pytest.fixture(scope="module")
def sensors(runs: Runs, jobs: dict[str, str], airflow: LocalAirflow) -> dict[str, Task]:
    run_id = airflow.start_run(DAG, jobs)
    return {mode: Task(airflow, DAG, run_id, mode) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_waits_for_a_job_submitted_elsewhere_and_never_submits(
    sensors: dict[str, Task], jobs: dict[str, str], simulator: SimulatorClient, mode: str
) -> None:
    task, job_id = sensors[mode], jobs[mode]
    task.wait("deferred" if mode == "deferred" else "running")
    simulator.end_job(job_id)
    task.wait_until_finished("success")
    result = task.xcom()
    assert (result["task_id"], result["state"], result["vendor"]) == (job_id, "succeeded", "apixo")
    assert task.xcom("result_urls") == result["result_urls"]
    assert task.xcom("task_id") == job_id
    assert ("Pausing task as DEFERRED" in task.log()) is (mode == "deferred")
    assert len(submissions(simulator, f"from elsewhere, {mode}")) == 1
    assert bill(simulator, job_id).state == "settled"
