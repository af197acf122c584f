# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Everything that a vendor or a storage can refuse, and jobs that fail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

APIXO: dict[str, Any] = {
    "model": "grok-video",
    "duration": 6,
    "resolution": "480p",
    "poll_interval": 1,
    "deferrable": False,
}
TRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}

with DAG("system_failures", schedule=None, default_args={"vidgen_conn_id": "vidgen_apixo", **TRIES}):
    VideoGenerationOperator(
        task_id="content",
        prompt="a velvet pangolin behaving badly [sim:fail=CONTENT_VIOLATION:No pangolins please]",
        **{**APIXO, "deferrable": True},
    )
    VideoGenerationOperator(
        task_id="funds",
        prompt="a velvet pangolin on credit",
        **{**APIXO, "vidgen_conn_id": "vidgen_no_funds"},
    )
    VideoGenerationOperator(task_id="crash", prompt="a velvet pangolin on a GPU [sim:stuck]", **APIXO)
    VideoGenerationOperator(
        task_id="key", prompt="a velvet pangolin at the door", **{**APIXO, "vidgen_conn_id": "vidgen_bad_key"}
    )
    VideoGenerationOperator(
        task_id="host",
        prompt="a velvet pangolin, nowhere",
        retries=0,
        **{**APIXO, "vidgen_conn_id": "vidgen_unreachable"},
    )
    VideoGenerationOperator(
        task_id="bucket",
        prompt="a velvet pangolin in a bucket",
        output_path="s3://system_s3@pangolin-typo/{task_id}.mp4",
        **APIXO,
    )
    VideoGenerationOperator.partial(
        task_id="one_place", output_path="file:///tmp/{{ run_id }}.mp4", **APIXO
    ).expand(prompt=["a velvet pangolin, twice", "a velvet pangolin, twice more"])
    VideoGenerationOperator(
        task_id="storage",
        prompt="a velvet pangolin that fits no shelf",
        # Too long for a file name, which is noticed only once the job has an id.
        output_path="file:///tmp/{task_id}" + "-pangolin" * 30 + ".mp4",
        retries=1,
        **APIXO,
    )
    VideoGenerationOperator(
        task_id="deadline_deferred",
        prompt="a velvet pangolin that sleeps [sim:stuck]",
        timeout=3,
        retries=1,
        **{**APIXO, "deferrable": True, "retry_delay": timedelta(seconds=1)},
    )
    VideoGenerationOperator(
        task_id="deadline_blocking",
        prompt="a velvet pangolin that dozes [sim:stuck]",
        timeout=3,
        retries=1,
        **APIXO,
    )
