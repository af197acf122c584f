# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen jobs``, ``adopt`` and ``regenerate``."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.airflow_core import CoreTask
from airflow_provider_vidgen.cli import jobs
from airflow_provider_vidgen.cli.definition import get_commands
from airflow_provider_vidgen.decision import Action, decide
from airflow_provider_vidgen.ledger import Ledger, Phase, Record, entry_key
from tests.support.state_store import FakeStateStore

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(phase: Phase, task_id: str = "") -> Record:
    return Record(
        phase=phase,
        fingerprint="f" * 64,
        vendor="apixo",
        base_url="https://api.apixo.ai",
        model="grok-video",
        idempotency_key="",
        idempotency_key_sent_at=NOW.isoformat(),
        submitted_at=NOW.isoformat(),
        deadline=NOW.isoformat(),
        max_tries=1,
        task_id=task_id,
    )


def task(stored: Any = None, *, state: str = "failed", map_index: int = -1) -> CoreTask:
    store = FakeStateStore()
    if stored is not None:
        store.set(entry_key(1), stored)
    return CoreTask(task_id="make", map_index=map_index, state=state, max_tries=1, store=store)  # type: ignore[arg-type]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[CoreTask]:
    tasks: list[CoreTask] = []
    monkeypatch.setattr(airflow_core, "tasks_of_run", lambda dag_id, run_id: tasks)
    return tasks


def adopt(map_index: int = -1, job_id: str = "task_9") -> None:
    jobs.adopt(Namespace(dag_id="dag", run_id="run", task_id="make", map_index=map_index, job_id=job_id))


def regenerate(map_index: int = -1) -> None:
    jobs.regenerate(Namespace(dag_id="dag", run_id="run", task_id="make", map_index=map_index))


def newest_record(task: CoreTask) -> Record:
    newest = Ledger(task.store, max_tries=1, now=lambda: NOW).read()
    assert newest is not None
    return newest


@pytest.mark.parametrize(
    "phase", [Phase.SUBMITTING, Phase.UNKNOWN, Phase.LOST, Phase.FAILED, Phase.NOT_ACCEPTED]
)
def test_a_clear_re_attaches_to_an_adopted_job(run: list[CoreTask], phase: Phase) -> None:
    run.append(task(record(phase).to_json()))
    adopt()
    newest = newest_record(run[0])
    assert (newest.phase, newest.task_id) == (Phase.SUBMITTED, "task_9")
    next_try = decide(newest, "f" * 64, cleared=True, key_is_valid=False, on_unknown="fail", on_clear="reuse")
    assert next_try.action is Action.REATTACH


def test_an_adopted_job_inherits_nothing_from_the_previous_job(run: list[CoreTask]) -> None:
    previous = replace(
        record(Phase.LOST, "task_1"),
        expires_at=NOW.isoformat(),
        result_urls=("https://cdn.example.com/a.mp4",),
        files=({"path": "a.mp4", "bytes": 1, "sha256": "0f"},),
    )
    run.append(task(previous.to_json()))
    adopt()
    newest = newest_record(run[0])
    assert (newest.task_id, newest.expires_at, newest.result_urls, newest.files) == ("task_9", "", (), ())


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("cleared", [False, True])
def test_regenerate_makes_the_next_try_submit_a_new_job_and_names_the_old_one(
    run: list[CoreTask], phase: Phase, cleared: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run.append(task(record(phase, "task_1").to_json()))
    regenerate()
    newest = newest_record(run[0])
    next_try = decide(
        newest, "f" * 64, cleared=cleared, key_is_valid=True, on_unknown="fail", on_clear="reuse"
    )
    assert next_try.action is Action.SUBMIT
    assert "task_1" in next_try.reason
    message = capsys.readouterr().out
    assert "apixo job task_1" in message
    assert "new, paid job" in message


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        ([], "There is no task instance dag run make"),
        ([task()], "has not submitted anything"),
        ([task(record(Phase.DELIVERED).to_json(), state="running")], "is running. Wait until it has ended"),
        ([task(record(Phase.SUBMITTED, "task_1").to_json(), state="deferred")], "is deferred"),
        ([task("not a record")], "was not written by this version"),
    ],
)
def test_regenerate_that_is_refused_prints_the_reason_and_changes_nothing(
    run: list[CoreTask], existing: list[CoreTask], message: str
) -> None:
    run += existing
    before = [dict(task_instance.store) for task_instance in run]  # type: ignore[call-overload]
    with pytest.raises(SystemExit, match=message):
        regenerate()
    assert [dict(task_instance.store) for task_instance in run] == before  # type: ignore[call-overload]


def test_adopt_changes_only_the_given_map_index(run: list[CoreTask]) -> None:
    run += [task(record(Phase.UNKNOWN).to_json(), map_index=index) for index in range(3)]
    adopt(map_index=1)
    assert [newest_record(task_instance).phase for task_instance in run] == [
        Phase.UNKNOWN,
        Phase.SUBMITTED,
        Phase.UNKNOWN,
    ]


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        ([], "There is no task instance dag run make"),
        ([task()], "has not submitted anything"),
        ([task(record(Phase.SUBMITTED, "task_1").to_json())], "already has the job task_1"),
        ([task(record(Phase.DELIVERED, "task_1").to_json())], "already has the job task_1"),
        ([task(record(Phase.UNKNOWN).to_json(), state="running")], "is running. Wait until it has ended"),
        ([task(record(Phase.UNKNOWN).to_json(), state="deferred")], "is deferred"),
        ([task("not a record")], "was not written by this version"),
    ],
)
def test_adopt_that_is_refused_prints_the_reason_and_changes_nothing(
    run: list[CoreTask], existing: list[CoreTask], message: str
) -> None:
    run += existing
    before = [dict(task_instance.store) for task_instance in run]  # type: ignore[call-overload]
    with pytest.raises(SystemExit, match=message):
        adopt()
    assert [dict(task_instance.store) for task_instance in run] == before  # type: ignore[call-overload]


def test_jobs_lists_submitted_jobs_and_unreadable_records(
    run: list[CoreTask], capsys: pytest.CaptureFixture[str]
) -> None:
    run += [
        task(record(Phase.DELIVERED, "task_1").to_json(), state="success", map_index=0),
        task("not a record", map_index=1),
        task(map_index=2),
    ]
    jobs.list_jobs(Namespace(dag_id="dag", run_id="run", output="json"))
    message = capsys.readouterr().out
    assert '"phase": "delivered"' in message
    assert '"job_id": "task_1"' in message
    assert '"phase": "unreadable"' in message
    assert '"map_index": "2"' not in message


def test_the_commands_are_the_documented_ones() -> None:
    (group,) = get_commands()
    assert group.name == "vidgen"
    assert [command.name for command in group.subcommands] == [
        *("jobs", "adopt", "regenerate"),
        *("models", "preflight"),
    ]
