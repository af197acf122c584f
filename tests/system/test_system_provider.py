# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What Airflow knows of the provider: metadata, connection type, example Dags."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from dev.local_airflow import LocalAirflow
from dev.local_simulator import VENDORS

COMMANDS = {
    "provider": ["providers", "get", "airflow-provider-vidgen", "--output", "json", "--full"],
    "hooks": ["providers", "hooks", "--output", "json"],
    "errors": ["dags", "list-import-errors", "--output", "json"],
}
EXAMPLES = {
    "vidgen_blocking",
    "vidgen_image_to_video",
    "vidgen_marketing_pipeline",
    "vidgen_one_video",
    "vidgen_p_video",
    "vidgen_wait_for_job",
}


@pytest.fixture(scope="module")
def answers(airflow: LocalAirflow) -> Iterator[dict[str, Future[str]]]:
    """What the command line says, asked all at once."""

    def ask(arguments: list[str]) -> str:
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=airflow.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(ask, arguments) for name, arguments in COMMANDS.items()}


def said(answer: Future[str]) -> Any:
    lines = answer.result().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(("[{", "[]", "[")))
    return json.loads("\n".join(lines[begin:]))


def test_the_provider_is_known_by_its_name(answers: dict[str, Future[str]]) -> None:
    [found] = said(answers["provider"])
    assert "airflow-provider-vidgen" in json.dumps(found)
    assert "VideoGenHook" in json.dumps(found)


def test_the_connection_type_has_our_hook(answers: dict[str, Future[str]]) -> None:
    [hook] = [hook for hook in said(answers["hooks"]) if hook["connection_type"] == "vidgen"]
    assert hook["class"] == "airflow_provider_vidgen.hooks.video_gen.VideoGenHook"
    assert hook["conn_id_attribute_name"] == "vidgen_conn_id"
    assert hook["package_name"] == "airflow-provider-vidgen"


def test_no_dag_has_an_import_error(answers: dict[str, Future[str]], airflow: LocalAirflow) -> None:
    for dag_id in sorted(EXAMPLES):
        airflow.wait_for_dag(dag_id)
    assert airflow.import_errors() == []
    assert "No data found" in answers["errors"].result() or said(answers["errors"]) == []


def test_the_form_is_described_with_vendor_choice_and_key(airflow: LocalAirflow) -> None:
    [form] = [
        meta
        for meta in airflow.api("GET", "//ui/connections/hook_meta")
        if meta["connection_type"] == "vidgen"
    ]
    assert form["hook_name"] == "AI video generation"
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert form["standard_fields"]["host"]["title"] == "Base URL"
    assert {name for name, field in form["standard_fields"].items() if field and field["hidden"]} >= {
        "login",
        "port",
    }
    assert form["extra_fields"]["vendor"]["schema"]["enum"] == list(VENDORS)


def test_a_connection_never_shows_its_key(runs: Any, airflow: LocalAirflow) -> None:
    stored = airflow.api("GET", "/connections/vidgen_stored")
    assert stored["conn_type"] == "vidgen"
    assert "marmalade" not in json.dumps(stored)
    assert json.loads(stored["extra"])["vendor"] == "apimodels"
