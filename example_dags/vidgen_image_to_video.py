# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Animate images: one image URL, several image URLs, and the image of an earlier job at the vendor."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG(dag_id="vidgen_image_to_video", schedule=None, tags=["vidgen"], doc_md=__doc__):
    turntable = VideoGenerationOperator(
        task_id="turntable",
        vidgen_conn_id="vidgen_apixgo",
        model="grok-image-video",
        prompt="Animate the product with a slow rotating camera, soft studio light",
        image_urls=["https://example.com/product.png"],
        duration=6,
        aspect_ratio="9:16",
        resolution="720p",
        deferrable=True,
    )
    showcase = VideoGenerationOperator(
        task_id="showcase",
        vidgen_conn_id="vidgen_apixgo",
        model="grok-image-video",
        prompt="A smooth product showcase using these references",
        image_urls=["https://example.com/ref-1.png", "https://example.com/ref-2.png"],
        duration=10,
        aspect_ratio="16:9",
        resolution="720p",
        deferrable=True,
    )
    walking = VideoGenerationOperator(
        task_id="walking",
        vidgen_conn_id="vidgen_apixo",
        model="grok-video",
        prompt="turn this character into a walking animation",
        continue_from={"task_id": "task_previous_grok_image", "index": 0},
        style="spicy",
        routing="official",
        duration=10,
        resolution="720p",
        deferrable=True,
    )

    # Airflow logs return values, and anyone who can read a result link can open the video.
    @task(show_return_value_in_logs=False)
    def list_links(links: list[str]) -> list[str]:
        return links

    # One mapped download for each result link. Airflow maps over return values only, hence ``list_links``.
    VideoDownloadOperator.partial(
        task_id="download_showcase",
        vidgen_conn_id="vidgen_apixgo",
        output_path="file:///tmp/vidgen/showcase-{{ run_id }}-{map_index}.mp4",
    ).expand(url=list_links(showcase.output["result_urls"]))
    VideoDownloadOperator(
        task_id="download_turntable",
        vidgen_conn_id="vidgen_apixgo",
        output_path="file:///tmp/vidgen/turntable/",
        video=turntable.output,
    )
