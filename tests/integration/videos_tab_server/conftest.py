# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An Airflow database, and the routes of the Videos tab in front of it, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from tab_server import Tab, VideosInDatabase

#: It would log its shutdown after pytest has closed the log.
logging.getLogger("asyncssh").setLevel(logging.CRITICAL)


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


@pytest.fixture
def tab(database: VideosInDatabase, monkeypatch: pytest.MonkeyPatch) -> Tab:
    """The tab in an API server whose user ``outsider`` may only read Dags other than :data:`OTHER_DAG`."""
    from airflow.api_fastapi import app as api_app

    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.support.dag_level_access.DagLevelAccess")
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
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
