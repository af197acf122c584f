# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the system tests say about runs: one word for each thing a test looks at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import BillingEntry
from airflow_provider_vidgen.simulator.request_log import LoggedRequest
from dev.airflow_api import FINISHED_TASK
from dev.local_airflow import LocalAirflow

#: Two cores shared with other work: a wait that is over only if something is broken.
PATIENCE = 150.0

#: Tasks the current test has looked at; their logs are shown if it fails.
looked_at: list[Task] = []


@dataclass(frozen=True)
class Task:
    """One task instance."""

    airflow: LocalAirflow
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __post_init__(self) -> None:
        looked_at.append(self)

    @property
    def _key(self) -> tuple[str, str, str]:
        return self.dag_id, self.run_id, self.task_id

    def now(self) -> dict[str, Any]:
        """Return the task instance as REST shows it."""
        return self.airflow.task_instance(*self._key, map_index=self.map_index)

    def wait(
        self, states: str | Iterable[str] = FINISHED_TASK, try_number: int = 0, timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait for a state, and return the task instance."""
        wanted = states if isinstance(states, str) else frozenset(states)
        return self.airflow.wait_for_task(
            *self._key, wanted, timeout=timeout, map_index=self.map_index, try_number=try_number
        )

    def ends(self, state: str, try_number: int = 0) -> dict[str, Any]:
        """Wait for the end, and claim how it is."""
        ended = self.wait(try_number=try_number)
        assert ended["state"] == state, f"{self} ended as {ended['state']}\n{self.log()}"
        return ended

    def clear(self) -> None:
        """Clear it, and see that it is taken up."""
        self.airflow.clear(
            *self._key, map_index=self.map_index if self.map_index >= 0 else None, timeout=PATIENCE
        )

    def xcom(self, key: str = "return_value") -> Any:
        """Return an XCom value, or ``None``."""
        return self.airflow.xcom(*self._key, key=key, map_index=self.map_index)

    def record(self) -> dict[str, Any]:
        """Return the ledger's record, from the state store."""
        return self.airflow.record(*self._key, map_index=self.map_index)

    def wait_for_job(self) -> str:
        """Wait until the vendor has accepted the job, and return its id."""
        self.wait({"running", "deferred"})
        while not (job_id := self.record().get("task_id")):
            state = self.now()["state"]
            assert state not in FINISHED_TASK, f"{self} ended as {state}\n{self.log()}"
        return str(job_id)

    def log(self, try_number: int | None = None) -> str:
        """Return the log of one try, or of all."""
        last = self.now()["try_number"]
        wanted = range(1, last + 1) if try_number is None else [try_number]
        return "\n".join(
            self.airflow.task_log(*self._key, try_number=number, map_index=self.map_index)
            for number in wanted
        )

    def __str__(self) -> str:
        return f"{self.dag_id}.{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class Runs:
    """The runs that all tests share, each started once at the beginning."""

    airflow: LocalAirflow
    ids: dict[str, str]

    def task(self, dag_id: str, task_id: str, map_index: int = -1) -> Task:
        """Return a task of the run of a Dag."""
        return Task(self.airflow, dag_id, self.ids[dag_id], task_id, map_index)


def bill(simulator: SimulatorClient, job_id: str) -> BillingEntry:
    """Return the one entry in the vendors' books for a job."""
    [entry] = [entry for entry in simulator.ledger().entries if entry.task_id == job_id]
    return entry


def orders(simulator: SimulatorClient, words: str) -> list[LoggedRequest]:
    """Return the paid requests that reached a vendor and hold these words."""
    return [visit for visit in simulator.requests() if visit.method == "POST" and words in visit.body]


def jobs_for(simulator: SimulatorClient, words: str) -> list[BillingEntry]:
    """Return the vendors' books for all jobs whose request holds these words."""
    from airflow_provider_vidgen.simulator import request_hash

    hashes = {request_hash(visit.path, visit.body.encode()) for visit in orders(simulator, words)}
    return [entry for entry in simulator.ledger().entries if entry.request_hash in hashes]


def python_in_airflow(airflow: LocalAirflow, code: str) -> Any:
    """Run a script in Airflow's own environment, and return the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=airflow.env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
