# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What processes use: CPU time of an Airflow's components, and how long its workers are taken.

Both read ``/proc`` from outside, so all contenders are measured alike and nothing of Airflow is changed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
#: The title that LocalExecutor gives its worker processes; what follows says whether they are at work.
_WORKER = "airflow worker -- LocalExecutor"
_IDLE = "<idle>"
#: The state of a process that has ended and was not waited for yet.
_ENDED = "Z"
_SAMPLE = 0.05
_LOOK_FOR_WORKERS = 1.0


@dataclass(frozen=True)
class _Process:
    parent: int
    #: Its own CPU seconds, and those of all ended and collected children, theirs included.
    cpu: float


def cpu_seconds(components: dict[str, int]) -> dict[str, float]:
    """
    Return the CPU seconds used so far, by component.

    Of each living process of a component's tree its own time counts and that of the children it has waited
    for, which the kernel adds up through all generations. LocalExecutor's workers, their supervisors and the
    task processes are below the scheduler and given as ``workers``. A process that is ending while this reads
    may be missed or counted twice, so read when the tasks are over.

    :param components: name and process id of each component's main process; with ``scheduler``.
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


def machine_busy() -> float:
    """Return the CPU seconds that all processes of the machine have used so far."""
    user, nice, system, _idle, _wait, *rest = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / _TICKS


def worker_pids(scheduler: int) -> list[int]:
    """Return the worker processes of a scheduler's LocalExecutor."""
    return [
        pid
        for pid, process in _processes().items()
        if process.parent == scheduler and _title(pid).startswith(_WORKER)
    ]


class SlotWatch:
    """
    Add up for how many seconds how many workers were taken, from :meth:`__enter__` to the end of ``with``.

    A LocalExecutor worker is a process that takes one task after the other and says in its title whether it
    has one. That is the slot itself: it is taken from when the task is handed over until its supervisor has
    reported the end, however often a task comes and goes by being deferred or rescheduled. The start and end
    dates of task instances span all their legs and cannot tell. The titles are read twenty times a second;
    the error of each leg is at most one such step, either way.

    Airflow's supervisor may notice the end of its task process only when it wakes for its next heartbeat
    (``[workers] min_heartbeat_interval``), and the slot is taken until then. How long a living task process
    stood behind the slot is therefore added up beside it.

    :param scheduler: process id.
    """

    def __init__(self, scheduler: int) -> None:
        self._scheduler = scheduler
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slot-watch", daemon=True)
        self.seconds = 0.0
        self.at_work = 0.0
        self.most = 0

    def __enter__(self) -> SlotWatch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        workers: list[int] = []
        looked, before = -_LOOK_FOR_WORKERS, time.monotonic()
        while not self._stop.wait(_SAMPLE):
            now = time.monotonic()
            if now - looked >= _LOOK_FOR_WORKERS:
                workers, looked = worker_pids(self._scheduler), now
            taken = [pid for pid in workers if _is_taken(_title(pid))]
            self.seconds += len(taken) * (now - before)
            self.at_work += sum(map(_has_living_child, taken)) * (now - before)
            self.most = max(self.most, len(taken))
            before = now


def _is_taken(title: str) -> bool:
    return title.startswith(_WORKER) and _IDLE not in title


def _has_living_child(pid: int) -> bool:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(_fields(child)[0] != _ENDED for child in children)
    except OSError:
        return False


def _processes() -> dict[int, _Process]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _fields(folder.name)
                found[int(folder.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
    return found


def _fields(pid: str) -> list[str]:
    """Return what ``stat`` says from the state on; the name before it, in brackets, may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
