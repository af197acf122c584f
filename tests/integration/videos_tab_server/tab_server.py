# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An Airflow database with videos, and the Videos tab as a user's browser reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.testclient import TestClient

import dev.videos_in_database
from dev.videos_in_database import START as START

#: Dags that the users of these tests know.
DAG, OTHER_DAG = "marketing_videos", "secret_videos"
RUN = "scheduled__2026-11-21T00:00:00+00:00"


class VideosInDatabase(dev.videos_in_database.VideosInDatabase):
    """The same, with a default Dag and run."""

    def add_run(self, dag_id: str = DAG, run_id: str = RUN) -> int:
        return super().add_run(dag_id, run_id)

    def add_tasks(
        self, rows: list[dict[str, Any]], *, dag_run_id: int, dag_id: str = DAG, run_id: str = RUN
    ) -> None:
        super().add_tasks(rows, dag_run_id=dag_run_id, dag_id=dag_id, run_id=run_id)


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
