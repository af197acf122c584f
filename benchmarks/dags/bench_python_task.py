# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Contender: one plain task that does it all, and keeps its worker while it waits."""

from __future__ import annotations

import os

from airflow.sdk import DAG, task

GENERATIONS = "/api/v1/video/generations"


@task
def video(prompt: str) -> str:
    """Submit, wait, download."""
    import time
    from pathlib import Path

    import requests
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection("bench_http")
    order = {"model": "grok-video-3", "prompt": prompt, "aspect_ratio": "16:9", "size": "720P"}
    with requests.Session() as session:
        session.headers.update(connection.extra_dejson)
        api = f"{connection.host}{GENERATIONS}"
        created = session.post(api, json=order, timeout=30)
        created.raise_for_status()
        job = created.json()["data"]["taskId"]
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:
            time.sleep(float(os.environ["VIDGEN_BENCH_POKE"]))
            status = session.get(api, params={"task_id": job}, timeout=30)
            status.raise_for_status()
            data = status.json()["data"]
            if data["state"] == "completed":
                break
            if data["state"] == "failed":
                raise RuntimeError(data["failMsg"])
        else:
            raise TimeoutError(job)
    path = Path(os.environ["VIDGEN_BENCH_FOLDER"].removeprefix("file://")) / "plain" / f"{job}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with requests.get(data["resultUrls"][0], stream=True, timeout=60) as reply, path.open("wb") as file:
        reply.raise_for_status()
        for piece in reply.iter_content(1024 * 1024):
            file.write(piece)
    return str(path)


for videos in map(int, os.environ["VIDGEN_BENCH_VIDEOS"].split(",")):
    with DAG(dag_id=f"plain_{videos}", schedule=None):
        video.expand(prompt=[f"a velvet pangolin, number {number}" for number in range(videos)])
