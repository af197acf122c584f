# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Videos that are finished at the first poll, with a connection that is stored in Airflow's database."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

VIDEOS = 8

with DAG("system_early", schedule=None):
    VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="vidgen_stored",
        model="grok-video-3",
        duration=5,
        poll_interval=0.5,
        deferrable=True,
        retries=2,
    ).expand(prompt=[f"velvet pangolin number {number} [sim:fast]" for number in range(VIDEOS)])
