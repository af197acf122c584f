# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Wait for a job that was submitted elsewhere, and download its video.

Trigger it with the vendor's job id: ``{"job_id": "task_12345678"}``. Nothing is submitted or billed.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor

with DAG(
    dag_id="vidgen_wait_for_job",
    schedule=None,
    tags=["vidgen"],
    doc_md=__doc__,
    params={
        "job_id": Param(type="string", minLength=1),
        "vidgen_conn_id": Param("vidgen_apixo", type="string"),
        "model": Param("grok-video", type="string"),
    },
):
    wait = VideoTaskSensor(
        task_id="wait",
        vidgen_conn_id="{{ params.vidgen_conn_id }}",
        job_id="{{ params.job_id }}",
        model="{{ params.model }}",
        deferrable=True,
        timeout=1800,
    )
    VideoDownloadOperator(
        task_id="download",
        vidgen_conn_id="{{ params.vidgen_conn_id }}",
        output_path="file:///tmp/vidgen/found/",
        video=wait.output,
    )
