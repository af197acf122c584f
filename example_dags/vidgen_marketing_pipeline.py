# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Generate a folder of videos from a table of products.

Reads the products, writes a prompt for each product and aspect ratio, generates the videos in mapped,
deferred tasks (which occupy no worker while they wait), downloads them, and writes an index of the videos.

To use another vendor, trigger the Dag with another ``vidgen_conn_id``, ``model`` and ``duration``. To store
the files elsewhere, set ``output``, for example to ``s3://aws_default@marketing/videos``.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

PRODUCTS = Path(__file__).parent / "data" / "products.csv"

with DAG(
    dag_id="vidgen_marketing_pipeline",
    schedule=None,
    tags=["vidgen"],
    doc_md=__doc__,
    params={
        "vidgen_conn_id": Param("vidgen_apixo", type="string"),
        "model": Param("grok-video", type="string"),
        "duration": Param(6, type="integer", minimum=1),
        "resolution": Param("480p", type="string", enum=["480p", "720p", "1080p"]),
        "aspect_ratios": Param(["16:9", "9:16"], type="array"),
        "output": Param("file:///tmp/vidgen/marketing", type="string"),
    },
    default_args={"retries": 2},
):

    @task
    def read_products() -> list[dict[str, str]]:
        with PRODUCTS.open(newline="") as table:
            return list(csv.DictReader(table))

    @task(show_return_value_in_logs=False)
    def write_prompts(products: list[dict[str, str]], params: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                # The product comes first: the instances of the mapped task are named after these words.
                "prompt": f"{product['description']}, {product['mood']}, a slow camera move around it, "
                "soft studio light, premium commercial style",
                "aspect_ratio": aspect_ratio,
                "duration": params["duration"],
            }
            for product in products
            for aspect_ratio in params["aspect_ratios"]
        ]

    @task
    def write_index(videos: list[dict[str, Any]], files: list[list[dict[str, Any]]], folder: str) -> str:
        """Write one entry for each video, with its job, its cost and its file."""
        entries = [
            {
                **{key: video[key] for key in ("vendor", "model", "task_id", "completed_at", "cost")},
                "files": manifest,
            }
            for video, manifest in zip(videos, files, strict=True)
        ]
        index = ObjectStoragePath(folder) / "index.json"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text(json.dumps(entries, indent=2))
        return str(index)

    folder = "{{ params.output }}/{{ run_id }}/"
    generate = VideoGenerationOperator.partial(
        task_id="generate",
        vidgen_conn_id="{{ params.vidgen_conn_id }}",
        model="{{ params.model }}",
        resolution="{{ params.resolution }}",
        deferrable=True,
    ).expand_kwargs(write_prompts(read_products()))
    download = VideoDownloadOperator.partial(
        task_id="download",
        vidgen_conn_id="{{ params.vidgen_conn_id }}",
        output_path=folder,
    ).expand(video=generate.output)
    write_index(generate.output, download.output, folder)
