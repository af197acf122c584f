# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One video from each vendor, deferred and blocking: the result, the record and the bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow_runs import Runs, Task, bill, orders, python_in_airflow

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_simulator import VENDORS

DAG = "system_vendors"
CONTRACT = {
    "vendor",
    "model",
    "task_id",
    "state",
    "result_urls",
    "thumbnail_url",
    "duration_seconds",
    "created_at",
    "completed_at",
    "expires_at",
    "cost",
    "files",
}
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
class Rendering:
    """What was to be seen while a task was deferred."""

    job: str
    progress: Any
    record: dict[str, Any]
    trigger: list[Any]


@pytest.fixture(scope="module")
def rendering(runs: Runs, simulator: SimulatorClient) -> dict[str, Rendering]:
    """All deferred tasks as they were before their jobs ended, which they do then."""
    tasks = {vendor: runs.task(DAG, f"{vendor}_deferred") for vendor in VENDORS}
    deferred = {vendor: task.wait("deferred") for vendor, task in tasks.items()}
    triggers = python_in_airflow(runs.airflow, TRIGGERS)
    seen = {}
    for vendor, task in tasks.items():
        assert task.now()["state"] == "deferred"
        trigger = triggers[str(deferred[vendor]["trigger"]["id"])]
        seen[vendor] = Rendering(task.xcom("task_id"), task.xcom("progress"), task.record(), trigger)
    for found in seen.values():
        simulator.end_job(found.job)
    return seen


def moment(text: str) -> datetime:
    """Read a time that must be ISO 8601 in UTC."""
    found = datetime.fromisoformat(text)
    assert found.utcoffset() == timedelta(0), text
    return found


def assert_contract(task: Task, vendor: str) -> dict[str, Any]:
    """Claim that the result is exactly what the documentation says."""
    result: dict[str, Any] = task.xcom()
    assert set(result) == CONTRACT
    assert (result["vendor"], result["model"], result["state"]) == (vendor, MODELS[vendor], "succeeded")
    assert result["files"] == []
    assert result["result_urls"] == task.xcom("result_urls")
    assert result["result_urls"]
    assert all(isinstance(link, str) and link.startswith("http") for link in result["result_urls"])
    assert result["task_id"] == task.xcom("task_id")
    assert result["thumbnail_url"] is None or result["thumbnail_url"].startswith("http")
    assert result["duration_seconds"] is None or result["duration_seconds"] > 0
    for name in ("created_at", "completed_at", "expires_at"):
        assert result[name] is None or moment(result[name])
    assert result["expires_at"] is not None
    if result["cost"] is not None:
        assert set(result["cost"]) == {"amount", "currency", "basis"}
        assert result["cost"]["basis"] in ("reported", "estimated")
    return result


def assert_delivered(task: Task, result: dict[str, Any], simulator: SimulatorClient) -> None:
    """Claim that the record has come to its end, holds nothing secret, and the bill is one."""
    record = task.record()
    assert (record["phase"], record["task_id"]) == ("delivered", result["task_id"])
    assert_holds_nothing_secret(record)
    assert bill(simulator, result["task_id"]).state == "settled"


def assert_holds_nothing_secret(value: Any) -> None:
    for secret in ("pangolin", "marmalade", "sig=", "/cdn/"):
        assert secret not in str(value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_blocking_run(runs: Runs, simulator: SimulatorClient, vendor: str) -> None:
    task = runs.task(DAG, f"{vendor}_blocking")
    assert task.ends("success")["try_number"] == 1
    result = assert_contract(task, vendor)
    assert_delivered(task, result, simulator)
    [order] = [visit for visit in orders(simulator, "pangolin in the snow") if visit.vendor == vendor]
    assert order.authorization == "good"
    assert "Pausing task as DEFERRED" not in task.log()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferred_task_shows_its_job_and_progress(rendering: dict[str, Rendering], vendor: str) -> None:
    seen = rendering[vendor]
    assert seen.job == seen.record["task_id"]
    assert set(seen.progress) == {"state", "percent"}
    assert seen.progress["state"] in ("queued", "running")
    assert seen.progress["percent"] is None or 0 <= seen.progress["percent"] < 100
    assert seen.record["phase"] == "submitted"
    assert_holds_nothing_secret(seen.record)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_trigger_comes_back_from_the_database_as_it_was_and_holds_nothing_secret(
    rendering: dict[str, Rendering], vendor: str
) -> None:
    classpath, kwargs, classpath_again, kwargs_again, next_kwargs = rendering[vendor].trigger
    assert (classpath, kwargs) == (classpath_again, kwargs_again)
    assert classpath == "airflow_provider_vidgen.triggers.video_task.VideoTaskTrigger"
    assert kwargs["job"]["task_id"] == rendering[vendor].job
    assert kwargs["vidgen_conn_id"] == f"vidgen_{vendor}"
    assert_holds_nothing_secret(kwargs)
    # What the resumed task is called with.
    assert rendering[vendor].job in next_kwargs
    assert_holds_nothing_secret(next_kwargs)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deferred_run(
    runs: Runs, rendering: dict[str, Rendering], simulator: SimulatorClient, vendor: str
) -> None:
    task = runs.task(DAG, f"{vendor}_deferred")
    assert task.ends("success")["try_number"] == 1
    result = assert_contract(task, vendor)
    assert result["task_id"] == rendering[vendor].job
    assert_delivered(task, result, simulator)
    [order] = [visit for visit in orders(simulator, "pangolin on the beach") if visit.vendor == vendor]
    assert order.authorization == "good"
    assert "Trigger fired event" in task.log()
