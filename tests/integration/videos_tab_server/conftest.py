# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An Airflow database with videos, and the routes of the Videos tab in front of it, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

#: Dags that the users of these tests know.
DAG, OTHER_DAG = "marketing_videos", "secret_videos"
RUN = "scheduled__2026-11-21T00:00:00+00:00"
START = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


class VideosInDatabase:
    """Writes Dags, runs, task instances and XComs, as Airflow's components would."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def add_run(self, dag_id: str = DAG, run_id: str = RUN) -> int:
        """Write a run, and its Dag if it is new; return the run's id."""
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.types import DagRunType

        with create_session() as session:
            if session.get(DagBundleModel, "dags-folder") is None:
                session.add(DagBundleModel(name="dags-folder"))
                session.flush()
            if session.get(DagModel, dag_id) is None:
                session.add(DagModel(dag_id=dag_id, bundle_name="dags-folder", fileloc="x"))
            run = DagRun(
                dag_id=dag_id,
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                run_after=START,
                logical_date=START.replace(microsecond=next(self._numbers)),
            )
            session.add(run)
            session.flush()
            return int(run.id)

    def add_tasks(
        self,
        rows: list[dict[str, Any]],
        *,
        dag_run_id: int,
        dag_id: str = DAG,
        run_id: str = RUN,
    ) -> None:
        """
        Write task instances with their XComs.

        :param rows: of each the columns ``map_index``, ``state`` and so on, and the XComs ``video`` and
            ``progress``.
        """
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import insert
        from uuid6 import uuid7

        instances, xcoms = [], []
        for row in rows:
            row = dict(row)
            keys = {"dag_id": dag_id, "run_id": run_id, "task_id": row.pop("task_id", "make_video")}
            keys["map_index"] = row.pop("map_index", -1)
            for key in ("video", "progress"):
                if key in row:
                    xcoms.append(
                        {
                            **keys,
                            "dag_run_id": dag_run_id,
                            "key": key,
                            "value": XComModel.serialize_value(row.pop(key)),
                            "timestamp": row.get("reported_at", START),
                        }
                    )
            row.pop("reported_at", None)
            instances.append(
                {
                    "id": uuid7(),
                    **keys,
                    "pool": "default_pool",
                    "pool_slots": 1,
                    "operator": row.pop("operator", "VideoGenerationOperator"),
                    "try_number": row.pop("try_number", 1),
                    "state": row.pop("state", None),
                    "_rendered_map_index": row.pop("name", None),
                    "updated_at": START,
                    "end_date": row.pop("end_date", None),
                }
            )
            assert not row, row
        with create_session() as session:
            session.execute(insert(TaskInstance), instances)
            if xcoms:
                session.execute(insert(XComModel), xcoms)


@pytest.fixture(scope="session")
def _tables() -> None:
    """The tables of Airflow's database, without its migrations."""
    from airflow import settings
    from airflow.models.base import Base
    from airflow.utils.db import import_all_models

    import_all_models()
    settings.configure_orm()
    Base.metadata.create_all(settings.engine)


@pytest.fixture
def database(_tables: None) -> VideosInDatabase:
    """An empty database."""
    from airflow import settings
    from airflow.models.base import Base

    with settings.engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return VideosInDatabase()


@dataclass
class Tab:
    """The tab as a user's browser or script reaches it."""

    app: FastAPI

    def user(self, role: str = "admin", name: str = "") -> TestClient:
        """Return a client that is logged in, by the cookie of Airflow's UI."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name or role, role=role))
        client = self.stranger()
        client.cookies.set("_token", token)
        return client

    def stranger(self) -> TestClient:
        """Return a client that is not logged in."""
        return TestClient(self.app, base_url="http://airflow.test/vidgen/", follow_redirects=False)


@pytest.fixture
def tab(database: VideosInDatabase, monkeypatch: pytest.MonkeyPatch) -> Tab:
    """The tab in an API server whose user ``outsider`` may only read Dags other than :data:`OTHER_DAG`."""
    from airflow.api_fastapi import app as api_app

    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.support.dag_level_access.DagLevelAccess")
    monkeypatch.setattr(api_app._AuthManagerState, "instance", None)
    api_app.create_auth_manager().init()
    from airflow_provider_vidgen.plugins.vidgen import VidgenPlugin

    root = FastAPI()
    for app in VidgenPlugin.fastapi_apps:
        root.mount(app["url_prefix"], app["app"])
    return Tab(root)


@pytest.fixture
def count_queries() -> Callable[[], Any]:
    """Collect the SQL statements that are executed in a ``with`` block."""

    @contextmanager
    def counting() -> Iterator[list[str]]:
        from airflow import settings
        from sqlalchemy import event

        statements: list[str] = []

        def record(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(settings.engine, "before_cursor_execute", record)
        try:
            yield statements
        finally:
            event.remove(settings.engine, "before_cursor_execute", record)

    return counting
