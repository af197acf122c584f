# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A run from the vendor's side: requests, bills, and how soon a finished video was noticed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.client import JobView
from airflow_provider_vidgen.simulator.journal import Visit


@dataclass(frozen=True)
class VendorSide:
    """
    The simulator's books since its last reset.

    :param submits: paid requests.
    :param checks: requests for the state of a job.
    :param downloads: requests for a file.
    :param refused: how many of all were answered with 429.
    :param jobs: how many were billed.
    :param twice: how many paid requests of the same content were accepted more than once.
    :param noticed: by job, seconds from its end to the first check that came after it.
    :param fetched: by job, seconds from its end to the first request for its file.
    """

    submits: int
    checks: int
    downloads: int
    refused: int
    jobs: int
    twice: int
    noticed: list[float]
    fetched: list[float]

    @property
    def requests(self) -> int:
        """All requests."""
        return self.submits + self.checks + self.downloads


def read(simulator: SimulatorClient) -> VendorSide:
    """Read the books."""
    visits, jobs, ledger = simulator.requests(), simulator.jobs(), simulator.ledger()
    counts = Counter((visit.host, visit.method) for visit in visits)
    return VendorSide(
        submits=counts["api", "POST"],
        checks=counts["api", "GET"],
        downloads=sum(count for (host, _), count in counts.items() if host == "cdn"),
        refused=sum(visit.status == 429 for visit in visits),
        jobs=len(ledger.entries),
        twice=sum(count > 1 for count in ledger.accepted_by_hash.values()),
        noticed=[since for job in jobs if (since := _first(visits, job, "api")) is not None],
        fetched=[since for job in jobs if (since := _first(visits, job, "cdn")) is not None],
    )


def _first(visits: list[Visit], job: JobView, host: str) -> float | None:
    """Return the seconds from a job's end to the first good GET about it that came after."""
    if job.finishes is None:
        return None
    times = [
        visit.virtual_time - job.finishes
        for visit in visits
        if (visit.host, visit.method) == (host, "GET") and visit.status in (200, 206)
        if visit.virtual_time >= job.finishes and _names(visit, job.task_id)
    ]
    return min(times, default=None)


def _names(visit: Visit, task_id: str) -> bool:
    """Tell whether a request is about a job: APIModels, Apixo, and the store of results."""
    asked = (visit.query.get("task_id"), visit.query.get("taskId"))
    return task_id in asked or task_id in visit.path.split("/")
