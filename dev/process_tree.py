# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Child processes that are ended as whole trees, by process id, and never outlive this process.

Every child leads a session of its own. A process can leave its process group (Airflow's task processes do),
and it loses its parent when that dies, but it stays in its session; together with a walk over the children,
for those that open a session of their own, this finds all that a child has started, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

_POLL = 0.05
_KILL_TIMEOUT = 10.0


class ProcessTree:
    """One process that leads a session, and everything it has started since.

    :param pid: Process id of the session's leader.
    :param created: Its creation time. It tells the leader from a later process with the same id.
    """

    def __init__(self, pid: int, created: float) -> None:
        self.pid = pid
        self.created = created
        # Found so far: a process that opened a session of its own cannot be found any more once its parent
        # is gone, so what was seen once is remembered.
        self._known: set[Any] = set()

    def members(self) -> list[Any]:
        """Return the living processes of this tree as :class:`psutil.Process`, the leader first."""
        processes = {process.pid: process for process in _living()}
        leader = processes.get(self.pid)
        known = {process.pid for process in self._known if process.is_running()}
        if leader is None or _created(leader) == self.created:
            known |= {pid for pid in processes if _session(pid) == self.pid}
        found = {pid for pid in known if pid in processes}
        parents = {pid: process.info["ppid"] for pid, process in processes.items()}
        while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
            found |= more
        self._known = {processes[pid] for pid in found}
        return [processes[pid] for pid in sorted(found, key=lambda pid: (pid != self.pid, pid))]


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new session; its output is appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def tree_of(process: subprocess.Popen[Any]) -> ProcessTree:
    """Return the tree of a child that leads its session."""
    try:
        created = _created(psutil.Process(process.pid))
    except psutil.Error:
        created = 0.0
    return ProcessTree(process.pid, created)


def send(processes: Iterable[Any], number: int) -> None:
    """Send a signal to processes that are still the ones they were (psutil compares creation times)."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def kill_all(trees: Iterable[ProcessTree], timeout: float = _KILL_TIMEOUT) -> list[int]:
    """Kill all processes of the trees; return the process ids of those that would not die."""
    remaining = list(trees)
    deadline = time.monotonic() + timeout
    while True:
        # Again and again: a process may have forked between the look and the signal.
        alive = [process for tree in remaining for process in tree.members()]
        if not alive or time.monotonic() > deadline:
            return [process.pid for process in alive]
        send(alive, signal.SIGKILL)
        time.sleep(_POLL)


def wait_gone(trees: Iterable[ProcessTree], timeout: float) -> bool:
    """Wait until no process of the trees is alive; return whether that came true in time."""
    remaining = list(trees)
    deadline = time.monotonic() + timeout
    while any(tree.members() for tree in remaining):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


class Watchdog:
    """A process that kills the given trees when this process is gone, however it ended.

    ``SIGKILL`` leaves this process no chance to tidy up, and the parent-death signal of Linux reaches only
    direct children. The watchdog reads a pipe that only this process holds, so it notices any end. Its
    limits: a tree started in the instant before this process died may be unknown to it, and a copy of this
    process made with a plain ``fork`` keeps the pipe open.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # Ctrl-C on the terminal is for this process; the watchdog has to stay.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the watchdog itself."""
        return self._process.pid

    def add(self, tree: ProcessTree) -> None:
        """Have a tree killed should this process die."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{tree.pid} {tree.created!r}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """End the watchdog. Whatever is still alive of its trees is killed by it first."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=2 * _KILL_TIMEOUT)


def _living() -> list[Any]:
    """All processes but zombies; those are dead, and in a container nobody may ever collect them."""
    processes = psutil.process_iter(["ppid", "status"])
    return [process for process in processes if process.info["status"] != psutil.STATUS_ZOMBIE]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _created(process: Any) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:
        return -1.0


def _watch() -> None:
    trees: list[ProcessTree] = []
    for line in sys.stdin:
        pid, created = line.split()
        trees.append(ProcessTree(int(pid), float(created)))
    kill_all(trees)


if __name__ == "__main__":
    _watch()
