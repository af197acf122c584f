# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""More videos than Apixo's limits permit at once: ten jobs, and sixty requests a minute."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="apixo_limits", schedule=None):
    VideoGenerationOperator.partial(
        task_id="video",
        vidgen_conn_id="vidgen_apixo",
        model="grok-video",
        duration=6,
        aspect_ratio="16:9",
        resolution="480p",
        deferrable=True,
        output_path=os.environ["VIDGEN_BENCH_FOLDER"] + "/apixo_limits/",
    ).expand(
        prompt=[
            f"a velvet pangolin, number {number}"
            for number in range(int(os.environ["VIDGEN_BENCH_APIXO_VIDEOS"]))
        ]
    )
