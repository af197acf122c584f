# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Error messages: the commands that they recommend, filled in for the task instance; copies of an error."""

from __future__ import annotations

import shlex

import pytest

from airflow_provider_vidgen.errors import (
    JobNotRecorded,
    StorageError,
    SubmitOutcomeUnknown,
    TaskRef,
    VidgenError,
)
from tests.support.accounts import job

TASK = TaskRef(dag_id="d", run_id="manual__2026-11-20", task_id="t")


@pytest.mark.parametrize(
    ("map_index", "job_id", "command"),
    [
        (None, "", "airflow vidgen adopt d manual__2026-11-20 t --job-id JOB_ID"),
        (-1, "task_1", "airflow vidgen adopt d manual__2026-11-20 t --job-id task_1"),
        (0, "task_1", "airflow vidgen adopt d manual__2026-11-20 t --map-index 0 --job-id task_1"),
    ],
)
def test_the_adopt_command_names_task_instance_and_job(
    map_index: int | None, job_id: str, command: str
) -> None:
    task = TaskRef(dag_id="d", run_id="manual__2026-11-20", task_id="t", map_index=map_index)
    assert task.fill_in("Run {adopt}.", job_id) == f"Run `{command}`."


def test_the_regenerate_command_names_the_task_instance() -> None:
    task = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=3)
    assert task.fill_in("Run {regenerate}.") == "Run `airflow vidgen regenerate d r t --map-index 3`."


def test_other_braces_are_left_unchanged() -> None:
    text = "s3://b/{task_id}/{{ ds }}.mp4 {} {0} }{"
    assert TASK.fill_in(text) == text
    assert TASK.fill_in(f"{text} {{regenerate}}").startswith(f"{text} `airflow vidgen regenerate ")


def test_ids_that_a_shell_would_split_are_quoted() -> None:
    task = TaskRef(dag_id="my dag", run_id="manual__2026-11-20T03:00:00+00:00; true", task_id="a'b")
    command = task.adopt_command("task 1 $(id)")
    assert shlex.split(command) == [
        *("airflow", "vidgen", "adopt"),
        *("my dag", "manual__2026-11-20T03:00:00+00:00; true", "a'b"),
        *("--job-id", "task 1 $(id)"),
    ]


def test_without_a_task_the_commands_have_placeholders() -> None:
    assert TaskRef().fill_in("{adopt} {regenerate}") == (
        "`airflow vidgen adopt DAG_ID RUN_ID TASK_ID --job-id JOB_ID` "
        "`airflow vidgen regenerate DAG_ID RUN_ID TASK_ID`"
    )


@pytest.mark.parametrize("error_type", [SubmitOutcomeUnknown, JobNotRecorded])
def test_an_error_with_a_job_has_its_id_in_the_adopt_command(error_type: type[VidgenError]) -> None:
    message = error_type("the outcome", job=job()).describe(TASK)
    assert "`airflow vidgen adopt d manual__2026-11-20 t --job-id task_1`" in message


def test_a_replaced_error_keeps_everything_but_the_summary_and_the_job() -> None:
    error = StorageError("the disk is full", vendor_message="ENOSPC", next_step="Free some space.")
    replaced = error.replaced(summary="both disks are full", job=job("apixo"))
    assert type(replaced) is StorageError
    assert str(replaced) == (
        'both disks are full: "ENOSPC". Job: apixo job task_1. The video was paid for. Free some space.'
    )
    assert (error.summary, error.job) == ("the disk is full", None)
