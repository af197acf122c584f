# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The person at three in the morning: finds a failed task, looks into the vendor's console, and acts."""

from __future__ import annotations

import re
import subprocess
import sys

from dev.chaos import plan
from dev.chaos.books import Books
from dev.chaos.plan import DAG_ID, Cell
from dev.local_airflow import LocalAirflow

_PATIENCE = 120.0
_ACCEPTED = re.compile(r"The vendor accepted \w+ job (\w+)")


class Person:
    """Clears and adopts as the messages of the failed tasks advise."""

    def __init__(self, airflow: LocalAirflow, books: Books) -> None:
        self._airflow = airflow
        self._books = books

    def attend(self, cell: Cell, steps: list[str]) -> None:
        """
        Deal with a failed task.

        :param steps: the way the task took.
        """
        record = self._airflow.record(DAG_ID, cell.run_id, cell.task_id)
        phase = record.get("phase")
        jobs = self._books.jobs_of(cell.tag)
        if phase != "unknown":
            cell.outcome = cell.outcome or "failed, cleared"
            words = self.last_words(cell)
            cell.steps.append(f"failed with its record at {phase}: {words}")
            # Only a person can set a connection right.
            if "AirflowFailException" in words and cell.kind != plan.MISTYPED:
                cell.trouble.append(f"ended its retries with its record at {phase}: {words}")
        else:
            cell.unknown = True
            cell.outcome = "unknown, adopted" if jobs else "unknown, cleared"
            if not truly_unknown(cell, steps):
                cell.trouble.append(f"reported as unknown, and known after all: {steps}")
            if jobs:
                self._adopt(cell, self._id_in_log(cell) if cell.point == plan.FIRST_WRITE else jobs[0])
        self._airflow.clear(DAG_ID, cell.run_id, cell.task_id)

    def _id_in_log(self, cell: Cell) -> str:
        """Return the id that the task was given, which stands in its log before it is on record."""
        last = self._airflow.task_instance(DAG_ID, cell.run_id, cell.task_id)["try_number"]
        for number in range(1, last + 1):
            log = self._airflow.task_log(DAG_ID, cell.run_id, cell.task_id, number)
            if found := _ACCEPTED.search(log):
                return found[1]
        cell.trouble.append("was accepted, and no log of the task has the job's id")
        return ""

    def _adopt(self, cell: Cell, job_id: str) -> None:
        if not job_id:
            return
        command = [sys.executable, "-m", "airflow", "vidgen", "adopt", DAG_ID, cell.run_id, cell.task_id]
        done = subprocess.run(
            [*command, "--job-id", job_id],
            env=self._airflow.env,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            cell.trouble.append(f"adopt ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")

    def last_words(self, cell: Cell) -> str:
        """Return the last error in the task's log."""
        try:
            tries = self._airflow.task_instance(DAG_ID, cell.run_id, cell.task_id)["try_number"]
            log = self._airflow.task_log(DAG_ID, cell.run_id, cell.task_id, tries)
        except Exception as error:
            return f"no log: {type(error).__name__}"
        lines = [line for line in log.splitlines() if " error " in line or " critical " in line]
        return lines[-1][:600] if lines else "no error in its log"


def truly_unknown(cell: Cell, steps: list[str]) -> bool:
    """A paid call may have left, and no id was ever on record."""
    left = "intent" in steps
    return left and "record submitted" not in steps and cell.point in plan.MAY_BE_UNKNOWN
