# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A Dag for the tests of metrics and lineage: one video is made and downloaded, and others are not."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

FOLDER = "{{ dag_run.conf['folder'] }}"

with DAG("telemetry", schedule=None, default_args={"retries": 0, "poster": False, "duration": 6}):
    made = VideoGenerationOperator(
        task_id="made",
        vidgen_conn_id="vidgen_apimart",
        prompt="a velvet pangolin in the news [sim:slow=100]",
        model="grok-imagine-1.0-video-apimart",
        resolution="480p",
        image_urls=["https://images.example.com/pose.png?sig=marmalade"],
        output_path=f"{FOLDER}/made.mp4",
        deferrable=True,
        poll_interval=1,
    )
    VideoDownloadOperator(
        task_id="downloaded",
        vidgen_conn_id="vidgen_apimart",
        video=made.output,  # type: ignore[arg-type]
        output_path=f"{FOLDER}/copy.mp4",
    )
    VideoGenerationOperator(
        task_id="rejected",
        vidgen_conn_id="vidgen_apixo",
        prompt="a velvet pangolin behaving badly [sim:fail=CONTENT_VIOLATION:No pangolins please]",
        model="grok-video",
        resolution="480p",
        deferrable=False,
        poll_interval=1,
    )
    VideoGenerationOperator(
        task_id="unknown",
        vidgen_conn_id="vidgen_apimodels",
        prompt="a velvet pangolin that nobody has seen",
        model="grok-video-3",
        duration=5,
    )
    VideoGenerationOperator(
        task_id="waiting",
        vidgen_conn_id="vidgen_apixgo",
        prompt="a velvet pangolin in line",
        model="grok-image-video",
    )
