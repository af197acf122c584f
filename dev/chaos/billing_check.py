# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Compare the vendors' billing records with the files that the tasks delivered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import BillingEntry, request_hash
from dev.chaos.scenarios import DAG_ID, Scenario
from dev.local_airflow import LocalAirflow
from dev.video_decoding import decode_video

#: Start of the problem of a task that reported the outcome of its submission as unknown, and it was not.
WRONGLY_UNKNOWN = "reported as unknown, although the outcome was known"


class BillingRecords:
    """The simulator's billing entries by task; every task has a prompt of its own."""

    def __init__(self, simulator: SimulatorClient) -> None:
        self._simulator = simulator

    def entries_by_tag(self, tags: Iterable[str]) -> dict[str, list[BillingEntry]]:
        """Return the billed jobs of each task, and under ``""`` those that belong to no task."""
        tags = list(tags)
        entries: dict[str, list[BillingEntry]] = {tag: [] for tag in [*tags, ""]}
        bodies: dict[str, str] = {}
        for request in self._simulator.requests():
            if request.method == "POST":
                bodies[request_hash(request.path, request.body.encode())] = request.body
        for entry in self._simulator.ledger().entries:
            body = bodies.get(entry.request_hash, "")
            entries[next((tag for tag in tags if f"{tag} " in body), "")].append(entry)
        return entries

    def job_ids(self, tag: str) -> list[str]:
        """Return the job ids of a task, as an operator would find them in the vendor's console."""
        return [entry.task_id for entry in self.entries_by_tag([tag])[tag]]

    def had_late_link(self, job_id: str) -> bool:
        """Return whether a job's file was requested before its link was live."""
        return any(
            request.status == 404 and "/cdn/" in request.path and job_id in request.path
            for request in self._simulator.requests()
        )


def delivery_problems(
    airflow: LocalAirflow, scenario: Scenario, job_ids: list[str], decode: bool
) -> list[str]:
    """
    Check the result of a successful task.

    :param job_ids: billed jobs of the task.
    :param decode: also decode the file.
    :return: what is wrong with the result.
    """
    result = _result(airflow, scenario)
    if not isinstance(result, dict) or len(result.get("files") or []) != 1:
        return [f"the result is {result!r}"]
    problems = []
    if result["task_id"] not in job_ids:
        problems.append(f"the result is of job {result['task_id']}, but {job_ids} are billed")
    manifest = result["files"][0]
    file = Path(unquote(urlsplit(manifest["path"]).path))
    if not file.exists():
        return [*problems, f"{file} does not exist"]
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"] or len(content) != manifest["bytes"]:
        problems.append(f"{file} differs from its manifest")
    others = [
        path
        for path in file.parent.iterdir()
        if path != file and path.suffix not in (".part", ".json", ".jpg")
    ]
    if others:
        problems.append(f"more than one file: {others}")
    if decode:
        try:
            decode_video(file)
        except Exception as error:
            problems.append(f"{file} cannot be decoded: {error}")
    return problems


def _result(airflow: LocalAirflow, scenario: Scenario) -> Any:
    for is_last_attempt in (False, False, True):
        try:
            return airflow.xcom(DAG_ID, scenario.run_id, scenario.task_id)
        except requests.RequestException:
            if is_last_attempt:
                raise
    raise AssertionError


@dataclass
class Totals:
    """
    Counts of a whole run.

    :param injected: scenarios whose fault took effect.
    :param not_injected: scenarios whose fault did not, or whose crash point was not reached.
    :param jobs: billed jobs.
    :param settled: billed jobs that were charged.
    :param billed_twice: tasks with more than one job, and jobs of no task.
    :param lost: tasks with a billed job and without a complete file.
    :param stuck: tasks that did not finish in time.
    :param cleared: tasks that failed with a known outcome and were cleared.
    :param unknown: tasks that reported the outcome of their submission as unknown.
    :param wrongly_unknown: those of them whose outcome was known.
    :param problems: scenarios with any problem.
    """

    injected: int
    not_injected: int
    jobs: int
    settled: int
    billed_twice: int
    lost: int
    stuck: int
    cleared: int
    unknown: int
    wrongly_unknown: int
    problems: int

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        failures = (self.billed_twice, self.lost, self.stuck, self.wrongly_unknown, self.problems)
        return not any(failures) and not self.not_injected


def count_totals(scenarios: list[Scenario], entries: dict[str, list[BillingEntry]]) -> Totals:
    """
    Count the results of a whole run.

    :param entries: billing entries by tag, read at the end of the run.
    """
    billed = [entry for tag_entries in entries.values() for entry in tag_entries]
    tasks_billed_twice = sum(len(tag_entries) > 1 for tag, tag_entries in entries.items() if tag)
    return Totals(
        injected=sum(scenario.injected for scenario in scenarios),
        not_injected=sum(scenario.outcome == "not injected" for scenario in scenarios),
        jobs=len(billed),
        settled=sum(entry.state == "settled" for entry in billed),
        billed_twice=tasks_billed_twice + len(entries[""]),
        lost=sum(bool(entries[scenario.tag]) and not scenario.delivered for scenario in scenarios),
        stuck=sum(scenario.outcome == "STUCK" for scenario in scenarios),
        cleared=sum("failed, cleared" in scenario.outcome for scenario in scenarios),
        unknown=sum(scenario.unknown for scenario in scenarios),
        wrongly_unknown=sum(
            problem.startswith(WRONGLY_UNKNOWN) for scenario in scenarios for problem in scenario.problems
        ),
        problems=sum(bool(scenario.problems) for scenario in scenarios),
    )
