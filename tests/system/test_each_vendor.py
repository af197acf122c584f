# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One deferred and one blocking video from each vendor: the result, the ledger record and the bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_simulator import VENDORS
from tests.support.task_instance import RESULT_KEYS
from tests.support.task_runs import Runs, Task, bill, run_python_in_airflow, submissions

DAG = "system_vendors"
MODELS = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}
TRIGGERS = """
import json
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
with create_session() as session:
    rows = {
        row.id: (row.classpath, row.kwargs, *VideoTaskTrigger(**row.kwargs).serialize(), row.task_instance)
        for row in session.query(Trigger)
    }
    print(json.dumps({key: [*row, repr(task.next_kwargs)] for key, (*row, task) in rows.items()}))
"""


@dataclass(frozen=True)
class DeferredState:
    """The state of a task while it was deferred."""

    job_id: str
    progress: Any
    record: dict[str, Any]
    trigger: list[Any]


@pytest.fixture(scope="module")
def while_deferred(runs: Runs, simulator: SimulatorClient) -> dict[str, DeferredState]:
    """The state of the deferred tasks, by vendor; afterwards their jobs are ended."""
    tasks = {vendor: runs.task(DAG, f"{vendor}_deferred") for vendor in VENDORS}
    deferred = {vendor: task.wait("deferred") for vendor, task in tasks.items()}
    triggers = run_python_in_airflow(runs.airflow, TRIGGERS)
    states = {}
    for vendor, task in tasks.items():
        assert task.now()["state"] == "deferred"
        trigger = triggers[str(deferred[vendor]["trigger"]["id"])]
        states[vendor] = DeferredState(task.xcom("task_id"), task.xcom("progress"), task.record(), trigger)
    for state in states.values():
        simulator.end_job(state.job_id)
    return states


def parse_utc(text: str) -> datetime:
    """Parse a time that must be ISO 8601 in UTC."""
    parsed = datetime.fromisoformat(text)
    assert parsed.utcoffset() == timedelta(0), text
    return parsed


def assert_result(task: Task, vendor: str) -> dict[str, Any]:
    """Assert that the result has exactly the documented form, and return it."""
    result: dict[str, Any] = task.xcom()
    assert set(result) == set(RESULT_KEYS)
    assert (result["vendor"], result["model"], result["state"]) == (vendor, MODELS[vendor], "succeeded")
    assert result["files"] == []
    assert result["result_urls"] == task.xcom("result_urls")
    assert result["result_urls"]
    assert all(isinstance(link, str) and link.startswith("http") for link in result["result_urls"])
    assert result["task_id"] == task.xcom("task_id")
    assert result["thumbnail_url"] is None or result["thumbnail_url"].startswith("http")
    assert result["duration_seconds"] is None or result["duration_seconds"] > 0
    for name in ("created_at", "completed_at", "expires_at"):
        assert result[name] is None or parse_utc(result[name])
    assert result["expires_at"] is not None
    if result["cost"] is not None:
        date = {"as_of"} if result["cost"]["basis"] == "estimated" else set()
        assert set(result["cost"]) == {"amount", "currency", "basis"} | date
    return result


def assert_delivered(task: Task, result: dict[str, Any], simulator: SimulatorClient) -> None:
    """Assert that the record is in its last phase and holds nothing secret, and that there is one bill."""
    record = task.record()
    assert (record["phase"], record["task_id"]) == ("delivered", result["task_id"])
    assert_holds_nothing_secret(record)
    assert bill(simulator, result["task_id"]).state == "settled"


def assert_holds_nothing_secret(value: Any) -> None:
    for secret in ("pangolin", "marmalade", "sig=", "/cdn/"):
        assert secret not in str(value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_blocking_task_delivers_one_video(runs: Runs, simulator: SimulatorClient, vendor: str) -> None:
    task = runs.task(DAG, f"{vendor}_blocking")
    assert task.wait_until_finished("success")["try_number"] == 1
    result = assert_result(task, vendor)
    assert_delivered(task, result, simulator)
    [submission] = [
        visit for visit in submissions(simulator, "pangolin in the snow") if visit.vendor == vendor
    ]
    assert submission.authorization == "good"
    assert "Pausing task as DEFERRED" not in task.log()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferred_task_shows_its_job_id_and_progress(
    while_deferred: dict[str, DeferredState], vendor: str
) -> None:
    state = while_deferred[vendor]
    assert state.job_id == state.record["task_id"]
    assert set(state.progress) == {"state", "percent"}
    assert state.progress["state"] in ("queued", "running")
    assert state.progress["percent"] is None or 0 <= state.progress["percent"] < 100
    assert state.record["phase"] == "submitted"
    assert_holds_nothing_secret(state.record)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_trigger_is_deserialized_unchanged_and_holds_nothing_secret(
    while_deferred: dict[str, DeferredState], vendor: str
) -> None:
    classpath, kwargs, classpath_again, kwargs_again, next_kwargs = while_deferred[vendor].trigger
    assert (classpath, kwargs) == (classpath_again, kwargs_again)
    assert classpath == "airflow_provider_vidgen.triggers.video_task.VideoTaskTrigger"
    assert kwargs["job"]["task_id"] == while_deferred[vendor].job_id
    assert kwargs["vidgen_conn_id"] == f"vidgen_{vendor}"
    assert_holds_nothing_secret(kwargs)
    # The arguments of the method that resumes the task.
    assert while_deferred[vendor].job_id in next_kwargs
    assert_holds_nothing_secret(next_kwargs)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferred_task_delivers_one_video(
    runs: Runs, while_deferred: dict[str, DeferredState], simulator: SimulatorClient, vendor: str
) -> None:
    task = runs.task(DAG, f"{vendor}_deferred")
    assert task.wait_until_finished("success")["try_number"] == 1
    result = assert_result(task, vendor)
    assert result["task_id"] == while_deferred[vendor].job_id
    assert_delivered(task, result, simulator)
    [submission] = [
        visit for visit in submissions(simulator, "pangolin on the beach") if visit.vendor == vendor
    ]
    assert submission.authorization == "good"
    assert "Trigger fired event" in task.log()


def test_a_task_at_the_synchronous_endpoint_is_not_deferred(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task("system_p_video", "generate")
    task.wait_until_finished("success")
    assert "Pausing task as DEFERRED" not in task.log()
    assert task.xcom()["state"] == "succeeded"
    assert len(task.xcom("result_urls")) == 1
    assert len(submissions(simulator, "a velvet pangolin at the piano")) == 1
    assert task.record()["phase"] == "delivered"
