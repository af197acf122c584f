# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What the Videos tab uses of Airflow's internals: task instances with their XComs; :mod:`.airflow_core_access`
has who may see them.

For code in the API server. Tested with apache-airflow 3.3.2. Internal modules are imported where they are
used.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow_provider_vidgen.video_status import PROGRESS_KEY, VIDEO_KEY

#: Operators whose task instances are shown before they have reported anything.
_OPERATORS = ("VideoGenerationOperator", "VideoTaskSensor")


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoTask:
    """
    A task instance that has a video, or will.

    :param map_index: -1 if it is not mapped.
    :param state: empty for Airflow's ``None``.
    :param name: the name of a mapped instance, empty if it has none.
    :param run_order: ascends with the age of runs, newest last.
    :param retry_at: when its next try starts, if a try is pending.
    :param was_rescheduled: this try has waited before, rescheduled; each start deletes the task's XComs.
    :param video: value of the XCom ``video``: whatever a task or a person has written.
    :param progress: value of the XCom ``progress``, likewise.
    :param reported_at: when the XCom ``video`` was set.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    try_number: int
    operator: str
    name: str
    run_order: int
    retry_at: datetime | None
    was_rescheduled: bool
    video: Any
    progress: Any
    reported_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What identifies the task instance."""
        return self.dag_id, self.run_id, self.task_id, self.map_index


@dataclass(frozen=True, kw_only=True)
class RunVideos:
    """All videos of a run."""

    dag_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class NewestVideos:
    """
    The videos that were reported last.

    :param dag_ids: the Dags to look into.
    :param task_id: of these tasks only; ``None`` for all.
    :param before: a :func:`cursor`: only those reported before that one; empty for the newest.
    :param limit: number of videos.
    """

    dag_ids: Collection[str]
    task_id: str | None = None
    before: str = ""
    limit: int = 1_000


Scope = RunVideos | NewestVideos


class BadCursor(ValueError):
    """The text is not a cursor."""


def age_order(task: VideoTask) -> tuple[Any, ...]:
    """Return a key that sorts videos by when they were reported, the oldest first."""
    return task.reported_at, task.run_order, task.task_id, task.map_index


def cursor(task: VideoTask) -> str:
    """Return the position of a video among all, see :func:`age_order`."""
    assert task.reported_at is not None
    return json.dumps(
        [task.reported_at.isoformat(), task.run_order, task.task_id, task.map_index], separators=(",", ":")
    )


def video_tasks(scope: Scope, session: Any) -> list[VideoTask]:
    """
    Return the task instances of a scope, by task and map index; the newest run first.

    One query. Another one per Dag version where a try is pending, for the time of that try.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance as TI
    from airflow.models.taskreschedule import TaskReschedule
    from sqlalchemy import select

    joined = _Joined(scope)
    was_rescheduled = select(TaskReschedule.id).where(TaskReschedule.ti_id == TI.id).exists()
    query = joined.apply(
        select(
            *(TI.dag_id, TI.run_id, TI.task_id, TI.map_index, TI.state, TI.try_number, TI.operator),
            *(TI._rendered_map_index.label("name"), TI.end_date, TI.retry_delay_override, TI.dag_version_id),
            *(DagRun.id.label("run_order"), DagRun.logical_date),
            was_rescheduled.label("was_rescheduled"),
            joined.video.value.label("video"),
            joined.video.timestamp.label("reported_at"),
            joined.progress.value.label("progress"),
        )
    )
    rows = session.execute(query).all()
    found = [
        VideoTask(
            dag_id=row.dag_id,
            run_id=row.run_id,
            task_id=row.task_id,
            map_index=row.map_index,
            state=str(row.state) if row.state else "",
            try_number=row.try_number,
            operator=row.operator or "",
            name=row.name or "",
            run_order=row.run_order,
            retry_at=_retry_time(row, session) if row.state == "up_for_retry" else None,
            was_rescheduled=bool(row.was_rescheduled),
            video=_xcom(row.video),
            progress=_xcom(row.progress),
            reported_at=row.reported_at,
        )
        for row in rows
    ]
    found.sort(key=lambda task: (-task.run_order, task.task_id, task.map_index))
    return found


@dataclass(frozen=True, kw_only=True)
class ScopeState:
    """
    What a scope is like now, without its videos.

    :param version: changes whenever a task instance or an XCom of the scope does.
    :param is_active: a task of it has not ended.
    """

    version: list[str]
    is_active: bool


def scope_state(scope: Scope, session: Any) -> ScopeState:
    """
    Return the state of a scope: one aggregated query that reads no XCom's value.

    The sums of minutes and seconds see a change by a server whose clock is behind, which does not raise a
    maximum.
    """
    from airflow.models.taskinstance import TaskInstance as TI
    from airflow.utils.state import State
    from sqlalchemy import extract, func, select

    joined = _Joined(scope)
    columns: list[Any] = [TI.state, TI.dag_id, TI.task_id, func.count(), func.sum(TI.map_index)]
    columns += [func.sum(TI.try_number)]
    for time in (TI.updated_at, joined.video.timestamp, joined.progress.timestamp):
        columns += [func.count(time), func.max(time)]
        columns += [func.sum(extract("minute", time)), func.sum(extract("second", time))]
    query = joined.apply(select(*columns), aggregated=True).group_by(TI.state, TI.dag_id, TI.task_id)
    rows = [tuple(row) for row in session.execute(query)]
    return ScopeState(
        version=sorted(map(str, rows)),
        is_active=any(row[0] not in State.finished for row in rows),
    )


def reported_video(dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
    """Return the value of the XCom ``video`` of a task instance; ``None`` if there is none."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(XComModel.value).where(
        XComModel.dag_id == dag_id,
        XComModel.run_id == run_id,
        XComModel.task_id == task_id,
        XComModel.map_index == map_index,
        XComModel.key == VIDEO_KEY,
    )
    with create_session(scoped=False) as session:
        return _xcom(session.scalar(query))


