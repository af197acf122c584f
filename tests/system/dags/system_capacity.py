# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""More videos than the account's concurrency limit, configured or not; and a pool as a limit."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

VIDEOS = 6
CAPPED = 4
QUEUED = 3
REHEARSED = 2
#: Before the tasks of other Dags, because these wait for each other.
PRIORITY = 10

with DAG("system_capacity", schedule=None):
    for name in ("known", "unknown"):
        VideoGenerationOperator.partial(
            task_id=name,
            vidgen_conn_id=f"vidgen_capacity_{name}",
            model="grok-video",
            duration=6,
            resolution="480p",
            poll_interval=2,
            deferrable=True,
            priority_weight=PRIORITY,
        ).expand(prompt=[f"crowded {name} wombat number {number} [sim:slow=200]" for number in range(VIDEOS)])

with DAG("system_pool", schedule=None):
    VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="vidgen_apixgo",
        model="grok-image-video",
        duration=4,
        resolution="480p",
        poll_interval=2,
        deferrable=True,
        priority_weight=PRIORITY,
        pool="vidgen_two_jobs",
    ).expand(prompt=[f"thrifty capybara number {number} [sim:stuck]" for number in range(CAPPED)])

with DAG("system_queue", schedule=None):
    VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="vidgen_capacity_one",
        model="grok-image-video",
        duration=4,
        resolution="480p",
        poll_interval=2,
        deferrable=True,
        priority_weight=PRIORITY,
        pool="vidgen_queue",
    ).expand(prompt=[f"patient heron number {number} [sim:stuck]" for number in range(QUEUED)])

# For `airflow dags test`; no run of it is started.
with DAG("system_capacity_test", schedule=None):
    VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="vidgen_capacity_one",
        model="grok-image-video",
        duration=4,
        resolution="480p",
        poll_interval=1,
        deferrable=False,
    ).expand(prompt=[f"rehearsing heron number {number}" for number in range(REHEARSED)])
