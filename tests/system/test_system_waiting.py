# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor, which never submits, and the endpoint that has nothing to wait for."""

from __future__ import annotations

import pytest
import requests
from airflow_runs import Runs, Task, bill, orders
from system_accounts import GOOD_KEY

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow

DAG = "system_sensors"
MODES = ("deferred", "poked")


@pytest.fixture(scope="module")
def jobs(simulator: SimulatorClient) -> dict[str, str]:
    """Jobs that something else than Airflow submitted."""
    found = {}
    with requests.Session() as session:
        session.trust_env = False
        for mode in MODES:
            answer = session.post(
                f"{simulator.base_url('apixo')}/api/v1/generateTask/grok-video",
                headers={"Authorization": f"Bearer {GOOD_KEY}"},
                json={
                    "request_type": "async",
                    "input": {"mode": "text-to-video", "prompt": f"from elsewhere, {mode} [sim:stuck]"},
                },
                timeout=10,
            )
            answer.raise_for_status()
            found[mode] = answer.json()["data"]["taskId"]
    return found


@pytest.fixture(scope="module")
def sensors(runs: Runs, jobs: dict[str, str], airflow: LocalAirflow) -> dict[str, Task]:
    run_id = airflow.start_run(DAG, jobs)
    return {mode: Task(airflow, DAG, run_id, mode) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_waits_for_a_job_from_elsewhere_and_never_submits(
    sensors: dict[str, Task], jobs: dict[str, str], simulator: SimulatorClient, mode: str
) -> None:
    task, job = sensors[mode], jobs[mode]
    task.wait("deferred" if mode == "deferred" else "running")
    simulator.end_job(job)
    task.ends("success")
    result = task.xcom()
    assert (result["task_id"], result["state"], result["vendor"]) == (job, "succeeded", "apixo")
    assert task.xcom("result_urls") == result["result_urls"]
    assert task.xcom("task_id") == job
    assert ("Pausing task as DEFERRED" in task.log()) is (mode == "deferred")
    assert len(orders(simulator, f"from elsewhere, {mode}")) == 1
    assert bill(simulator, job).state == "settled"


def test_the_synchronous_endpoint_is_not_deferred(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task("system_p_video", "generate")
    task.ends("success")
    assert "Pausing task as DEFERRED" not in task.log()
    assert task.xcom()["state"] == "succeeded"
    assert len(task.xcom("result_urls")) == 1
    assert len(orders(simulator, "a velvet pangolin at the piano")) == 1
    assert task.record()["phase"] == "delivered"
