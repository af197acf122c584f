# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow dags test`` of every example Dag: a newcomer's first step, with no scheduler and no triggerer.

Airflow runs each trigger in line then, and hands nothing but its event to the task that goes on. Each Dag has
a database of its own, as a scheduler of the shared one would take its tasks away.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import Entry, key_fingerprint
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator

_EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
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
_DAGS = {
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
    bills: list[Entry]
    videos: list[Path]


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, database_templates: Path
) -> Iterator[dict[str, Future[Ended]]]:
    """All of them, two at a time."""
    folder = tmp_path_factory.mktemp("dags-test")
    log = folder / "simulator.log"
    with LocalSimulator(arguments=_SIMULATOR, log=log) as simulator, ThreadPoolExecutor(2) as pool:
        yield {
            dag_id: pool.submit(_test, dag_id, folder / dag_id, simulator, database_templates)
            for dag_id in _DAGS
        }


def _test(dag_id: str, folder: Path, simulator: LocalSimulator, templates: Path) -> Ended:
    key = f"sim-{dag_id}"
    dags, videos, home = folder / "dags", folder / "videos", folder / "airflow"
    shutil.copytree(_EXAMPLES / "data", dags / "data")
    text = (_EXAMPLES / f"{dag_id}.py").read_text()
    (dags / f"{dag_id}.py").write_text(text.replace(_FOLDER, videos.as_uri()))
    (home / "config").mkdir(parents=True)
    (home / "config" / "airflow_local_settings.py").write_text(_POLICY)
    conf = _DAGS[dag_id].conf
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
        json={"input": {"mode": "text-to-video", "prompt": "a kite [sim:fast] [sim:nourl=1]"}},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    return str(made.json()["data"]["taskId"])


def test_every_example_is_here() -> None:
    assert set(_DAGS) == {file.stem for file in _EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("dag_id", _DAGS)
def test_dags_test_of_an_example_succeeds_and_pays_once_for_each_video(
    ended: dict[str, Future[Ended]], dag_id: str
) -> None:
    example, done = _DAGS[dag_id], ended[dag_id].result()
    assert done.code == 0, done.output
    assert done.output.count("[DAG TEST] Trigger completed") == example.resumed, done.output
    assert [entry.state for entry in done.bills] == ["settled"] * example.jobs, done.output
    assert len(done.videos) == example.files
