# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen jobs``: what each task of a run has submitted, and which tasks wait for capacity."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.cli.simple_table import AirflowConsole, SimpleTable
from airflow.utils.cli import action_cli, suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.airflow_core import CoreTask, UnknownRun
from airflow_provider_vidgen.capacity import KEY, QueueTicket
from airflow_provider_vidgen.clock import from_iso, utcnow
from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.ledger import Ledger, Record

if TYPE_CHECKING:
    from argparse import Namespace

_MAX_WIDTH = 10_000


@action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
@suppress_logs_and_warning
@providers_configuration_loaded
def vidgen_jobs(args: Namespace) -> None:
    """Print the newest submission of each task of a run, and the tasks that wait for capacity."""
    try:
        with airflow_core.tasks_of_run(args.dag_id, args.run_id) as tasks:
            rows = [row for row in map(_row, tasks) if row is not None]
    except UnknownRun as error:
        sys.exit(str(error))
    if args.output == "table" and rows:
        _print_table(rows)
    else:
        AirflowConsole().print_as(data=rows, output=args.output)


def _row(task: CoreTask) -> dict[str, str] | None:
    """
    Return what is printed of a task; times are ISO 8601, UTC.

    :return: ``None`` if the task has neither submitted a job nor waits for capacity.
    """
    record, unreadable = _read(task)
    ticket = QueueTicket.from_json(task.store.get(KEY)) if task.state == "up_for_reschedule" else None
    if record is None and ticket is None and not unreadable:
        return None
    row = {
        "task": task.task_id,
        "map_index": str(task.map_index),
        "name": task.name,
        "task_state": task.state,
        "phase": "unreadable" if unreadable else str(record.phase) if record else "",
        "job_id": record.task_id if record else "",
        "vendor": record.vendor if record else "",
        "model": record.model if record else "",
        "since": _short(record.submitted_at) if record else "",
        "until": _short(record.deadline) if record else "",
        "refused": "",
        "next_check": "",
    }
    if ticket is not None:
        row |= {
            "phase": "waiting",
            "since": _short(ticket.queued_at),
            "until": _short(ticket.expires_at),
            "refused": str(ticket.refusals),
            "next_check": _short(task.next_check),
        }
    return row


def _read(task: CoreTask) -> tuple[Record | None, bool]:
    """Return a task's record, and whether it cannot be read."""
    try:
        return Ledger(task.store, max_tries=task.max_tries, now=utcnow).read(), False
    except LedgerUnreadable:
        return None, True


def _short(time: str) -> str:
    return f"{from_iso(time):%Y-%m-%dT%H:%M:%SZ}" if time else ""


def _print_table(rows: list[dict[str, str]]) -> None:
    """
    Print rows as Airflow's own table, without empty columns.

    In a narrow terminal Airflow's table breaks ids into pieces; here a line is longer than the terminal
    instead, so that ids can be copied.
    """
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    table = SimpleTable(show_header=True)  # type: ignore[no-untyped-call]
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    console = AirflowConsole()
    console.width = _MAX_WIDTH
    console.print(table, soft_wrap=True)
