# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Many videos at a vendor that takes ten at once and sixty requests a minute; nothing is tuned."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="apixo", schedule=None):
    VideoGenerationOperator.partial(
        task_id="video",
        vidgen_conn_id="vidgen_apixo",
        model="grok-video",
        duration=6,
        aspect_ratio="16:9",
        resolution="480p",
        deferrable=True,
        output_path=os.environ["VIDGEN_BENCH_FOLDER"] + "/apixo/",
    ).expand(
        prompt=[
            f"a velvet pangolin, number {number}" for number in range(int(os.environ["VIDGEN_BENCH_APIXO"]))
        ]
    )
