# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A task for each crash point; the run's conf says what each of them makes, and where it stops."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dev.chaos.plan import DAG_ID, POINTS, slug
from dev.chaos.task import ChaosOperator

with DAG(DAG_ID, schedule=None, max_active_runs=8, max_active_tasks=64):
    for point in POINTS:
        ChaosOperator(
            task_id=slug(point),
            prompt="given by the run",
            deferrable=True,
            poll_interval=1,
            timeout=900,
            # While the API server is down, a new try cannot even begin, and each is used up all the same.
            retries=5,
            retry_delay=timedelta(seconds=4),
        )
