# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Videos in an Airflow database, written as Airflow's components would, without running anything."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

#: When everything was written, unless a row says otherwise.
START = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


class VideosInDatabase:
    """Writes Dags, runs, task instances and XComs, as Airflow's components would."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def add_run(self, dag_id: str, run_id: str) -> int:
        """Write a run, and its Dag if it is new; return the run's id."""
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType

        with create_session() as session:
            if session.get(DagBundleModel, "dags-folder") is None:
                session.add(DagBundleModel(name="dags-folder"))
                session.flush()
            if session.get(DagModel, dag_id) is None:
                dag: Any = DagModel
                session.add(dag(dag_id=dag_id, bundle_name="dags-folder", fileloc="x"))
            run = DagRun(
                dag_id=dag_id,
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                # Finished, so that a scheduler leaves it alone.
                state=DagRunState.SUCCESS,
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
        dag_id: str,
        run_id: str,
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
