# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The judge: what the vendors' books say of each task, against what the task has to show."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.billing import BillingEntry, request_hash
from dev.chaos.plan import DAG_ID, Cell
from dev.local_airflow import LocalAirflow
from dev.probing import probe


@dataclass
class Totals:
    """What the whole run comes to."""

    injected: int = 0
    jobs: int = 0
    settled: int = 0
    twice: int = 0
    lost: int = 0
    stuck: int = 0
    tries_used_up: int = 0
    unknown: int = 0
    untrue: int = 0
    missed: int = 0
    trouble: int = 0

    @property
    def good(self) -> bool:
        """Whether the promise held."""
        return not (self.twice or self.lost or self.stuck or self.untrue or self.trouble or self.missed)


class Books:
    """Reads the vendors' books by task: each prompt is one task's alone."""

    def __init__(self, simulator: SimulatorClient) -> None:
        self._simulator = simulator

    def by_tag(self, tags: Iterable[str]) -> dict[str, list[BillingEntry]]:
        """Return the jobs of each task; of those that belong to no task, under ``""``."""
        known = list(tags)
        found: dict[str, list[BillingEntry]] = {tag: [] for tag in [*known, ""]}
        prompts: dict[str, str] = {}
        for visit in self._simulator.requests():
            if visit.method == "POST":
                prompts[request_hash(visit.path, visit.body.encode())] = visit.body
        for entry in self._simulator.ledger().entries:
            body = prompts.get(entry.request_hash, "")
            found[next((tag for tag in known if f"{tag} " in body), "")].append(entry)
        return found

    def not_live(self, job: str) -> bool:
        """Tell whether somebody asked for a job's file before its link was live."""
        return any(
            visit.status == 404 and "/cdn/" in visit.path and job in visit.path
            for visit in self._simulator.requests()
        )

    def jobs_of(self, tag: str) -> list[str]:
        """Return the ids of a task's jobs, as a person would find them in the vendor's console."""
        return [entry.task_id for entry in self.by_tag([tag])[tag]]


def judge_file(airflow: LocalAirflow, cell: Cell, jobs: list[str], plays: bool) -> list[str]:
    """
    Look at what a successful task hands on.

    :param jobs: those that were billed.
    :param plays: decode the file, too.
    :return: what is wrong with it.
    """
    result = _result(airflow, cell)
    if not isinstance(result, dict) or len(result.get("files") or []) != 1:
        return [f"hands on {result!r}"]
    wrong = []
    if result["task_id"] not in jobs:
        wrong.append(f"job {result['task_id']} is handed on, {jobs} are billed")
    manifest = result["files"][0]
    file = Path(unquote(urlsplit(manifest["path"]).path))
    if not file.exists():
        return [*wrong, f"{file} is not there"]
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"] or len(content) != manifest["bytes"]:
        wrong.append(f"{file} is not what was landed")
    others = [
        path
        for path in file.parent.iterdir()
        if path != file and path.suffix not in (".part", ".json", ".jpg")
    ]
    if others:
        wrong.append(f"more files than one: {others}")
    if plays:
        try:
            probe(file)
        except Exception as error:
            wrong.append(f"{file} does not play: {error}")
    return wrong


def _result(airflow: LocalAirflow, cell: Cell) -> Any:
    for last in (False, False, True):
        try:
            return airflow.xcom(DAG_ID, cell.run_id, cell.task_id)
        except requests.RequestException:
            if last:
                raise
    raise AssertionError


def add_up(cells: list[Cell], entries: dict[str, list[BillingEntry]]) -> Totals:
    """Read the books of the whole run, again and at its end, so that nothing late is missed."""
    totals = Totals()
    totals.injected = sum(cell.injected for cell in cells)
    totals.missed = sum(cell.outcome == "missed" for cell in cells)
    totals.unknown = sum(cell.unknown for cell in cells)
    totals.untrue = sum("known after all" in text for cell in cells for text in cell.trouble)
    totals.tries_used_up = sum("failed, cleared" in cell.outcome for cell in cells)
    totals.stuck = sum(cell.outcome == "STUCK" for cell in cells)
    totals.trouble = sum(bool(cell.trouble) for cell in cells)
    everything = [entry for found in entries.values() for entry in found]
    totals.jobs = len(everything)
    states = Counter(entry.state for entry in everything)
    totals.settled = states["settled"]
    totals.twice = sum(len(found) > 1 for tag, found in entries.items() if tag) + len(entries[""])
    totals.lost = sum(bool(entries[cell.tag]) and not cell.delivered for cell in cells)
    return totals
