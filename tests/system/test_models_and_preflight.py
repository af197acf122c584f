# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen models`` and ``preflight`` in a real Airflow, with its connections, Dags and bundles."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import key_fingerprint
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator
from tests.support.system_accounts import connection
from tests.support.task_runs import TIMEOUT

DAG = """
from airflow.sdk import DAG
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG("not_in_a_bundle", schedule=None):
    VideoGenerationOperator(task_id="one", prompt="p", vidgen_conn_id="vidgen_preflight", duration=6)
"""


def run_vidgen(airflow: LocalAirflow, *arguments: str) -> tuple[int, Any]:
    """Run ``airflow vidgen ... -o json``; return its exit code and its whole standard output, parsed."""
    command = [sys.executable, "-m", "airflow", "vidgen", *arguments, "-o", "json"]
    process = subprocess.run(command, env=airflow.env, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.stdout, process.stderr
    return process.returncode, json.loads(process.stdout)


def test_models_and_preflight_find_what_airflow_has_and_pay_nothing(
    airflow: LocalAirflow,
    simulator: SimulatorClient,
    simulator_process: LocalSimulator,
    dags_folder: Path,
    tmp_path: Path,
) -> None:
    key = "sim-marmalade-preflight"
    fields = json.loads(connection("apimodels", f"{simulator_process.url}/apimodels", key))
    extra = {**fields["extra"], "model": "grok-video-3"}
    # Only in the database, not in the environment.
    airflow.api(
        "POST",
        "/connections",
        json={**fields, "connection_id": "vidgen_preflight", "extra": json.dumps(extra)},
    )
    airflow.wait_for_dag("vidgen_image_to_video")
    file = tmp_path / "not_in_a_bundle.py"
    file.write_text(DAG)
    with ThreadPoolExecutor(2) as threads:
        models = threads.submit(run_vidgen, airflow, "models", "--vidgen-conn-id", "vidgen_apixgo")
        by_id = threads.submit(run_vidgen, airflow, "preflight", "vidgen_image_to_video")
        by_file = threads.submit(run_vidgen, airflow, "preflight", str(file))
        examples = threads.submit(run_vidgen, airflow, "preflight", f"{dags_folder / 'example_dags'}/")

    code, rows = models.result()
    assert code == 0
    assert {row["model"]: row["in_live_list"] for row in rows} == {
        "grok-image-video": "yes",
        "grok-video-1.5": "yes",
    }

    code, document = by_id.result()
    assert code == 0, document
    assert [(task["task_id"], task["vendor"], task["checked"]) for task in document["tasks"]] == [
        ("turntable", "Apixgo", True),
        ("showcase", "Apixgo", True),
        ("walking", "Apixo", True),
    ]

    code, document = by_file.result()
    assert code == 1
    [task] = document["tasks"]
    assert task["vendor"] == "APIModels"
    assert [error["constraint"] for error in task["errors"]] == ["grok-video-3 accepts 5 seconds"]

    code, document = examples.result()
    assert code == 0, document
    assert document["import_errors"] == {}
    assert {task["dag_id"] for task in document["tasks"]} == {
        "vidgen_blocking",
        "vidgen_image_to_video",
        "vidgen_marketing_pipeline",
        "vidgen_one_video",
        "vidgen_p_video",
    }
    assert document["total"]["uncounted_tasks"] == ["vidgen_marketing_pipeline.generate"]

    payer = key_fingerprint(key)
    assert [entry for entry in simulator.ledger().entries if entry.key_fingerprint == payer] == []
