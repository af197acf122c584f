# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One deferred and one blocking video from each vendor.

The jobs of the deferred tasks run until the test ends them. "Velvet pangolin" is in the prompts and nowhere
else, so a leaked prompt is found.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

ORDERS: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "duration": 5, "resolution": "720p"},
    "apixo": {"model": "grok-video", "duration": 6, "resolution": "480p"},
    "apixgo": {"model": "grok-image-video", "duration": 4, "resolution": "480p"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "duration": 6, "resolution": "480p"},
}

with DAG("system_vendors", schedule=None):
    for vendor, order in ORDERS.items():
        VideoGenerationOperator(
            task_id=f"{vendor}_deferred",
            vidgen_conn_id=f"vidgen_{vendor}",
            prompt="a velvet pangolin on the beach [sim:stuck]",
            aspect_ratio="16:9",
            poll_interval=1,
            deferrable=True,
            **order,
        )
        VideoGenerationOperator(
            task_id=f"{vendor}_blocking",
            vidgen_conn_id=f"vidgen_{vendor}",
            prompt="a velvet pangolin in the snow",
            aspect_ratio="16:9",
            poll_interval=1,
            deferrable=False,
            **order,
        )
