# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Each way to download a result: mapped over links or videos, a plain link, the same task, S3."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

ORDER: dict[str, Any] = {
    "vidgen_conn_id": "vidgen_apixgo",
    "model": "grok-image-video",
    "resolution": "480p",
    "poll_interval": 1,
    "deferrable": False,
}
CONN = "vidgen_apixgo"

with DAG("system_downloads", schedule=None, params={"folder": Param("", type="string")}):
    one = VideoGenerationOperator(
        task_id="one",
        prompt="a velvet pangolin that lands in the same task",
        duration=3,
        aspect_ratio="9:16",
        output_path="{{ params.folder }}/landed/",
        **ORDER,
    )
    several = VideoGenerationOperator.partial(task_id="several", duration=2, **ORDER).expand_kwargs(
        [
            {"prompt": "a velvet pangolin, wide", "aspect_ratio": "16:9"},
            {"prompt": "a velvet pangolin, square", "aspect_ratio": "1:1"},
        ]
    )

    # Airflow logs what a Python task returns, so by default the links would be in the log.
    @task(show_return_value_in_logs=False)
    def each(links: list[str]) -> list[str]:
        return links

    VideoDownloadOperator.partial(
        task_id="each_link",
        vidgen_conn_id=CONN,
        output_path="{{ params.folder }}/links/{map_index}.mp4",
    ).expand(url=each(one.output["result_urls"]))
    VideoDownloadOperator.partial(
        task_id="each_video",
        vidgen_conn_id=CONN,
        output_path="{{ params.folder }}/videos/",
    ).expand(video=several.output)
    VideoDownloadOperator(
        task_id="plain_link",
        vidgen_conn_id=CONN,
        output_path="{{ params.folder }}/plain.mp4",
        url=one.output["result_urls"],
    )
    VideoDownloadOperator(
        task_id="to_s3",
        vidgen_conn_id=CONN,
        output_path="s3://system_s3@videos/pangolins/",
        video=one.output,
    )
