# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Tasks that people act on: unknown and lost jobs; instances with names, and tasks with extra links."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

APIMODELS: dict[str, Any] = {
    "vidgen_conn_id": "vidgen_apimodels",
    "model": "grok-video-3",
    "duration": 5,
    "poll_interval": 1,
}
APIXGO: dict[str, Any] = {"model": "grok-image-video", "duration": 6, "poll_interval": 1, "deferrable": True}

with DAG("system_actions", schedule=None, params={"folder": "file:///tmp"}):
    # The connection does not answer until it is repaired, so the first try submits nothing.
    reported = VideoGenerationOperator(
        task_id="reported", prompt="a velvet pangolin, reported [sim:stuck]", deferrable=False, **APIMODELS
    )
    reported >> EmptyOperator(task_id="publish")
    named = VideoGenerationOperator.partial(
        task_id="named", vidgen_conn_id="vidgen_capacity_one", **APIXGO
    ).expand(
        prompt=[
            "a velvet pangolin with a red kettle, soft light [sim:stuck]",
            "a velvet pangolin with a blue lamp, soft light [sim:stuck]",
        ]
    )
    landed = VideoGenerationOperator(
        task_id="landed",
        prompt="a velvet pangolin, landed [sim:fast]",
        output_path="{{ params.folder }}/{task_id}.mp4",
        deferrable=False,
        **APIMODELS,
    )
    VideoDownloadOperator.partial(
        task_id="download", vidgen_conn_id="vidgen_apimodels", output_path="{{ params.folder }}/copies/"
    ).expand(video=[landed.output])
