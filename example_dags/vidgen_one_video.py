# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Generate one video from a prompt and store it as a file: the shortest useful Dag."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="vidgen_one_video", schedule=None, tags=["vidgen"], doc_md=__doc__):
    VideoGenerationOperator(
        task_id="lake",
        vidgen_conn_id="vidgen_apixo",
        model="grok-video",
        prompt="a peaceful lakeside at sunset with gentle waves",
        duration=6,
        aspect_ratio="16:9",
        resolution="480p",
        deferrable=True,
        output_path="file:///tmp/vidgen/lake/",
    )
