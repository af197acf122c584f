# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""More videos than the account's limit of five jobs, with and without ``max_concurrent``."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

for name in ("known_limit", "unknown_limit"):
    with DAG(dag_id=f"account_{name}", schedule=None):
        VideoGenerationOperator.partial(
            task_id="video",
            vidgen_conn_id=f"bench_{name}",
            model="grok-image-video",
            duration=4,
            resolution="480p",
            deferrable=True,
            output_path=os.environ["VIDGEN_BENCH_FOLDER"] + f"/account_{name}/",
        ).expand(
            prompt=[
                f"a velvet pangolin, number {number}"
                for number in range(int(os.environ["VIDGEN_BENCH_ACCOUNT_VIDEOS"]))
            ]
        )
