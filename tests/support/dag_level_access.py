# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An auth manager with access by Dag, for tests."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class DagLevelAccess(SimpleAuthManager):
    """
    Roles as in Airflow's simple auth manager, and three users with less.

    ``outsider`` has no access to Dags whose id begins with ``secret``; ``no-xcoms`` none to XComs;
    ``no-dags`` none to any Dag.
    """

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None
    ) -> bool:
        """Whether a user has access to a Dag, or to a part of it."""
        name, dag_id = user.get_name(), (details.id if details else None) or ""
        if name == "no-dags" or (name == "outsider" and dag_id.startswith("secret")):
            return False
        if name == "no-xcoms" and access_entity is DagAccessEntity.XCOM:
            return False
        return bool(
            super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
        )

    def filter_authorized_dag_ids(
        self, *, dag_ids: set[str], user: Any, method: Any = "GET", team_name: str | None = None
    ) -> set[str]:
        """Return those Dags that a user has access to."""
        name = user.get_name()
        if name == "no-dags":
            return set()
        return {dag_id for dag_id in dag_ids if name != "outsider" or not dag_id.startswith("secret")}
