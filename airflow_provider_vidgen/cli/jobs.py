# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen jobs``, ``adopt`` and ``regenerate``: list the ledgers of a run, and change one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.cli.simple_table import AirflowConsole

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.ledger import Ledger, Phase, Record

if TYPE_CHECKING:
    from argparse import Namespace

_ACTIVE_STATES = ("running", "deferred", "queued", "scheduled", "restarting")
_HAS_JOB = (Phase.SUBMITTED, Phase.DELIVERED)


def list_jobs(args: Namespace) -> None:
    """Print the newest submission of each task of a run."""
    rows = []
    for task in airflow_core.tasks_of_run(args.dag_id, args.run_id):
        ledger = Ledger(task.store, max_tries=task.max_tries, now=utcnow)
        row = {"task": task.task_id, "map_index": str(task.map_index), "task_state": task.state}
        try:
            record = ledger.read()
        except LedgerUnreadable as error:
            rows.append({**row, "phase": "unreadable", "job_id": error.summary})
            continue
        if record is not None:
            rows.append(
                {
                    **row,
                    "phase": str(record.phase),
                    "job_id": record.task_id or "-",
                    "vendor": record.vendor,
                    "model": record.model,
                    "submitted_at": record.submitted_at,
                    "deadline": record.deadline,
                }
            )
    AirflowConsole().print_as(data=rows, output=args.output)


def adopt(args: Namespace) -> None:
    """Write the id of a job found in the vendor's console into a task's ledger."""
    task, ledger, record = _find_submission(args)
    job_id = args.job_id.strip()
    if record.phase in _HAS_JOB and record.task_id != job_id:
        sys.exit(f"{task} already has the job {record.task_id} ({record.phase}). Nothing was changed.")
    ledger.transition(record, Phase.SUBMITTED, task_id=job_id, expires_at="", result_urls=(), files=())
    print(  # noqa: T201
        f"{task} has adopted the {record.vendor} job {job_id}. Clear the task: it checks this job "
        "and does not pay for another."
    )


def regenerate(args: Namespace) -> None:
    """Make the next try of a task submit a new job, whatever the state of its current job."""
    task, ledger, record = _find_submission(args)
    ledger.transition(record, Phase.DISCARDED)
    job = f"job {record.task_id}" if record.task_id else "job of unknown id"
    print(  # noqa: T201
        f"{task} abandons the {record.vendor} {job} ({record.phase}; what it cost stays spent). "
        "Clear the task: it submits a new, paid job."
    )


def _find_submission(args: Namespace) -> tuple[str, Ledger, Record]:
    """Return the name, the ledger and the record of a task that is not active."""
    tasks = airflow_core.tasks_of_run(args.dag_id, args.run_id)
    found = [task for task in tasks if (task.task_id, task.map_index) == (args.task_id, args.map_index)]
    name = f"{args.dag_id} {args.run_id} {args.task_id}[{args.map_index}]"
    if not found:
        sys.exit(f"There is no task instance {name}.")
    task = found[0]
    ledger = Ledger(task.store, max_tries=task.max_tries, now=utcnow)
    try:
        record = ledger.read()
    except LedgerUnreadable as error:
        sys.exit(str(error))
    if record is None:
        sys.exit(
            f"{name} has not submitted anything. A clear submits; a VideoTaskSensor waits for a job that "
            "was submitted elsewhere."
        )
    if task.state in _ACTIVE_STATES:
        sys.exit(f"{name} is {task.state}. Wait until it has ended, or mark it as failed, and try again.")
    return name, ledger, record
