# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Resource usage of processes: CPU time of Airflow's components, memory, and occupied worker slots.

All figures are read from ``/proc``, so every contender is measured alike and Airflow is not changed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
#: Process title of a LocalExecutor worker; the rest of the title is its state.
_WORKER = "airflow worker -- LocalExecutor"
_IDLE = "<idle>"
#: State of a process that has ended and was not waited for yet.
_ZOMBIE = "Z"
_SAMPLE_INTERVAL = 0.05
_WORKER_LIST_INTERVAL = 1.0


@dataclass(frozen=True)
class _Process:
    parent: int
    #: CPU seconds of the process, and of all descendants that have ended and were waited for.
    cpu: float


def cpu_seconds(components: dict[str, int]) -> dict[str, float]:
    """
    Return the CPU seconds used so far, by component.

    Adds up the time of each living process in a component's tree, which includes the time of its ended
    descendants. LocalExecutor's workers, their supervisors and the task processes are children of the
    scheduler, and are returned as ``workers``. A process that is just ending may be missed or counted twice,
    so call this when no task is running.

    :param components: process id of each component's main process; ``scheduler`` is required.
    """
    processes = _processes()
    children: dict[int, list[int]] = defaultdict(list)
    for pid, process in processes.items():
        children[process.parent].append(pid)
    used: dict[str, float] = defaultdict(float)

    def add(pid: int, name: str) -> None:
        if name == "scheduler" and _title(pid).startswith(_WORKER):
            name = "workers"
        used[name] += processes[pid].cpu
        for child in children[pid]:
            add(child, name)

    for name, pid in components.items():
        add(pid, name)
    return dict(used)


def machine_cpu_seconds() -> float:
    """Return the CPU seconds that all processes of the machine have used so far."""
    user, nice, system, _idle, _iowait, *rest = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / _TICKS_PER_SECOND


def resident_memory() -> float:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


class WorkerSlotMonitor:
    """
    Measure for how long worker slots are occupied while the ``with`` block lasts.

    A LocalExecutor worker process runs one task after another, and its title shows whether it has one. Its
    slot is occupied from when the task is assigned until its supervisor has reported the end, also if the
    task defers or reschedules itself several times; the start and end dates of task instances include the
    waiting time in between. The titles are read twenty times a second, so the error of each occupation is at
    most 0.05 s.

    Airflow's supervisor may notice the end of its task process only at its next heartbeat
    (``[workers] min_heartbeat_interval``), and the slot is occupied until then. Therefore the seconds with a
    living task process are measured separately.

    :param scheduler: process id of the scheduler.
    """

    def __init__(self, scheduler: int) -> None:
        self._scheduler = scheduler
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-slot-monitor", daemon=True)
        #: Seconds for which slots were occupied, added up over all slots.
        self.occupied_seconds = 0.0
        #: The part of them with a living task process.
        self.task_process_seconds = 0.0
        #: Largest number of slots occupied at the same time.
        self.max_occupied = 0

    def __enter__(self) -> WorkerSlotMonitor:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        workers: list[int] = []
        listed_at, sampled_at = -_WORKER_LIST_INTERVAL, time.monotonic()
        while not self._stop.wait(_SAMPLE_INTERVAL):
            now = time.monotonic()
            if now - listed_at >= _WORKER_LIST_INTERVAL:
                workers, listed_at = _worker_pids(self._scheduler), now
            occupied = [pid for pid in workers if _is_occupied(_title(pid))]
            self.occupied_seconds += len(occupied) * (now - sampled_at)
            self.task_process_seconds += sum(map(_has_living_child, occupied)) * (now - sampled_at)
            self.max_occupied = max(self.max_occupied, len(occupied))
            sampled_at = now


def _worker_pids(scheduler: int) -> list[int]:
    return [
        pid
        for pid, process in _processes().items()
        if process.parent == scheduler and _title(pid).startswith(_WORKER)
    ]


def _is_occupied(title: str) -> bool:
    return title.startswith(_WORKER) and _IDLE not in title


def _has_living_child(pid: int) -> bool:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(_stat_fields(child)[0] != _ZOMBIE for child in children)
    except OSError:
        return False


def _processes() -> dict[int, _Process]:
    processes = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _stat_fields(folder.name)
                cpu = sum(map(int, fields[11:15])) / _TICKS_PER_SECOND
                processes[int(folder.name)] = _Process(int(fields[1]), cpu)
    return processes


def _stat_fields(pid: str) -> list[str]:
    """Return the fields of ``stat`` after the name, which is in brackets and may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
