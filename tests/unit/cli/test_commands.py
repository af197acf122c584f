# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen``: arguments, outputs, exit codes, and Airflow's audit log."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
import yaml
from airflow.cli.cli_config import ActionCommand
from airflow.sdk import Connection
from airflow.utils import cli_action_loggers

from airflow_provider_vidgen.cli.definition import get_commands
from airflow_provider_vidgen.ledger import Phase
from tests.support.accounts import BASE, MODEL, connection
from tests.support.core_tasks import FakeRun
from tests.support.ledgers import record
from tests.support.vendor_replies import STATUS, running

#: The outputs of ``airflow vidgen jobs``, one file for each format.
OUTPUTS = Path(__file__).parents[1] / "fixtures" / "commands"
TASK_COMMANDS = ["jobs", "adopt", "check", "regenerate"]
LONG_ID = "task-unified-1763607600-" + "0123456789abcdef" * 4
APIXO = {"vendor": "apixo", "base_url": BASE["apixo"], "model": MODEL["apixo"]}


@pytest.fixture
def audit_log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The commands that were written to Airflow's audit log."""
    entries: list[dict[str, Any]] = []
    monkeypatch.setattr(cli_action_loggers, "on_pre_execution", lambda **entry: entries.append(entry))
    monkeypatch.setattr(cli_action_loggers, "on_post_execution", lambda **entry: None)
    return entries


@pytest.fixture
def vidgen(audit_log: object) -> Callable[..., None]:
    """Run ``airflow vidgen ...``."""

    def execute(name: str, *arguments: str) -> None:
        command = commands()[name]
        parser = ArgumentParser(prog=f"airflow vidgen {name}")
        for argument in command.args:
            argument.add_to_parser(parser)
        command.func(parser.parse_args(arguments))

    return execute


def commands() -> dict[str, ActionCommand]:
    (group,) = get_commands()
    assert group.name == "vidgen"
    return {command.name: command for command in group.subcommands}  # type: ignore[union-attr]


@pytest.fixture
def busy_run(fake_run: FakeRun) -> FakeRun:
    """A run with a task in each situation."""
    fake_run.add(record(Phase.DELIVERED, **APIXO), state="success", map_index=0, name="red kettle")
    fake_run.add(record(Phase.SUBMITTED, task_id=LONG_ID), state="deferred", map_index=1, name="blue lamp")
    fake_run.add(record(Phase.UNKNOWN), map_index=2)
    fake_run.add("not a record", map_index=3)
    ticket = {
        "queued_at": "2026-11-20T02:10:00.123456+00:00",
        "expires_at": "2026-11-20T02:40:00.123456+00:00",
        "try_number": 1,
        "refusals": 3,
    }
    waiting: dict[str, Any] = {
        "state": "up_for_reschedule",
        "next_check": "2026-11-20T03:01:30.5+00:00",
    }
    for map_index, stored in ((4, None), (5, record(Phase.FAILED))):
        fake_run.add(stored, map_index=map_index, **waiting)
        fake_run.tasks[-1].store.set("vidgen_queue_ticket", ticket)
    # A sensor of another kind that is rescheduled, and a task that has not started.
    fake_run.add(map_index=6, **waiting)
    fake_run.add(map_index=7, state="not scheduled")
    return fake_run


