# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The deferred tasks of the load test: one mapped task for each vendor, in a pool without slots."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="trigger_load", schedule=None):
    for vendor, count in json.loads(os.environ["VIDGEN_TRIGGER_LOAD"]).items():
        VideoGenerationOperator.partial(
            task_id=vendor,
            vidgen_conn_id=f"vidgen_{vendor}",
            model="grok-video",
            pool="never_runs",
            deferrable=True,
        ).expand(prompt=[f"a velvet pangolin, number {number}" for number in range(count)])
