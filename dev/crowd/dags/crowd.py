# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Tasks for the crowd: as many for each vendor as the environment says, in a pool where none ever runs."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="crowd", schedule=None):
    for vendor, count in json.loads(os.environ["VIDGEN_CROWD"]).items():
        VideoGenerationOperator.partial(
            task_id=vendor,
            vidgen_conn_id=f"vidgen_{vendor}",
            model="grok-video",
            pool="nobody_runs",
            deferrable=True,
        ).expand(prompt=[f"a velvet pangolin, number {number}" for number in range(count)])
