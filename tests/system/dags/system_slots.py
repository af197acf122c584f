# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""More deferred videos than Airflow runs tasks in parallel, and another task in the same pool of one slot."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

VIDEOS = 9
POOL = "vidgen_one"

with DAG("system_slots", schedule=None):
    VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="vidgen_apixgo",
        model="grok-image-video",
        duration=4,
        resolution="480p",
        poll_interval=2,
        deferrable=True,
        pool=POOL,
    ).expand(prompt=[f"velvet pangolin number {number} [sim:stuck]" for number in range(VIDEOS)])

with DAG("system_bystander", schedule=None):

    @task(pool=POOL)
    def pass_by() -> str:
        return "passed"

    pass_by()
