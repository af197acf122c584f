# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The provider as Airflow shows it: metadata, connection type, example Dags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from dev.local_airflow import LocalAirflow
from dev.local_simulator import VENDORS
from tests.support.task_runs import run_airflow_command

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
def command_outputs(airflow: LocalAirflow) -> Iterator[dict[str, Future[str]]]:
    """The output of each command; they run at the same time."""
    with ThreadPoolExecutor() as threads:
        yield {
            name: threads.submit(run_airflow_command, airflow, *arguments)
            for name, arguments in COMMANDS.items()
        }


def parse_json(output: str) -> Any:
    """Parse the list that follows Airflow's own log lines."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("["))
    return json.loads("\n".join(lines[start:]))


def test_the_provider_is_registered_with_its_hook(command_outputs: dict[str, Future[str]]) -> None:
    [provider] = parse_json(command_outputs["provider"].result())
    assert "airflow-provider-vidgen" in json.dumps(provider)
    assert "VideoGenHook" in json.dumps(provider)


def test_the_connection_type_belongs_to_the_hook(command_outputs: dict[str, Future[str]]) -> None:
    [hook] = [
        hook for hook in parse_json(command_outputs["hooks"].result()) if hook["connection_type"] == "vidgen"
    ]
    assert hook["class"] == "airflow_provider_vidgen.hooks.video_gen.VideoGenHook"
    assert hook["conn_id_attribute_name"] == "vidgen_conn_id"
    assert hook["package_name"] == "airflow-provider-vidgen"


def test_no_dag_has_an_import_error(command_outputs: dict[str, Future[str]], airflow: LocalAirflow) -> None:
    for dag_id in sorted(EXAMPLES):
        airflow.wait_for_dag(dag_id)
    assert airflow.import_errors() == []
    errors = command_outputs["errors"].result()
    assert "No data found" in errors or parse_json(errors) == []


def test_the_connection_form_has_a_choice_of_vendors_and_a_key(airflow: LocalAirflow) -> None:
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
    assert form["extra_fields"]["vendor"]["schema"]["enum"] == sorted(VENDORS)


def test_the_rest_api_never_shows_the_key_of_a_connection(runs: Any, airflow: LocalAirflow) -> None:
    stored = airflow.api("GET", "/connections/vidgen_stored")
    assert stored["conn_type"] == "vidgen"
    assert "marmalade" not in json.dumps(stored)
    assert json.loads(stored["extra"])["vendor"] == "apimodels"
