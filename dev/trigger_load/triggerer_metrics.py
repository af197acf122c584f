# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Measurements of a triggerer from outside: its log, its processes, and its requests to the vendors."""

from __future__ import annotations

import contextlib
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_vidgen.simulator.request_log import LoggedRequest
from dev.trigger_load.event_loop_monitor import LoopStall

_BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
_RUNNING = re.compile(r"(\d+) triggers currently running")
_SAMPLE_INTERVAL = 1.0


@dataclass
class TriggererRun:
    """
    One triggerer, from its start to its end.

    :param started_at: seconds since 1970.
    :param log: output of the triggerer, without that of its triggers.
    :param trigger_logs: number of triggers that have written a log.
    :param memory: largest memory of all its processes together, in bytes.
    :param cpu: CPU time of all its processes, in seconds.
    :param requests: requests to the vendors during the run.
    :param stalls: stalls of its event loop.
    """

    started_at: float
    log: str = ""
    trigger_logs: int = 0
    memory: int = 0
    cpu: float = 0.0
    requests: list[LoggedRequest] = field(default_factory=list)
    stalls: list[LoopStall] = field(default_factory=list)

    @property
    def blocked(self) -> list[float]:
        """Duration in seconds of each blocked event loop that Airflow warned about."""
        return [float(seconds) for seconds in _BLOCKED.findall(self.log)]

    @property
    def running(self) -> int:
        """Number of running triggers in the log's last message about it, which is written every minute."""
        return int((_RUNNING.findall(self.log) or ["0"])[-1])

    def status_requests(self, vendor: str) -> list[LoggedRequest]:
        """Return the status requests to a vendor."""
        return status_requests(self.requests, vendor)


def status_requests(requests: Iterable[LoggedRequest], vendor: str) -> list[LoggedRequest]:
    """Return the status requests to a vendor."""
    return [request for request in requests if (request.vendor, request.method) == (vendor, "GET")]


def arrival_times(requests: Iterable[LoggedRequest]) -> list[float]:
    """Return the times of requests, in order, in seconds since 1970."""
    return sorted(request.real_time for request in requests)


def max_in_window(times: Sequence[float], seconds: float) -> int:
    """Return the largest number of times in any window of this length; ``times`` must be sorted."""
    return max((bisect_left(times, time + seconds) - index for index, time in enumerate(times)), default=0)


def first_request_by_job(requests: Iterable[LoggedRequest]) -> dict[str, float]:
    """Return the time of the first status request by job id."""
    first: dict[str, float] = {}
    for request in requests:
        job_id = request.query.get("task_id") or request.query.get("taskId") or ""
        first[job_id] = min(request.real_time, first.get(job_id, request.real_time))
    return first


class ProcessMonitor:
    """
    Sample memory and CPU time of processes while the ``with`` block lasts.

    :param pids: returns the process ids.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-monitor", daemon=True)
        #: Largest memory of all processes together, in bytes.
        self.memory = 0
        self._cpu: dict[int, float] = {}

    @property
    def cpu(self) -> float:
        """CPU time of the processes in seconds, ended ones included."""
        return sum(self._cpu.values())

    def __enter__(self) -> ProcessMonitor:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_INTERVAL):
            memory = 0
            for pid in self._pids():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    memory += process.memory_info().rss
                    used = process.cpu_times()
                    self._cpu[pid] = used.user + used.system
            self.memory = max(self.memory, memory)
