# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The command group ``airflow vidgen``; what it does is imported when it is called."""

from __future__ import annotations

from airflow.cli.cli_config import (
    ARG_DAG_ID,
    ARG_MAP_INDEX,
    ARG_OUTPUT,
    ARG_TASK_ID,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
)

from airflow_provider_vidgen.vendors import vendor_names

_RUN_ID = Arg(("run_id",), help="The id of the Dag run")  # type: ignore[no-untyped-call]
_JOB_ID = Arg(  # type: ignore[no-untyped-call]
    ("--job-id",), help="The vendor's id of the job", required=True
)
_CLEAR = Arg(  # type: ignore[no-untyped-call]
    ("--clear",), help="Also clear the task, and those downstream of it", action="store_true"
)
_NO_CHECK = Arg(  # type: ignore[no-untyped-call]
    ("--no-check",),
    help="Do not ask the vendor about the job first; for connections that only the workers have",
    action="store_true",
)
_TASK = (ARG_DAG_ID, _RUN_ID, ARG_TASK_ID, ARG_MAP_INDEX)


_DAG_OR_FILE = Arg(  # type: ignore[no-untyped-call]
    ("dag_or_file",), help="A Dag id, or the path of a Dag file or of a folder (with a / or ending in .py)"
)
_VENDOR = Arg(("--vendor",), help="Only this vendor", choices=vendor_names())  # type: ignore[no-untyped-call]
_FALLBACK_VENDOR = Arg(  # type: ignore[no-untyped-call]
    ("--vendor",),
    help="The vendor of tasks whose connection does not exist here or is only known at run time",
    choices=vendor_names(),
)
_CONN_ID = Arg(  # type: ignore[no-untyped-call]
    ("--vidgen-conn-id",), help="Ask this connection's vendor for its list, if it has one; costs nothing"
)

_COMMANDS_BEFORE_A_RUN = [
    ActionCommand(
        name="models",
        help="List the models of each vendor with their limits and documented prices",
        func=lazy_load_command("airflow_provider_vidgen.cli.models.list_models"),
        args=(_VENDOR, _CONN_ID, ARG_OUTPUT, ARG_VERBOSE),
    ),
    ActionCommand(
        name="preflight",
        help="Check the requests of a Dag before a run, and estimate their cost",
        description="Check the requests of a Dag as far as they are known before a run, and estimate their "
        "cost. Nothing is sent to a vendor. Exit code 0: no errors; 1: requests that would be refused; "
        "2: something could not be checked.",
        func=lazy_load_command("airflow_provider_vidgen.cli.preflight.preflight"),
        args=(_DAG_OR_FILE, _FALLBACK_VENDOR, ARG_OUTPUT, ARG_VERBOSE),
    ),
]


def get_commands() -> list[CLICommand]:
    """Return the commands, for Airflow."""
    return [
        GroupCommand(
            name="vidgen",
            help="Paid video jobs",
            subcommands=[
                ActionCommand(
                    name="jobs",
                    help="List what each task of a run has submitted, and which tasks wait for capacity",
                    func=lazy_load_command("airflow_provider_vidgen.cli.jobs.vidgen_jobs"),
                    args=(ARG_DAG_ID, _RUN_ID, ARG_OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="adopt",
                    help="Give a task the id of a job found in the vendor's console; "
                    "clearing the task then checks that job instead of paying for another",
                    func=lazy_load_command("airflow_provider_vidgen.cli.actions.vidgen_adopt"),
                    args=(*_TASK, _JOB_ID, _NO_CHECK, _CLEAR, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="check",
                    help="Ask the vendor about the job of a failed task, free of charge; "
                    "if the job lives, clearing the task checks it instead of paying for another",
                    func=lazy_load_command("airflow_provider_vidgen.cli.actions.vidgen_check"),
                    args=(*_TASK, _CLEAR, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="regenerate",
                    help="Leave a task's job behind; clearing the task then submits a new, paid one",
                    func=lazy_load_command("airflow_provider_vidgen.cli.actions.vidgen_regenerate"),
                    args=(*_TASK, _CLEAR, ARG_VERBOSE),
                ),
                *_COMMANDS_BEFORE_A_RUN,
            ],
        )
    ]
