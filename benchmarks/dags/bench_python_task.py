# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Contender: one Python task that submits, sleeps between polls in its worker slot, and downloads."""

from __future__ import annotations

import os

from airflow.sdk import DAG, task

ROUTE = "/api/v1/video/generations"


@task
def video(prompt: str) -> str:
    """Generate one video."""
    import time
    from pathlib import Path

    import requests
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection("bench_http")
    body = {"model": "grok-video-3", "prompt": prompt, "aspect_ratio": "16:9", "size": "720P"}
    with requests.Session() as session:
        session.headers.update(connection.extra_dejson)
        api = f"{connection.host}{ROUTE}"
        submitted = session.post(api, json=body, timeout=30)
        submitted.raise_for_status()
        job = submitted.json()["data"]["taskId"]
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:
            time.sleep(float(os.environ["VIDGEN_BENCH_POLL_INTERVAL"]))
            status = session.get(api, params={"task_id": job}, timeout=30)
            status.raise_for_status()
            data = status.json()["data"]
            if data["state"] == "completed":
                break
            if data["state"] == "failed":
                raise RuntimeError(data["failMsg"])
        else:
            raise TimeoutError(job)
    path = Path(os.environ["VIDGEN_BENCH_FOLDER"].removeprefix("file://")) / "python_task" / f"{job}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with requests.get(data["resultUrls"][0], stream=True, timeout=60) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(1024 * 1024):
            file.write(chunk)
    return str(path)


for videos in map(int, os.environ["VIDGEN_BENCH_VIDEOS"].split(",")):
    with DAG(dag_id=f"python_task_{videos}", schedule=None):
        video.expand(prompt=[f"a velvet pangolin, number {number}" for number in range(videos)])
