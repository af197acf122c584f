# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Runs, task instances and their stores in Airflow's own database, an SQLite file of this process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.utils.session import create_session

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.airflow_core import CannotClear, UnknownRun
from airflow_provider_vidgen.errors import TaskRef
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
MAKE = TaskRef(dag_id="core", run_id="run", task_id="make")
#: The state of each task instance when a test begins.
STATES = {
    ("make", -1): "failed",
    ("mapped", 0): "failed",
    ("mapped", 1): "up_for_reschedule",
    ("publish", -1): "upstream_failed",
    ("templated", -1): None,
}


@pytest.fixture(scope="module")
def database() -> str:
    """The path of the database, with the Dag ``core``."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.db import synchronize_log_template

    settings.initialize()
    import_all_models()
    Base.metadata.create_all(settings.engine)
    synchronize_log_template()
    with DAG("core", schedule=None) as dag:
        make = VideoGenerationOperator(task_id="make", prompt="a", vidgen_conn_id="one")
        mapped = VideoGenerationOperator.partial(task_id="mapped", vidgen_conn_id="two").expand(
            prompt=["a", "b"]
        )
        VideoGenerationOperator(task_id="templated", prompt="a", vidgen_conn_id="{{ params.conn }}")
        [make, mapped] >> EmptyOperator(task_id="publish")
    with create_session() as session:
        session.add(DagBundleModel(name="bundle"))
        session.flush()
        session.add(DagModel(dag_id="core", bundle_name="bundle"))
        session.flush()
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="bundle", session=session)
    return str(settings.engine.url.database)


@pytest.fixture
def run(database: str) -> Iterator[str]:
    """A failed run of the Dag, as the path of its database."""
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import delete

    with create_session() as session:
        dag = SerializedDagModel.get_dag("core", session=session)
        assert dag is not None
        created = dag.create_dagrun(
            run_id="run",
            run_after=NOW,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state="failed",
            session=session,
        )
        created.verify_integrity(dag_version_id=created.created_dag_version_id, session=session)
        for instance in created.get_task_instances(session=session):
            instance.state = STATES[instance.task_id, instance.map_index]
            instance.try_number = 1
    yield database
    with create_session() as session:
        for model in (TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id == "core"))


def write(database: str, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute(statement, values)


def states() -> dict[tuple[str, int], str]:
    with airflow_core.tasks_of_run("core", "run") as tasks:
        return {(task.task_id, task.map_index): task.state for task in tasks}


def run_state(database: str) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("select state from dag_run where dag_id = 'core'").fetchone()[0])


@pytest.mark.usefixtures("run")
def test_the_instances_of_a_run_are_sorted_by_task_and_map_index() -> None:
    assert list(states()) == sorted(STATES)
    assert states() == {key: state or "not scheduled" for key, state in STATES.items()}


def test_a_rescheduled_instance_has_the_time_of_its_next_check(run: str) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        mapped = select(TaskInstance.id).where(TaskInstance.task_id == "mapped", TaskInstance.map_index == 1)
        ti_id = session.scalars(mapped).one()
        for minutes in (1, 2):
            times = {"start_date": NOW, "end_date": NOW, "reschedule_date": NOW + timedelta(minutes=minutes)}
            session.add(TaskReschedule(ti_id, **times))
    with airflow_core.tasks_of_run("core", "run") as tasks:
        checks = {task.map_index: task.next_check for task in tasks if task.task_id == "mapped"}
    assert checks == {0: "", 1: "2026-11-20T03:02:00+00:00"}


@pytest.mark.usefixtures("run")
def test_an_unknown_run_names_the_newest_ones() -> None:
    with pytest.raises(UnknownRun, match=r"^The Dag 'core' has no run 'x'. Its newest runs: run\.$"):
        airflow_core.tasks_of_run("core", "x").__enter__()
    with pytest.raises(UnknownRun, match="There is no Dag 'x'"):
        airflow_core.tasks_of_run("x", "run").__enter__()


@pytest.mark.usefixtures("database")
def test_a_dag_without_runs_has_no_run() -> None:
    with pytest.raises(UnknownRun, match="The Dag 'core' has no run 'x', and no other"):
        airflow_core.tasks_of_run("core", "x").__enter__()


def test_a_run_without_instances_is_empty(run: str) -> None:
    write(run, "delete from task_instance")
    assert states() == {}


@pytest.mark.usefixtures("run")
def test_what_is_written_is_committed_at_the_end_and_undone_by_an_error() -> None:
    with suppress(KeyError), airflow_core.locked_task(MAKE) as task:
        assert task is not None
        task.store.set("probe", 1)
        raise KeyError
    with airflow_core.locked_task(MAKE) as task:
        assert task is not None
        assert task.store.get("probe") is None
        task.store.set("probe", 2)
    with airflow_core.locked_task(MAKE) as task:
        assert task is not None
        assert task.store.get("probe") == 2


@pytest.mark.usefixtures("run")
def test_a_task_instance_that_does_not_exist_is_none() -> None:
    with airflow_core.locked_task(TaskRef(dag_id="core", run_id="run", task_id="mapped")) as task:
        assert task is None


def test_nothing_changes_a_locked_instance(run: str) -> None:
    statement = "update task_instance set state = 'queued' where task_id = 'make'"
    other = threading.Thread(target=write, args=(run, statement))
    with airflow_core.locked_task(MAKE) as task:
        assert task is not None
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert task.state == "failed"
    other.join(20)
    assert states()["make", -1] == "queued"


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("task_id", "map_index", "conn_id"), [("make", -1, "one"), ("mapped", 1, "two"), ("templated", -1, "")]
)
def test_an_argument_is_that_of_the_dag_unless_it_is_a_template(
    task_id: str, map_index: int, conn_id: str
) -> None:
    ref = TaskRef(dag_id="core", run_id="run", task_id=task_id, map_index=map_index)
    with airflow_core.locked_task(ref) as task:
        assert task is not None
        assert task.rendered_argument("vidgen_conn_id") == conn_id


def test_the_rendered_argument_wins(run: str) -> None:
    write(
        run,
        "insert into rendered_task_instance_fields (dag_id, run_id, task_id, map_index, rendered_fields) "
        "values ('core', 'run', 'templated', -1, '{\"vidgen_conn_id\": \"three\"}')",
    )
    with airflow_core.locked_task(TaskRef(dag_id="core", run_id="run", task_id="templated")) as task:
        assert task is not None
        assert task.rendered_argument("vidgen_conn_id") == "three"


@pytest.mark.parametrize(
    ("task_id", "map_index", "cleared"),
    [("make", -1, {("make", -1), ("publish", -1)}), ("mapped", 1, {("mapped", 1), ("publish", -1)})],
)
def test_a_clear_takes_those_downstream_along_and_queues_the_run(
    run: str, task_id: str, map_index: int, cleared: set[Any]
) -> None:
    ref = TaskRef(dag_id="core", run_id="run", task_id=task_id, map_index=map_index)
    with airflow_core.locked_task(ref) as task:
        assert task is not None
        assert task.clear() == 2
    after = states()
    assert {key for key in STATES if after[key] != (STATES[key] or "not scheduled")} == cleared
    assert {after[key] for key in cleared} == {"not scheduled"}
    assert run_state(run) == "queued"


def test_a_running_task_downstream_prevents_the_clear_and_everything_else(run: str) -> None:
    write(run, "update task_instance set state = 'running' where task_id = 'publish'")
    before = states()

    def write_and_clear() -> None:
        with airflow_core.locked_task(MAKE) as task:
            assert task is not None
            task.store.set("lost", 1)
            task.clear()

    with pytest.raises(CannotClear, match="a task downstream of it is running"):
        write_and_clear()
    assert states() == before
    assert run_state(run) == "failed"
    with airflow_core.locked_task(MAKE) as task:
        assert task is not None
        assert task.store.get("lost") is None


def test_a_task_that_its_dag_no_longer_has_cannot_be_cleared(run: str) -> None:
    write(run, "update task_instance set task_id = 'gone' where task_id = 'templated'")
    with airflow_core.locked_task(TaskRef(dag_id="core", run_id="run", task_id="gone")) as task:
        assert task is not None
        assert task.rendered_argument("vidgen_conn_id") == ""
        with pytest.raises(CannotClear, match="its Dag, or this task of it, is not in the database"):
            task.clear()


@pytest.mark.usefixtures("database")
def test_hooks_find_the_connections_of_the_environment_and_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that the environment is restored afterwards.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    airflow_core.use_connections_of_the_database()
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_HERE", '{"conn_type": "vidgen", "host": "example.com"}')
    with create_session() as session:
        session.add(Connection(conn_id="vidgen_stored", conn_type="vidgen", host="example.org"))
    assert VideoGenHook.get_connection("vidgen_here").host == "example.com"
    assert VideoGenHook.get_connection("vidgen_stored").host == "example.org"
    with pytest.raises(AirflowNotFoundException):
        VideoGenHook.get_connection("vidgen_elsewhere")
