# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen adopt``, ``check`` and ``regenerate``; each use is in Airflow's audit log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.utils.cli import action_cli
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_provider_vidgen import airflow_core, task_actions
from airflow_provider_vidgen.errors import TaskRef
from airflow_provider_vidgen.task_actions import ActionRefused

if TYPE_CHECKING:
    from argparse import Namespace


# The names of these functions become the events in the audit log: ``cli_vidgen_adopt``.


@action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
@providers_configuration_loaded
def vidgen_adopt(args: Namespace) -> None:
    """Give a task a job that was found in the vendor's console."""
    with _action():
        print(task_actions.adopt(_task(args), args.job_id, clear=args.clear, check=not args.no_check))  # noqa: T201


@action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
@providers_configuration_loaded
def vidgen_check(args: Namespace) -> None:
    """Ask the vendor about the job of a failed task."""
    with _action():
        print(task_actions.look_again(_task(args), clear=args.clear))  # noqa: T201


@action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
@providers_configuration_loaded
def vidgen_regenerate(args: Namespace) -> None:
    """Make the next try of a task submit a new job."""
    with _action():
        print(task_actions.regenerate(_task(args), clear=args.clear))  # noqa: T201


def _task(args: Namespace) -> TaskRef:
    return TaskRef(dag_id=args.dag_id, run_id=args.run_id, task_id=args.task_id, map_index=args.map_index)


@contextmanager
def _action() -> Iterator[None]:
    """Let an action find its connection, and end with exit code 1 and the reason if it is refused."""
    airflow_core.use_connections_of_the_database()
    try:
        yield
    except ActionRefused as refusal:
        sys.exit(str(refusal))
