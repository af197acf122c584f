# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An Airflow database with videos, and the Videos tab as a user's browser reaches it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

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


def page(route: str, query: Mapping[str, Any]) -> str:
    """Return the path of a route with its query."""
    return f"{route}?{urlencode(query)}"


def run_page(route: str = "videos", **query: Any) -> str:
    """Return the path of a route about the run :data:`RUN`."""
    return page(route, {"dag_id": DAG, "run_id": RUN, **query})
