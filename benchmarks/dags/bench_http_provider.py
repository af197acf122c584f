# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Contender: Airflow's http provider, with ``HttpOperator``, a rescheduling ``HttpSensor`` and a download."""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, PokeReturnValue, task, task_group
from airflow.sdk.exceptions import AirflowFailException

ROUTE = "/api/v1/video/generations"


def job_id(response: Any) -> str:
    """Return the job's id."""
    return str(response.json()["data"]["taskId"])


def is_finished(response: Any) -> PokeReturnValue:
    """Return whether the job has finished, and its link."""
    data = response.json()["data"]
    if data["state"] == "failed":
        raise AirflowFailException(data["failMsg"])
    done = data["state"] == "completed"
    return PokeReturnValue(is_done=done, xcom_value=data["resultUrls"][0] if done else None)


@task
def download(job: Any, url: Any) -> str:
    """Download the video."""
    from pathlib import Path

    import requests

    path = Path(os.environ["VIDGEN_BENCH_FOLDER"].removeprefix("file://")) / "http_provider" / f"{job}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with requests.get(url, stream=True, timeout=60) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(1024 * 1024):
            file.write(chunk)
    return str(path)


@task_group
def video(body: str) -> None:
    """Generate one video."""
    create = HttpOperator(
        task_id="create",
        http_conn_id="bench_http",
        method="POST",
        endpoint=ROUTE,
        headers={"Content-Type": "application/json"},
        data=body,
        response_filter=job_id,
    )
    wait = HttpSensor(
        task_id="wait",
        http_conn_id="bench_http",
        endpoint=ROUTE,
        request_params={"task_id": create.output},
        response_check=is_finished,
        mode="reschedule",
        poke_interval=float(os.environ["VIDGEN_BENCH_POLL_INTERVAL"]),
        timeout=1800,
    )
    download(job=create.output, url=wait.output)


def request_body(number: int) -> str:
    """Return the body of a submission."""
    return json.dumps(
        {
            "model": "grok-video-3",
            "prompt": f"a velvet pangolin, number {number}",
            "aspect_ratio": "16:9",
            "size": "720P",
        }
    )


for videos in map(int, os.environ["VIDGEN_BENCH_VIDEOS"].split(",")):
    with DAG(dag_id=f"http_provider_{videos}", schedule=None):
        video.expand(body=[request_body(number) for number in range(videos)])
