# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""No API key, no prompt and no signed link is in anything that Airflow has written.

The exceptions are the places where Airflow stores what the user wrote: :data:`KEPT_BY_AIRFLOW`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow
from tests.support.system_accounts import BAD_KEY, GOOD_KEY, NO_FUNDS_KEY, S3_SECRET
from tests.support.task_runs import Runs

PROMPT = "velvet pangolin"

#: The columns in which Airflow stores what the Dag's author wrote, and the results of tasks.
KEPT_BY_AIRFLOW = {
    # The Dag file, and the Dag as the scheduler reads it.
    ("dag_code", "source_code"): {PROMPT},
    ("serialized_dag", "data"): {PROMPT},
    # The operator's template fields as the UI shows them.
    ("rendered_task_instance_fields", "rendered_fields"): {PROMPT, "link"},
    # The name of a mapped instance may be made of words of its prompt.
    ("task_instance", "rendered_map_index"): {PROMPT},
    ("task_instance_history", "rendered_map_index"): {PROMPT},
    # The result of the task, and what the Videos tab shows.
    ("xcom", "value"): {PROMPT, "link"},
}
#: The ledger's record holds the link only of an endpoint that cannot return it again.
KEPT_BY_LEDGER = {("task_state_store", "value"): {"link"}}


@pytest.fixture(scope="module")
def all_runs_finished(runs: Runs, airflow: LocalAirflow, simulator: SimulatorClient) -> None:
    """Wait for the runs to which no other test waits until the end."""
    for dag_id in ("system_downloads", "system_early", "system_p_video"):
        airflow.wait_for_run(dag_id, runs.ids[dag_id], timeout=150)


@pytest.fixture(scope="module")
def secrets(all_runs_finished: None, airflow: LocalAirflow) -> dict[str, set[str]]:
    """The texts that must not be found, by the kinds that :data:`KEPT_BY_AIRFLOW` uses."""
    signatures = {
        signature
        for value in column(airflow, "xcom", "value")
        for signature in re.findall(r"sig=([\w%-]{8,})", value)
    }
    assert len(signatures) > 10
    return {
        PROMPT: {PROMPT},
        "link": signatures | {"sig="},
        "key": {GOOD_KEY, BAD_KEY, NO_FUNDS_KEY, S3_SECRET},
    }


def column(airflow: LocalAirflow, table: str, name: str) -> list[str]:
    with database(airflow) as connection:
        return [text(value) for (value,) in connection.execute(f'select "{name}" from "{table}"')]


def database(airflow: LocalAirflow) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True, timeout=30))


def text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def columns(airflow: LocalAirflow) -> Iterator[tuple[str, str]]:
    """Return all columns of all tables."""
    with database(airflow) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            yield from ((table, row[1]) for row in connection.execute(f'pragma table_info("{table}")'))


def test_the_tables_that_are_searched_are_not_empty(all_runs_finished: None, airflow: LocalAirflow) -> None:
    tables = {table for table, _ in columns(airflow)}
    assert {"trigger", "log", "task_state_store", "task_instance", "connection", "xcom"} <= tables
    assert len(column(airflow, "task_state_store", "value")) > 10
    assert len(column(airflow, "log", "extra")) > 10


def test_no_table_holds_a_key_and_only_airflows_own_columns_hold_prompts_and_links(
    airflow: LocalAirflow, secrets: dict[str, set[str]]
) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for table, name in columns(airflow):
        content = "\n".join(column(airflow, table, name))
        kinds = {kind for kind, words in secrets.items() if any(word in content for word in words)}
        allowed = {**KEPT_BY_AIRFLOW, **KEPT_BY_LEDGER}.get((table, name), set())
        if unexpected := kinds - allowed:
            found[table, name] = unexpected
    assert found == {}


def test_only_the_record_of_a_synchronous_endpoint_holds_a_link(
    airflow: LocalAirflow, secrets: dict[str, set[str]]
) -> None:
    records = column(airflow, "task_state_store", "value")
    with_links = [record for record in records if any(word in record for word in secrets["link"])]
    # Its submission and its delivery.
    assert len(with_links) == 2
    assert all('"p-video"' in record.replace("\\", "") for record in with_links)


def test_no_log_holds_a_key_a_prompt_or_a_link(airflow: LocalAirflow, secrets: dict[str, set[str]]) -> None:
    files = airflow.logs()
    assert len([file for file in files if "dag_id=system_" in str(file)]) > 40
    words = {word.encode() for kind in secrets.values() for word in kind}
    found = {
        (str(file.relative_to(airflow.home)), word)
        for file in files
        for content in [file.read_bytes()]
        for word in words
        if word in content
    }
    assert found == set()


def test_no_other_file_of_airflow_holds_a_key_a_prompt_or_a_link(
    airflow: LocalAirflow, secrets: dict[str, set[str]]
) -> None:
    def is_database(file: Path) -> bool:
        return file.name.startswith("airflow.db")

    words = {word.encode() for kind in secrets.values() for word in kind}
    others = [file for file in airflow.home.rglob("*") if file.is_file() and not is_database(file)]
    assert [str(file) for file in others if any(word in file.read_bytes() for word in words)] == []


def test_the_events_that_resumed_the_tasks_are_logged_with_a_reason_and_without_a_link(
    airflow: LocalAirflow, secrets: dict[str, set[str]]
) -> None:
    events = [
        line
        for file in airflow.logs()
        if "dag_id=system_" in str(file)
        for line in file.read_text().splitlines()
        if "Trigger fired event" in line
    ]
    assert len(events) > 10
    for line in events:
        assert "reason" in line
        assert "http" not in line