class _Joined:
    """Task instances joined with their run and with their two XComs."""

    def __init__(self, scope: Scope) -> None:
        from airflow.models.xcom import XComModel
        from sqlalchemy.orm import aliased

        self._scope = scope
        self.video = aliased(XComModel, name="video")
        self.progress = aliased(XComModel, name="progress")

    def apply(self, query: Any, *, aggregated: bool = False) -> Any:
        """Add the tables and the conditions of the scope to a query."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance as TI
        from sqlalchemy import and_, or_

        scope = self._scope
        if isinstance(scope, RunVideos):
            query = query.select_from(TI).outerjoin(self.video, self._is_of_ti(self.video, VIDEO_KEY))
            query = query.where(TI.dag_id == scope.dag_id, TI.run_id == scope.run_id).where(
                or_(self.video.key.is_not(None), TI.operator.in_(_OPERATORS))
            )
        else:
            # The window is found in the XComs alone, and joined afterwards.
            window = self._window(scope)
            query = query.select_from(window)
            keys = ("dag_id", "run_id", "task_id", "map_index")
            query = query.join(TI, and_(*(getattr(TI, key) == window.c[key] for key in keys)))
            query = query.join(self.video, self._is_of_ti(self.video, VIDEO_KEY))
        query = query.outerjoin(self.progress, self._is_of_ti(self.progress, PROGRESS_KEY))
        if aggregated:
            return query
        return query.join(DagRun, and_(DagRun.dag_id == TI.dag_id, DagRun.run_id == TI.run_id))

    def _window(self, scope: NewestVideos) -> Any:
        from airflow.models.xcom import XComModel as X
        from sqlalchemy import select, tuple_

        order = (X.timestamp, X.dag_run_id, X.task_id, X.map_index)
        query = select(X.dag_id, X.run_id, X.task_id, X.map_index)
        query = query.where(X.key == VIDEO_KEY, X.dag_id.in_(list(scope.dag_ids)))
        if scope.task_id is not None:
            query = query.where(X.task_id == scope.task_id)
        if scope.before:
            query = query.where(tuple_(*order) < tuple_(*_parse_cursor(scope.before)))
        return query.order_by(*(column.desc() for column in order)).limit(scope.limit).subquery()

    @staticmethod
    def _is_of_ti(xcom: Any, key: str) -> Any:
        from airflow.models.taskinstance import TaskInstance as TI
        from sqlalchemy import and_

        return and_(
            xcom.dag_id == TI.dag_id,
            xcom.run_id == TI.run_id,
            xcom.task_id == TI.task_id,
            xcom.map_index == TI.map_index,
            xcom.key == key,
        )


def _parse_cursor(text: str) -> tuple[Any, ...]:
    from airflow.models.xcom import XComModel as X
    from sqlalchemy import literal

    try:
        time, run_order, task_id, map_index = json.loads(text)
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        raise BadCursor(text) from None
    if moment.tzinfo is None or type(run_order) is not int or type(map_index) is not int:
        raise BadCursor(text)
    if not isinstance(task_id, str) or not all(abs(number) < 2**31 for number in (run_order, map_index)):
        raise BadCursor(text)
    return literal(moment, X.timestamp.type), run_order, task_id, map_index


def _xcom(value: Any) -> Any:
    """
    Decode an XCom's value as it is in the database: JSON, or text that holds JSON.

    Not ``XComModel.deserialize_value``: it builds objects of any class that the value names, and these XComs
    have none.
    """
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value


@functools.cache
def _dag_bag() -> Any:
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    return create_dag_bag()


def _retry_time(row: Any, session: Any) -> datetime | None:
    """Return when the next try of a task instance starts; ``None`` if its Dag is not known any more."""
    from airflow.models.taskinstance import TaskInstance

    try:
        dag = _dag_bag().get_dag(row.dag_version_id, session=session) if row.dag_version_id else None
        # The method needs no more of a task instance than this.
        instance: Any = SimpleNamespace(
            dag_id=row.dag_id,
            task_id=row.task_id,
            logical_date=row.logical_date,
            try_number=row.try_number,
            end_date=row.end_date,
            retry_delay_override=row.retry_delay_override,
            # Not needed where a retry policy has set the delay.
            task=dag.get_task(row.task_id) if dag is not None else None,
        )
        found: datetime = TaskInstance.next_retry_datetime(instance)  # type: ignore[no-untyped-call]
        return found
    except Exception:
        # For display only: without a Dag, a task or an end there is no such time.
        return None
