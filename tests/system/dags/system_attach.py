# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Tasks that are killed, cleared or marked failed while their job goes on at the vendor."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

ORDER: dict[str, Any] = {
    "vidgen_conn_id": "vidgen_apimodels",
    "model": "grok-video-3",
    "duration": 5,
    "poll_interval": 1,
}

with DAG(
    "system_attach",
    schedule=None,
    # Before the other Dags' tasks, because these have the most steps.
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1), "priority_weight": 20},
):
    for name in ("killed_task", "killed_worker"):
        VideoGenerationOperator(
            task_id=name,
            prompt=f"a velvet pangolin, {name} [sim:stuck]",
            deferrable=False,
            **ORDER,
        )
    VideoGenerationOperator(
        task_id="delivered", prompt="a velvet pangolin, delivered", deferrable=False, **ORDER
    )
    for name in ("deferred", "marked_failed"):
        VideoGenerationOperator(
            task_id=name, prompt=f"a velvet pangolin, {name} [sim:stuck]", deferrable=True, **ORDER
        )
