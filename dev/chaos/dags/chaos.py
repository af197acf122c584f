# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One task for each crash point; the run's conf has its video parameters and its breakpoint."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dev.chaos.instrumented_operator import InstrumentedOperator
from dev.chaos.scenarios import CRASH_POINTS, DAG_ID, slug

with DAG(DAG_ID, schedule=None, max_active_runs=8, max_active_tasks=64):
    for point in CRASH_POINTS:
        InstrumentedOperator(
            task_id=slug(point),
            prompt="set by the run's conf",
            deferrable=True,
            poll_interval=1,
            timeout=900,
            # While the API server is down, a new try cannot start, but counts as a try.
            retries=5,
            retry_delay=timedelta(seconds=4),
        )
