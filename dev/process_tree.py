# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Child processes that are killed with all their descendants, by process id, and never outlive this process.

Each child leads its own session. A descendant can leave its process group (Airflow's task processes do) and
loses its parent when that dies, but it stays in its session. The members of the session, and the descendants
of these that opened a session of their own, are exactly the processes that the child has started.
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

_POLL_INTERVAL = 0.05
_KILL_TIMEOUT = 10.0


class ProcessTree:
    """A session leader and all its descendants.

    :param pid: Process id of the session's leader.
    :param created: Creation time of the leader, which distinguishes it from a later process with the same id.
    """

    def __init__(self, pid: int, created: float) -> None:
        self.pid = pid
        self.created = created
        # A process in a session of its own cannot be found any more once its parent is gone, so the members
        # found so far are kept.
        self._members: set[Any] = set()

    def members(self) -> list[Any]:
        """Return the living processes of the tree as :class:`psutil.Process`, the leader first."""
        processes = {process.pid: process for process in _living_processes()}
        leader = processes.get(self.pid)
        pids = {process.pid for process in self._members if process.is_running()}
        if leader is None or _creation_time(leader) == self.created:
            pids |= {pid for pid in processes if _session_id(pid) == self.pid}
        alive = {pid for pid in pids if pid in processes}
        parents = {pid: process.info["ppid"] for pid, process in processes.items()}
        while children := {pid for pid, parent in parents.items() if parent in alive and pid not in alive}:
            alive |= children
        self._members = {processes[pid] for pid in alive}
        return [processes[pid] for pid in sorted(alive, key=lambda pid: (pid != self.pid, pid))]


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
    """Return the process tree of a child that was started with :func:`spawn`."""
    try:
        created = _creation_time(psutil.Process(process.pid))
    except psutil.Error:
        created = 0.0
    return ProcessTree(process.pid, created)


def send_signal(processes: Iterable[Any], number: int) -> None:
    """Send a signal to processes, unless they have ended and their id was reused (psutil checks this)."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def kill_all(trees: Iterable[ProcessTree], timeout: float = _KILL_TIMEOUT) -> list[int]:
    """Kill all processes of the trees; return the ids of those still alive after the timeout."""
    remaining = list(trees)
    deadline = time.monotonic() + timeout
    while True:
        # Repeated, because a process may fork between its listing and the signal.
        alive = [process for tree in remaining for process in tree.members()]
        if not alive or time.monotonic() > deadline:
            return [process.pid for process in alive]
        send_signal(alive, signal.SIGKILL)
        time.sleep(_POLL_INTERVAL)


def wait_until_ended(trees: Iterable[ProcessTree], timeout: float) -> bool:
    """Wait until no process of the trees is alive; return whether this happened within the timeout."""
    remaining = list(trees)
    deadline = time.monotonic() + timeout
    while any(tree.members() for tree in remaining):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


class Watchdog:
    """A child process that kills the given trees when this process has ended, for whatever reason.

    ``SIGKILL`` prevents this process from cleaning up, and the parent-death signal of Linux reaches only
    direct children. The watchdog reads a pipe whose other end only this process has, so any end of it closes
    the pipe. Limits: a tree started just before this process died may be unknown to the watchdog, and a copy
    of this process made by ``fork`` keeps the pipe open.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # Ctrl-C on the terminal must end this process only, not the watchdog.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the watchdog."""
        return self._process.pid

    def add(self, tree: ProcessTree) -> None:
        """Have the watchdog kill a tree when this process has ended."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{tree.pid} {tree.created!r}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """End the watchdog, which first kills all living processes of its trees."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=2 * _KILL_TIMEOUT)


def _living_processes() -> list[Any]:
    """Return all processes except zombies; in a container, nothing may ever wait for those."""
    processes = psutil.process_iter(["ppid", "status"])
    return [process for process in processes if process.info["status"] != psutil.STATUS_ZOMBIE]


def _session_id(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _creation_time(process: Any) -> float:
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
