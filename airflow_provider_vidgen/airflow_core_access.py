# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What the Videos tab uses of Airflow's internals: who may see and do what, the audit log, database sessions.

For code in the API server. Tested with apache-airflow 3.3.2. Internal modules are imported where they are
used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any


def editable_dag_ids(dag_ids: Collection[str], user: Any, session: Any) -> set[str]:
    """Return those Dags whose task instances a user may clear, as Airflow's own route for that checks it."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.models.dag import DagModel

    teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids), session=session) if dag_ids else {}
    manager = get_auth_manager()
    return {
        dag_id
        for dag_id in dag_ids
        if manager.is_authorized_dag(
            method="PUT",
            access_entity=DagAccessEntity.TASK_INSTANCE,
            details=DagDetails(id=dag_id, team_name=teams.get(dag_id)),
            user=user,
        )
    }


def readable_dag_ids(user: Any, session: Any) -> set[str]:
    """Return the Dags that a user may read."""
    from airflow.api_fastapi.app import get_auth_manager

    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET", session=session)


def dependencies(*, edit: bool) -> Sequence[Any]:
    """
    Return the FastAPI dependencies that authorise a request for the Dag that its query names, if any.

    To read, a user needs access to the Dag's task instances and to their XComs, which hold what is shown.

    :param edit: also require what clearing a task instance requires.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    found = [
        _depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE)),
        _depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM)),
    ]
    if edit:
        found.append(_depends(requires_access_dag(method="PUT", access_entity=DagAccessEntity.TASK_INSTANCE)))
    return found


def audit(event: str) -> Sequence[Any]:
    """Return the FastAPI dependency that writes an action into Airflow's audit log, under this name."""
    from airflow.api_fastapi.logging.decorators import action_logging

    return [_depends(action_logging(event=event))]


def session_dependency() -> Any:
    """Return the FastAPI dependency for a database session, which ends before the response is sent."""
    from airflow.api_fastapi.common.db.common import _get_session
    from fastapi import Depends

    return Depends(_get_session, scope="function")


def user_dependency() -> Any:
    """Return the FastAPI dependency for the user."""
    from airflow.api_fastapi.core_api.security import get_user

    return _depends(get_user)


def _depends(function: Any) -> Any:
    from fastapi import Depends

    return Depends(function)
