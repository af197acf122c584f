# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Run every example Dag with ``airflow dags test``, beside the other system tests, as much of it is waiting.

Each Dag has a database of its own, as a scheduler of the shared one would take its tasks away.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import BillingEntry, key_fingerprint
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator

EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
_PATIENCE = 300.0
#: A deferred task stays so for ten seconds, and here all are looked at every second in vain until then.
_SIMULATOR = ("--no-render", "--job-seconds=80")
_POLICY = """\
def task_policy(task):
    arguments = task.partial_kwargs if task.is_mapped else vars(task)
    if task.task_type in ("VideoGenerationOperator", "VideoTaskSensor"):
        arguments["poll_interval"] = 1
"""
#: Written into the path by the examples, where a test must leave nothing.
_FOLDER = "file:///tmp/vidgen"


@dataclass(frozen=True)
class Example:
    """
    One example Dag.

    :param conf: of the run, where it needs one or would take long.
    :param jobs: how many are paid.
    :param files: how many videos are landed.
    :param resumed: how many tasks go on after their trigger.
    """

    jobs: int
    files: int
    resumed: int
    conf: dict[str, Any] | None = None


#: The longest first. The last one waits for a job that is there before.
DAGS = {
    "vidgen_marketing_pipeline": Example(3, 3, 3, {"aspect_ratios": ["16:9"]}),
    "vidgen_image_to_video": Example(3, 2, 3),
    "vidgen_one_video": Example(1, 1, 1),
    "vidgen_blocking": Example(1, 1, 0),
    "vidgen_p_video": Example(1, 1, 0),
    "vidgen_wait_for_job": Example(1, 1, 1),
}


@dataclass(frozen=True)
class Ended:
    """What became of one Dag."""

    code: int
    output: str
    bills: list[BillingEntry]
    videos: list[Path]


@contextmanager
def run_examples(folder: Path, templates: Path) -> Iterator[dict[str, Future[Ended]]]:
    """
    Run them one after the other.

    :param templates: where the migrated, empty database is kept.
    """
    log = folder / "simulator.log"
    with LocalSimulator(arguments=_SIMULATOR, log=log) as simulator, ThreadPoolExecutor(1) as pool:
        yield {dag_id: pool.submit(_run, dag_id, folder / dag_id, simulator, templates) for dag_id in DAGS}


def _run(dag_id: str, folder: Path, simulator: LocalSimulator, templates: Path) -> Ended:
    key = f"sim-{dag_id}"
    dags, videos, home = folder / "dags", folder / "videos", folder / "airflow"
    shutil.copytree(EXAMPLES / "data", dags / "data")
    text = (EXAMPLES / f"{dag_id}.py").read_text()
    (dags / f"{dag_id}.py").write_text(text.replace(_FOLDER, videos.as_uri()))
    (home / "config").mkdir(parents=True)
    (home / "config" / "airflow_local_settings.py").write_text(_POLICY)
    conf = DAGS[dag_id].conf
    if dag_id == "vidgen_wait_for_job":
        conf = {"job_id": _started_elsewhere(simulator, key)}
    airflow = LocalAirflow(
        dags,
        home=home,
        env={**simulator.connections(key), "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"},
        template_dir=templates,
    )
    try:
        airflow.open(components=())
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "dags", "test", dag_id, "-c", json.dumps(conf or {})],
            env=airflow.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
        )
    finally:
        airflow.close()
    owner = key_fingerprint(key)
    bills = [
        entry for entry in SimulatorClient(simulator.url).ledger().entries if entry.key_fingerprint == owner
    ]
    return Ended(done.returncode, done.stdout, bills, sorted(videos.rglob("*.mp4")))


def _started_elsewhere(simulator: LocalSimulator, key: str) -> str:
    """Start a job that is finished when it is looked at, and has its link only at the second look."""
    made = requests.post(
        f"{simulator.url}/apixo/api/v1/generateTask/grok-video",
        json={"input": {"mode": "text-to-video", "prompt": "a kite [sim:fast] [sim:no_url=1]"}},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    return str(made.json()["data"]["taskId"])
