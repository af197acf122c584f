# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Task instances with videos, as the database returns them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_vidgen.airflow_core_videos import VideoTask
from airflow_provider_vidgen.videos_tab.cards import build_card
from airflow_provider_vidgen.videos_tab.videos import Video, find_videos
from airflow_provider_vidgen.videos_tab.view import Card

NOW = datetime(2026, 11, 21, 14, 9, tzinfo=UTC)


def ago(seconds: float) -> str:
    """Return a time before :data:`NOW`, as tasks write it."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def video(state: str, **values: Any) -> dict[str, Any]:
    """Return the value of an XCom ``video``."""
    known = {"since": ago(80), "vendor": "apixo", "vendor_name": "Apixo", "model": "grok-video"}
    return {"v": 1, "state": state, **known, **values}


def task(state: str = "success", **values: Any) -> VideoTask:
    """Return a task instance."""
    defaults: dict[str, Any] = {
        "dag_id": "marketing_videos",
        "run_id": "manual__1",
        "task_id": "make_video",
        "map_index": -1,
        "try_number": 1,
        "operator": "VideoGenerationOperator",
        "name": "",
        "run_order": 1,
        "retry_at": None,
        "was_rescheduled": False,
        "video": None,
        "progress": None,
        "reported_at": NOW,
    }
    return VideoTask(**{**defaults, "state": state, **values})


def only_video(*tasks: VideoTask, whole_runs: bool = True) -> Video:
    """Return the one video of some task instances."""
    (found,) = find_videos(tasks, whole_runs=whole_runs)
    return found


def card(*tasks: VideoTask, may_edit: bool = True, across_runs: bool = False) -> Card:
    """Return the card of the one video of some task instances."""
    editable = {tasks[0].dag_id} if may_edit else set()
    return build_card(only_video(*tasks), now=NOW, editable=editable, across_runs=across_runs)
