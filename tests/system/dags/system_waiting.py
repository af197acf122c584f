# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Sensors for jobs that Airflow did not submit, and the synchronous endpoint."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor

JOB: dict[str, Any] = {"vidgen_conn_id": "vidgen_apixo", "model": "grok-video", "timeout": 300}

with DAG(
    "system_sensors",
    schedule=None,
    params={"deferred": Param("", type="string"), "poked": Param("", type="string")},
):
    VideoTaskSensor(
        task_id="deferred", job_id="{{ params.deferred }}", poll_interval=1, deferrable=True, **JOB
    )
    VideoTaskSensor(task_id="poked", job_id="{{ params.poked }}", poke_interval=1, deferrable=False, **JOB)

with DAG("system_p_video", schedule=None):
    VideoGenerationOperator(
        task_id="generate",
        vidgen_conn_id="vidgen_apimodels",
        model="p-video",
        prompt="a velvet pangolin at the piano",
        deferrable=True,
    )
