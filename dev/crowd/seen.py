# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is seen of a crowd from outside: the triggerer's log and processes, and the vendor's journal."""

from __future__ import annotations

import contextlib
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_vidgen.simulator.request_log import LoggedRequest
from dev.crowd.loop_probe import Hold

_BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
_RUNNING = re.compile(r"(\d+) triggers currently running")
_SAMPLE = 1.0


@dataclass
class Shift:
    """
    One triggerer, from its start to its end.

    :param started: seconds since 1970, as everywhere here.
    :param log: what it wrote, without what its triggers wrote.
    :param trigger_logs: for how many triggers it has begun a log.
    :param memory: bytes of all its processes, the most of all samples.
    :param cpu: seconds of all its processes.
    :param visits: what came to the vendors meanwhile.
    :param holds: who held its loop.
    """

    started: float
    ended: float = 0.0
    log: str = ""
    trigger_logs: int = 0
    memory: int = 0
    cpu: float = 0.0
    visits: list[LoggedRequest] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)

    @property
    def blocked(self) -> list[float]:
        """Seconds of each time that Airflow says its loop was blocked."""
        return [float(seconds) for seconds in _BLOCKED.findall(self.log)]

    @property
    def running(self) -> int:
        """How many triggers it says it has, at last; it says so once a minute."""
        return int((_RUNNING.findall(self.log) or ["0"])[-1])

    def checks(self, vendor: str) -> list[LoggedRequest]:
        """Return the requests about jobs at a vendor."""
        return checks(self.visits, vendor)


def checks(visits: Iterable[LoggedRequest], vendor: str) -> list[LoggedRequest]:
    """Return the requests about jobs at a vendor."""
    return [visit for visit in visits if (visit.vendor, visit.method) == (vendor, "GET")]


def times(visits: Iterable[LoggedRequest]) -> list[float]:
    """Return when requests came, in order."""
    return sorted(visit.real_time for visit in visits)


def busiest(moments: Sequence[float], seconds: float) -> int:
    """Return the most moments within any window of so many seconds; ``moments`` are in order."""
    return max(
        (bisect_left(moments, moment + seconds) - number for number, moment in enumerate(moments)), default=0
    )


def first_checks(visits: Iterable[LoggedRequest]) -> dict[str, float]:
    """Return by job when it was asked about first."""
    first: dict[str, float] = {}
    for visit in visits:
        asked = visit.query.get("task_id") or visit.query.get("taskId") or ""
        first[asked] = min(visit.real_time, first.get(asked, visit.real_time))
    return first


class ProcessWatch:
    """
    Take samples of processes, from :meth:`__enter__` to the end of ``with``.

    :param pids: returns the processes' ids.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-watch", daemon=True)
        self.memory = 0
        self._cpu: dict[int, float] = {}

    @property
    def cpu(self) -> float:
        """Seconds of CPU that they have used, also those that have ended."""
        return sum(self._cpu.values())

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE):
            memory = 0
            for pid in self._pids():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    memory += process.memory_info().rss
                    used = process.cpu_times()
                    self._cpu[pid] = used.user + used.system
            self.memory = max(self.memory, memory)
