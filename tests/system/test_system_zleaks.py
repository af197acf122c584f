# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Nothing leaks: no key, no prompt and no signed link in anything that Airflow wrote.

Airflow itself keeps what a user wrote where he expects it, and only there: :data:`KEPT_BY_AIRFLOW`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from airflow_runs import Runs
from system_accounts import BAD_KEY, GOOD_KEY, S3_SECRET

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow

PROMPT = "velvet pangolin"
NO_FUNDS_KEY = "sim-nofunds"

#: Where Airflow keeps what the Dag's author wrote, and the results he asked for.
KEPT_BY_AIRFLOW = {
    # The Dag as it stands in its file, and as the scheduler reads it.
    ("dag_code", "source_code"): {PROMPT},
    ("serialized_dag", "data"): {PROMPT},
    # The fields of the operator as they are shown in the UI.
    ("rendered_task_instance_fields", "rendered_fields"): {PROMPT, "link"},
    # What the task returned.
    ("xcom", "value"): {"link"},
}
#: Our record keeps the link where the vendor cannot be asked for it again, and only there.
KEPT_BY_US = {("task_state_store", "value"): {"link"}}


@pytest.fixture(scope="module")
def everything_has_run(runs: Runs, airflow: LocalAirflow, simulator: SimulatorClient) -> None:
    """Wait for the runs that the tests before this one have brought to their ends."""
    for dag_id in ("system_downloads", "system_early", "system_p_video"):
        airflow.wait_for_run(dag_id, runs.ids[dag_id], timeout=150)


@pytest.fixture(scope="module")
def needles(everything_has_run: None, airflow: LocalAirflow) -> dict[str, set[str]]:
    """What must not be found, under the names that :data:`KEPT_BY_AIRFLOW` uses."""
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
    """All columns of all tables."""
    with database(airflow) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            yield from ((table, row[1]) for row in connection.execute(f'pragma table_info("{table}")'))


def test_the_tables_this_test_is_about_hold_something(
    everything_has_run: None, airflow: LocalAirflow
) -> None:
    known = {table for table, _ in columns(airflow)}
    assert {"trigger", "log", "task_state_store", "task_instance", "connection", "xcom"} <= known
    assert len(column(airflow, "task_state_store", "value")) > 10
    assert len(column(airflow, "log", "extra")) > 10


def test_no_table_holds_a_key_and_only_airflows_own_hold_prompts_and_links(
    airflow: LocalAirflow, needles: dict[str, set[str]]
) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for table, name in columns(airflow):
        content = "\n".join(column(airflow, table, name))
        kinds = {kind for kind, words in needles.items() if any(word in content for word in words)}
        allowed = {**KEPT_BY_AIRFLOW, **KEPT_BY_US}.get((table, name), set())
        if unexpected := kinds - allowed:
            found[table, name] = unexpected
    assert found == {}


def test_only_the_record_of_a_synchronous_endpoint_holds_a_link(
    airflow: LocalAirflow, needles: dict[str, set[str]]
) -> None:
    records = column(airflow, "task_state_store", "value")
    with_links = [record for record in records if any(word in record for word in needles["link"])]
    # Its submission and its delivery.
    assert len(with_links) == 2
    assert all('"p-video"' in record.replace("\\", "") for record in with_links)


def test_no_log_holds_a_key_a_prompt_or_a_link(airflow: LocalAirflow, needles: dict[str, set[str]]) -> None:
    files = airflow.logs()
    assert len([file for file in files if "dag_id=system_" in str(file)]) > 40
    words = {word.encode() for kind in needles.values() for word in kind}
    found = {
        (str(file.relative_to(airflow.home)), word)
        for file in files
        for content in [file.read_bytes()]
        for word in words
        if word in content
    }
    assert found == set()


def test_no_other_file_of_airflow_holds_any_of_it(
    airflow: LocalAirflow, needles: dict[str, set[str]]
) -> None:
    def is_database(file: Path) -> bool:
        return file.name.startswith("airflow.db")

    words = {word.encode() for kind in needles.values() for word in kind}
    others = [file for file in airflow.home.rglob("*") if file.is_file() and not is_database(file)]
    assert [str(file) for file in others if any(word in file.read_bytes() for word in words)] == []


def test_the_events_that_woke_the_tasks_are_in_their_logs_and_say_little(
    airflow: LocalAirflow, needles: dict[str, set[str]]
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