# --- jobs -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("busy_run")
@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain"])
def test_jobs_prints_what_the_file_of_the_format_has(
    vidgen: Callable[..., None], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vidgen("jobs", "dag", "run", "--output", output)
    printed = capsys.readouterr().out
    expected = (OUTPUTS / f"jobs.{output}.txt").read_text()
    assert [line.rstrip() for line in printed.splitlines()] == expected.splitlines()


@pytest.mark.usefixtures("busy_run")
def test_a_job_id_is_not_broken_however_narrow_the_terminal_is(
    vidgen: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for output in ("table", "json", "yaml", "plain"):
        vidgen("jobs", "dag", "run", "-o", output)
        assert LONG_ID in capsys.readouterr().out


@pytest.mark.usefixtures("busy_run")
@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_all_rows_of_the_formats_for_programs_have_the_same_fields(
    vidgen: Callable[..., None],
    output: str,
    parse: Callable[[str], list[dict[str, str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    vidgen("jobs", "dag", "run", "-o", output)
    rows = parse(capsys.readouterr().out)
    assert len({tuple(sorted(row)) for row in rows}) == 1
    assert [row["map_index"] for row in rows] == ["0", "1", "2", "3", "4", "5"]


def test_a_run_without_jobs_is_empty(
    fake_run: FakeRun, vidgen: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_run.add()
    vidgen("jobs", "dag", "run")
    assert capsys.readouterr().out == "No data found\n"
    vidgen("jobs", "dag", "run", "-o", "json")
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.usefixtures("fake_run")
def test_jobs_of_an_unknown_run_ends_with_an_error(vidgen: Callable[..., None]) -> None:
    with pytest.raises(SystemExit) as exit_:
        vidgen("jobs", "dag", "other")
    assert exit_.value.code == "The Dag 'dag' has no run 'other', and no other."


# --- adopt, check, regenerate ---------------------------------------------------------------------------


@pytest.fixture
def vendor(fake_run: FakeRun) -> Any:
    """A vendor at which the job of the tasks is running."""
    stored = Connection.from_json(connection("apixo"), conn_id="vidgen_default")
    fake_run.connections["vidgen_default"] = stored
    with requests_mock.Mocker() as mocker:
        mocker.get(STATUS["apixo"], json=running("apixo"))
        yield mocker


@pytest.mark.usefixtures("vendor")
@pytest.mark.parametrize(
    ("arguments", "output", "cleared"),
    [
        (
            ["adopt", "dag", "run", "make", "--job-id", "task_1"],
            "dag run make has adopted the apixo job task_1 (running at the vendor). "
            "Clear the task: it checks this job and does not pay for another.",
            [],
        ),
        (
            ["adopt", "dag", "run", "make", "--job-id", "task_1", "--no-check", "--clear"],
            "dag run make has adopted the apixo job task_1 (not checked with the vendor). "
            "The task was cleared, with 2 downstream: it checks this job and does not pay for another.",
            [-1],
        ),
        (
            ["check", "dag", "run", "make", "--clear"],
            "The apixo job task_1 of dag run make is running. "
            "The task was cleared, with 2 downstream: it checks this job and does not pay for another.",
            [-1],
        ),
        (
            ["regenerate", "dag", "run", "make", "--clear"],
            "dag run make abandons the apixo job task_1 (lost; what it cost stays spent). "
            "The task was cleared, with 2 downstream: it submits a new, paid job.",
            [-1],
        ),
    ],
)
def test_a_command_prints_what_was_done(
    fake_run: FakeRun,
    vidgen: Callable[..., None],
    arguments: list[str],
    output: str,
    cleared: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_run.add(record(Phase.LOST, **APIXO))
    vidgen(*arguments)
    assert capsys.readouterr().out == f"{output}\n"
    assert fake_run.cleared == cleared


@pytest.mark.parametrize("name", ["adopt", "check", "regenerate"])
def test_a_refused_command_ends_with_the_reason(
    fake_run: FakeRun, vidgen: Callable[..., None], name: str
) -> None:
    fake_run.add(record(Phase.LOST), state="running", map_index=3)
    arguments = [name, "dag", "run", "make", "--map-index", "3"]
    with pytest.raises(SystemExit) as exit_:
        vidgen(*arguments, *(["--job-id", "task_1"] if name == "adopt" else []))
    reason = "dag run make[3] is running. Wait until it has ended, or mark it as failed, and try again."
    assert exit_.value.code == reason


@pytest.mark.parametrize("name", TASK_COMMANDS)
def test_each_command_is_in_the_audit_log(
    fake_run: FakeRun, vidgen: Callable[..., None], audit_log: list[dict[str, Any]], name: str
) -> None:
    fake_run.add(record(Phase.LOST), state="running")
    task = [] if name == "jobs" else ["make"]
    try:
        vidgen(name, "dag", "run", *task, *(["--job-id", "task_1"] if name == "adopt" else []))
    except SystemExit:
        assert name != "jobs"
    [entry] = audit_log
    assert (entry["sub_command"], entry["dag_id"]) == (f"vidgen_{name}", "dag")
    assert entry["task_id"] == (None if name == "jobs" else "make")


def test_the_commands_are_the_documented_ones() -> None:
    assert list(commands()) == [*TASK_COMMANDS, "models", "preflight"]
