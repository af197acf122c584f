# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Use a synchronous endpoint: one request that blocks until the video is finished.

The task does not defer. If the connection is lost after the request was sent, it is unknown whether the
video was generated and billed. The task then fails instead of submitting again, because
both submissions could be billed. A clear submits again.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="vidgen_p_video", schedule=None, tags=["vidgen"], doc_md=__doc__):
    VideoGenerationOperator(
        task_id="cat",
        vidgen_conn_id="vidgen_apimodels",
        model="p-video",
        prompt="A cat playing piano in a jazz club, cinematic lighting",
        output_path="file:///tmp/vidgen/cat/",
    )
