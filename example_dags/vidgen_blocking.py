# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Wait on the worker, for an Airflow without a triggerer.

The worker slot is occupied until the video is finished. As in deferrable mode, a retry re-attaches to
the same job, even after a worker crash.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="vidgen_blocking", schedule=None, tags=["vidgen"], doc_md=__doc__):
    VideoGenerationOperator(
        task_id="dog",
        vidgen_conn_id="vidgen_apimart",
        model="grok-imagine-1.0-video-apimart",
        prompt="A dog running on the beach, sunny weather, slow motion",
        duration=6,
        aspect_ratio="16:9",
        resolution="720p",
        deferrable=False,
        timeout=1200,
        output_path="file:///tmp/vidgen/dog/",
        retries=2,
    )
