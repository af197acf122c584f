# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Contender: this provider's operator with its defaults."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

for videos in map(int, os.environ["VIDGEN_BENCH_VIDEOS"].split(",")):
    with DAG(dag_id=f"vidgen_{videos}", schedule=None):
        VideoGenerationOperator.partial(
            task_id="video",
            vidgen_conn_id="vidgen_apimodels",
            model="grok-video-3",
            aspect_ratio="16:9",
            resolution="720p",
            deferrable=True,
            output_path=os.environ["VIDGEN_BENCH_FOLDER"] + "/vidgen/",
        ).expand(prompt=[f"a velvet pangolin, number {number}" for number in range(videos)])
