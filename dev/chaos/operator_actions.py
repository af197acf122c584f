# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a human operator does with a failed task: check the vendor's console, then adopt the job or clear."""

from __future__ import annotations

import re
import subprocess
import sys

from dev.chaos import scenarios
from dev.chaos.billing_check import WRONGLY_UNKNOWN, BillingRecords
from dev.chaos.scenarios import DAG_ID, Scenario
from dev.local_airflow import LocalAirflow

_TIMEOUT = 120.0
_ACCEPTED = re.compile(r"The vendor accepted \w+ job (\w+)")


class OperatorActions:
    """Follows the advice in the error messages of failed tasks."""

    def __init__(self, airflow: LocalAirflow, billing: BillingRecords) -> None:
        self._airflow = airflow
        self._billing = billing

    def handle_failure(self, scenario: Scenario, steps: list[str]) -> None:
        """
        Adopt the job of a failed task if there is one, and clear the task.

        :param steps: recorded steps of the task.
        """
        record = self._airflow.record(DAG_ID, scenario.run_id, scenario.task_id)
        phase = record.get("phase")
        job_ids = self._billing.job_ids(scenario.tag)
        if phase != "unknown":
            scenario.outcome = scenario.outcome or "failed, cleared"
            error = self.last_error(scenario)
            scenario.steps.append(f"failed with its record at {phase}: {error}")
            # Only a wrong host has to be corrected by a human before the task can continue.
            if "AirflowFailException" in error and scenario.fault != scenarios.WRONG_HOST:
                scenario.problems.append(f"ended its retries with its record at {phase}: {error}")
        else:
            scenario.unknown = True
            scenario.outcome = "unknown, adopted" if job_ids else "unknown, cleared"
            if not is_truly_unknown(scenario, steps):
                scenario.problems.append(f"{WRONGLY_UNKNOWN}: {steps}")
            if job_ids:
                uses_log = scenario.point == scenarios.FIRST_WRITE
                self._adopt(scenario, self._job_id_in_log(scenario) if uses_log else job_ids[0])
        self._airflow.clear(DAG_ID, scenario.run_id, scenario.task_id)

    def last_error(self, scenario: Scenario) -> str:
        """Return the last error in the task's log."""
        try:
            tries = self._airflow.task_instance(DAG_ID, scenario.run_id, scenario.task_id)["try_number"]
            log = self._airflow.task_log(DAG_ID, scenario.run_id, scenario.task_id, tries)
        except Exception as error:
            return f"no log: {type(error).__name__}"
        lines = [line for line in log.splitlines() if " error " in line or " critical " in line]
        return lines[-1][:600] if lines else "no error in its log"

    def _job_id_in_log(self, scenario: Scenario) -> str:
        """Return the job id from the task's log, where it is written before the ledger."""
        tries = self._airflow.task_instance(DAG_ID, scenario.run_id, scenario.task_id)["try_number"]
        for try_number in range(1, tries + 1):
            log = self._airflow.task_log(DAG_ID, scenario.run_id, scenario.task_id, try_number)
            if match := _ACCEPTED.search(log):
                return match[1]
        scenario.problems.append("the job was accepted, but its id is in no log of the task")
        return ""

    def _adopt(self, scenario: Scenario, job_id: str) -> None:
        if not job_id:
            return
        command = [sys.executable, "-m", "airflow", "vidgen", "adopt"]
        done = subprocess.run(
            # The run's conf chooses the connection, so only the task knows it.
            [*command, DAG_ID, scenario.run_id, scenario.task_id, "--job-id", job_id, "--no-check"],
            env=self._airflow.env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            output = (done.stdout + done.stderr)[-800:]
            scenario.problems.append(f"adopt ended with {done.returncode}: {output}")


def is_truly_unknown(scenario: Scenario, steps: list[str]) -> bool:
    """Return whether a POST may have been sent, and no job id was recorded."""
    may_be_sent = "intent" in steps
    return may_be_sent and "record submitted" not in steps and scenario.point in scenarios.MAY_BE_UNKNOWN
