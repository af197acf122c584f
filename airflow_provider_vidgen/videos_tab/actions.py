# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The actions of a card, as POST routes: each does what the command of that name does.

Nobody may act who may not clear the task in Airflow, and each action is in Airflow's audit log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_vidgen import airflow_core_access
from airflow_provider_vidgen.errors import TaskRef
from airflow_provider_vidgen.videos_tab import paths
from airflow_provider_vidgen.videos_tab.same_origin import refuse_other_sites

_log = logging.getLogger(__name__)


class ActionBody(BaseModel):
    """
    The body of an action.

    :param clear: clear the task afterwards, so that its next try runs at once.
    """

    model_config = ConfigDict(extra="forbid")

    clear: bool = True


class AdoptBody(ActionBody):
    """
    The body of ``adopt``.

    :param job_id: from the vendor's console.
    """

    job_id: str = Field(min_length=1, max_length=300)


def _task(
    dag_id: str = Query(min_length=1),
    run_id: str = Query(min_length=1),
    task_id: str = Query(min_length=1),
    map_index: int = Query(-1, ge=-1, le=paths.MAX_MAP_INDEX),
) -> TaskRef:
    return TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)


_TASK: Any = Depends(_task)


def actions_router() -> APIRouter:
    """Return the routes; they need what clearing a task instance needs."""
    router = APIRouter(
        dependencies=[*airflow_core_access.dependencies(edit=True), Depends(refuse_other_sites)]
    )

    @router.post(f"/{paths.REGENERATE}", dependencies=airflow_core_access.audit("vidgen_regenerate"))
    def regenerate(body: ActionBody, task: TaskRef = _TASK) -> dict[str, str]:
        """Make a new, paid video."""
        return _act(lambda actions: actions.regenerate(task, clear=body.clear))

    @router.post(f"/{paths.ADOPT}", dependencies=airflow_core_access.audit("vidgen_adopt"))
    def adopt(body: AdoptBody, task: TaskRef = _TASK) -> dict[str, str]:
        """Give the task a job from the vendor's console."""
        return _act(lambda actions: actions.adopt(task, body.job_id.strip(), clear=body.clear))

    @router.post(f"/{paths.LOOK_AGAIN}", dependencies=airflow_core_access.audit("vidgen_look_again"))
    def look_again(body: ActionBody, task: TaskRef = _TASK) -> dict[str, str]:
        """Look for the task's job at the vendor again."""
        return _act(lambda actions: actions.look_again(task, clear=body.clear))

    return router


def _act(action: Callable[[Any], str]) -> dict[str, str]:
    # Here, because it imports the HTTP client, which showing pages does not need.
    from airflow_provider_vidgen import task_actions

    try:
        return {"message": action(task_actions)}
    except task_actions.ActionRefused as refusal:
        raise HTTPException(409, str(refusal)) from None
    except Exception as error:
        _log.exception("An action of the Videos tab failed")
        raise HTTPException(
            500,
            f"The action failed ({type(error).__name__}); the API server's log has the details. Look at the "
            "task before you repeat it.",
        ) from None
