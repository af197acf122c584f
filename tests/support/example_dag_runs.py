# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Run every example Dag with ``airflow dags test`` in the background, as much of the time is waiting.

Each Dag has a database of its own, because the scheduler of a shared one would take its tasks.
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
_TIMEOUT = 300.0
#: Two at a time: importing Airflow is bound by the CPU, and the rest of a run is mostly waiting.
_PARALLEL = 2
#: Jobs end within the ten seconds for which every task stays deferred.
_SIMULATOR = ("--no-render", "--job-seconds=80")
_POLICY = """\
def task_policy(task):
    arguments = task.partial_kwargs if task.is_mapped else vars(task)
    if task.task_type in ("VideoGenerationOperator", "VideoTaskSensor"):
        arguments["poll_interval"] = 1
"""
#: The folder in the examples' paths, replaced so that the tests leave nothing behind.
_FOLDER = "file:///tmp/vidgen"


@dataclass(frozen=True)
class Example:
    """
    One example Dag.

    :param jobs: number of paid jobs.
    :param files: number of landed videos.
    :param resumed: number of tasks that resume after their trigger.
    :param conf: of the run, where it needs one or would take long.
    """

    jobs: int
    files: int
    resumed: int
    conf: dict[str, Any] | None = None


#: The longest first. The last one waits for a job that was submitted before.
DAGS = {
    "vidgen_marketing_pipeline": Example(3, 3, 3, {"aspect_ratios": ["16:9"]}),
    "vidgen_image_to_video": Example(3, 2, 3),
    "vidgen_one_video": Example(1, 1, 1),
    "vidgen_blocking": Example(1, 1, 0),
    "vidgen_p_video": Example(1, 1, 0),
    "vidgen_wait_for_job": Example(1, 1, 1),
}


@dataclass(frozen=True)
class ExampleResult:
    """The result of one Dag: exit code, output, bills and landed videos."""

    code: int
    output: str
    bills: list[BillingEntry]
    videos: list[Path]


@contextmanager
def run_examples(folder: Path, templates: Path) -> Iterator[dict[str, Future[ExampleResult]]]:
    """
    Run the example Dags in threads.

    :param folder: for everything that is written.
    :param templates: the folder of the migrated, empty database.
    """
    log = folder / "simulator.log"
    with LocalSimulator(arguments=_SIMULATOR, log=log) as simulator, ThreadPoolExecutor(_PARALLEL) as pool:
        yield {dag_id: pool.submit(_run, dag_id, folder / dag_id, simulator, templates) for dag_id in DAGS}


def _run(dag_id: str, folder: Path, simulator: LocalSimulator, templates: Path) -> ExampleResult:
    key = f"sim-{dag_id}"
    dags, videos, home = folder / "dags", folder / "videos", folder / "airflow"
    shutil.copytree(EXAMPLES / "data", dags / "data")
    source = (EXAMPLES / f"{dag_id}.py").read_text()
    (dags / f"{dag_id}.py").write_text(source.replace(_FOLDER, videos.as_uri()))
    (home / "config").mkdir(parents=True)
    (home / "config" / "airflow_local_settings.py").write_text(_POLICY)
    conf = DAGS[dag_id].conf
    if dag_id == "vidgen_wait_for_job":
        conf = {"job_id": _submit_job(simulator, key)}
    airflow = LocalAirflow(
        dags,
        home=home,
        env={**simulator.connections(key), "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"},
        template_dir=templates,
    )
    try:
        airflow.open(components=())
        process = subprocess.run(
            [sys.executable, "-m", "airflow", "dags", "test", dag_id, "-c", json.dumps(conf or {})],
            env=airflow.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
        )
    finally:
        airflow.close()
    owner = key_fingerprint(key)
    bills = [
        entry for entry in SimulatorClient(simulator.url).ledger().entries if entry.key_fingerprint == owner
    ]
    return ExampleResult(process.returncode, process.stdout, bills, sorted(videos.rglob("*.mp4")))


def _submit_job(simulator: LocalSimulator, key: str) -> str:
    """Submit a job that is finished at the first status check, and has its link only at the second."""
    response = requests.post(
        f"{simulator.url}/apixo/api/v1/generateTask/grok-video",
        json={"input": {"mode": "text-to-video", "prompt": "a kite [sim:fast] [sim:no_url=1]"}},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    return str(response.json()["data"]["taskId"])
