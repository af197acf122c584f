# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Dag runs and task instances of the system tests, and the vendors' bills for them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import BillingEntry
from airflow_provider_vidgen.simulator.request_log import LoggedRequest
from dev.airflow_api import FINISHED_TASK
from dev.local_airflow import LocalAirflow

#: Seconds. Long enough for two cores shared with other work, so a timeout means that something is broken.
TIMEOUT = 150.0

#: Tasks that the current test has used; their logs are shown if it fails.
inspected_tasks: list[Task] = []


@dataclass(frozen=True)
class Task:
    """One task instance."""

    airflow: LocalAirflow
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __post_init__(self) -> None:
        # The tasks of scenarios in other threads do not belong to the current test.
        if threading.current_thread() is threading.main_thread():
            inspected_tasks.append(self)

    @property
    def _key(self) -> tuple[str, str, str]:
        return self.dag_id, self.run_id, self.task_id

    def now(self) -> dict[str, Any]:
        """Return the task instance as the REST API shows it."""
        return self.airflow.task_instance(*self._key, map_index=self.map_index)

    def wait(
        self, states: str | Iterable[str] = FINISHED_TASK, try_number: int = 0, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Wait for a state, and return the task instance."""
        expected = states if isinstance(states, str) else frozenset(states)
        return self.airflow.wait_for_task(
            *self._key, expected, timeout=timeout, map_index=self.map_index, try_number=try_number
        )

    def wait_until_finished(self, state: str, try_number: int = 0) -> dict[str, Any]:
        """Wait for the end of the task, assert its final state, and return the task instance."""
        finished = self.wait(try_number=try_number)
        assert finished["state"] == state, f"{self} ended as {finished['state']}\n{self.log()}"
        return finished

    def clear(self) -> None:
        """Clear the task instance, and wait until the scheduler has taken it up."""
        self.airflow.clear(
            *self._key, map_index=self.map_index if self.map_index >= 0 else None, timeout=TIMEOUT
        )

    def xcom(self, key: str = "return_value") -> Any:
        """Return an XCom value, or ``None``."""
        return self.airflow.xcom(*self._key, key=key, map_index=self.map_index)

    def record(self) -> dict[str, Any]:
        """Return the newest ledger record from the task state store."""
        return self.airflow.record(*self._key, map_index=self.map_index)

    def wait_for_job(self) -> str:
        """Wait until the vendor has accepted the job, and return its id."""
        self.wait({"running", "deferred"})
        while not (job_id := self.record().get("task_id")):
            state = self.now()["state"]
            assert state not in FINISHED_TASK, f"{self} ended as {state}\n{self.log()}"
            time.sleep(0.2)
        return str(job_id)

    def log(self, try_number: int | None = None) -> str:
        """Return the log of one try, or of all."""
        last = self.now()["try_number"]
        numbers = range(1, last + 1) if try_number is None else [try_number]
        return "\n".join(
            self.airflow.task_log(*self._key, try_number=number, map_index=self.map_index)
            for number in numbers
        )

    def __str__(self) -> str:
        return f"{self.dag_id}.{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class Runs:
    """One run of each system test Dag; all of them are started together, before the first test."""

    airflow: LocalAirflow
    ids: dict[str, str]

    def task(self, dag_id: str, task_id: str, map_index: int = -1) -> Task:
        """Return a task of the run of a Dag."""
        return Task(self.airflow, dag_id, self.ids[dag_id], task_id, map_index)


def bill(simulator: SimulatorClient, job_id: str) -> BillingEntry:
    """Return the one entry in the billing ledger for a job."""
    [entry] = [entry for entry in simulator.ledger().entries if entry.task_id == job_id]
    return entry


def submissions(simulator: SimulatorClient, text: str) -> list[LoggedRequest]:
    """Return the paid requests that reached a vendor and contain this text."""
    return [visit for visit in simulator.requests() if visit.method == "POST" and text in visit.body]


def billed_jobs(simulator: SimulatorClient, text: str) -> list[BillingEntry]:
    """Return the billing ledger's entries for all jobs whose request contains this text."""
    from airflow_provider_vidgen.simulator import request_hash

    hashes = {request_hash(visit.path, visit.body.encode()) for visit in submissions(simulator, text)}
    return [entry for entry in simulator.ledger().entries if entry.request_hash in hashes]


def run_python_in_airflow(airflow: LocalAirflow, code: str, *arguments: str) -> Any:
    """Run a script in Airflow's environment, and return the JSON of the last line it prints."""
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=airflow.env,
        # Python imports from the current folder first, and Airflow uses a copy of the package.
        cwd=airflow.home,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def run_airflow_command(airflow: LocalAirflow, *arguments: str, timeout: float = TIMEOUT) -> str:
    """Run ``airflow ...`` in Airflow's environment, and return what it prints to the standard output."""
    process = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env=airflow.env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    return process.stdout


#: Runs ``airflow`` several times in one process, because most of a command's time is imports.
_COMMANDS = """
import contextlib, io, json, sys
from airflow.cli.cli_parser import get_parser

results = []
for arguments in json.loads(sys.argv[1]):
    output, error = io.StringIO(), ""
    with contextlib.redirect_stdout(output):
        try:
            parsed = get_parser().parse_args(arguments)
            parsed.func(parsed)
        except SystemExit as exit_:
            error = str(exit_.code)
    results.append([output.getvalue(), error])
print(json.dumps(results))
"""


def run_airflow_commands(airflow: LocalAirflow, *commands: Iterable[str]) -> list[list[str]]:
    """Run several ``airflow`` commands one after the other; return each one's output, and why it failed."""
    arguments = json.dumps([list(command) for command in commands])
    results: list[list[str]] = run_python_in_airflow(airflow, _COMMANDS, arguments)
    return results
