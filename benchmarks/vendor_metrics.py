# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Metrics of a run at the vendor: requests, billed jobs, and the delay until a finished video was noticed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.jobs import JobView
from airflow_provider_vidgen.simulator.request_log import LoggedRequest


@dataclass(frozen=True)
class VendorMetrics:
    """
    The simulator's metrics since its last reset.

    :param submissions: number of POST requests.
    :param status_requests: number of status requests.
    :param downloads: number of requests for a file.
    :param rate_limited: number of requests that were answered with 429.
    :param jobs: number of billed jobs.
    :param billed_twice: number of POST bodies that were accepted more than once.
    :param notice_delays: for each job, seconds from its end to the next status request.
    :param download_delays: for each job, seconds from its end to the next request for its file.
    """

    submissions: int
    status_requests: int
    downloads: int
    rate_limited: int
    jobs: int
    billed_twice: int
    notice_delays: list[float]
    download_delays: list[float]

    @property
    def requests(self) -> int:
        """Number of all requests."""
        return self.submissions + self.status_requests + self.downloads


def read_vendor_metrics(simulator: SimulatorClient) -> VendorMetrics:
    """Return the metrics since the simulator's last reset."""
    requests, jobs, ledger = simulator.requests(), simulator.jobs(), simulator.ledger()
    counts = Counter((request.host, request.method) for request in requests)
    return VendorMetrics(
        submissions=counts["api", "POST"],
        status_requests=counts["api", "GET"],
        downloads=sum(count for (host, _), count in counts.items() if host == "cdn"),
        rate_limited=sum(request.status == 429 for request in requests),
        jobs=len(ledger.entries),
        billed_twice=sum(count > 1 for count in ledger.accepted_by_hash.values()),
        notice_delays=_delays(requests, jobs, "api"),
        download_delays=_delays(requests, jobs, "cdn"),
    )


def _delays(requests: list[LoggedRequest], jobs: list[JobView], host: str) -> list[float]:
    """Return the seconds from each job's end to the next successful GET request for it."""
    delays = []
    for job in jobs:
        if job.finishes_at is None:
            continue
        times = [
            request.virtual_time - job.finishes_at
            for request in requests
            if (request.host, request.method) == (host, "GET") and request.status in (200, 206)
            if request.virtual_time >= job.finishes_at and _is_for_job(request, job.task_id)
        ]
        if times:
            delays.append(min(times))
    return delays


def _is_for_job(request: LoggedRequest, task_id: str) -> bool:
    """Return whether a request is for a job: a status request to APIModels or Apixo, or a download."""
    ids = (request.query.get("task_id"), request.query.get("taskId"))
    return task_id in ids or task_id in request.path.split("/")
