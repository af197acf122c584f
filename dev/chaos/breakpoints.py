# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A breakpoint in a task: the task waits at a crash point until the harness releases it.

A breakpoint stops a task once. Task and harness communicate by files, because files survive every process
that may be killed::

    TAG.reached   created by the first process that reaches the crash point
    TAG.waiting   process id and parent of the process that waits at the crash point
    TAG.released  created by the harness: the process continues
    TAG.trace     the steps of the task, in all its tries
    TAG.job       the vendor's job id
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_POLL_INTERVAL = 0.02
#: If the harness has ended, the task continues after this time.
_TIMEOUT = 300.0


@dataclass(frozen=True)
class Breakpoint:
    """
    The breakpoint of one task.

    :param folder: folder of the files.
    :param tag: name of the files.
    :param point: the crash point at which the task waits.
    :param fault: the fault to be injected.
    :param ignore_ledger: the task ignores its ledger, as a negative control of the billing check.
    """

    folder: str
    tag: str
    point: str
    fault: str
    ignore_ledger: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments."""
        return asdict(self)

    # Called in the task

    def trace(self, step: str) -> None:
        """Record a step. A line this short is written atomically."""
        line = json.dumps({"step": step, "pid": os.getpid(), "at": time.time()}) + "\n"
        descriptor = os.open(self._file("trace"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def reach(self, point: str) -> bool:
        """Record the first arrival at the crash point; return whether this is it."""
        if point != self.point:
            return False
        try:
            os.close(os.open(self._file("reached"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self.trace(f"at {point}")
        self._write("waiting", {"pid": os.getpid(), "parent": os.getppid()})
        return True

    def wait_at(self, point: str) -> None:
        """Wait for the release if this is the crash point."""
        if self.reach(point):
            deadline = time.monotonic() + _TIMEOUT
            while not self._file("released").exists() and time.monotonic() < deadline:
                time.sleep(_POLL_INTERVAL)
            self.trace("released")

    async def async_wait_at(self, point: str) -> None:
        """Wait for the release if this is the crash point, without blocking the event loop."""
        if self.reach(point):
            deadline = time.monotonic() + _TIMEOUT
            while not self._file("released").exists() and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_INTERVAL)
            self.trace("released")

    def record_job(self, task_id: str) -> None:
        """Record the vendor's job id."""
        self._write("job", {"task_id": task_id})

    # Called in the harness

    def waiting_process(self) -> dict[str, int] | None:
        """Return ``pid`` and ``parent`` of the process that has reached the crash point, if any has."""
        process: dict[str, int] | None = self._read("waiting")
        return process

    def job_id(self) -> str | None:
        """Return the vendor's job id, once a task has received it."""
        job = self._read("job")
        return None if job is None else str(job["task_id"])

    def release(self) -> None:
        """Let the task continue."""
        self._file("released").touch()

    def steps(self) -> list[str]:
        """Return the recorded steps of the task."""
        if not self._file("trace").exists():
            return []
        return [str(json.loads(line)["step"]) for line in self._file("trace").read_text().splitlines()]

    def _file(self, name: str) -> Path:
        return Path(self.folder) / f"{self.tag}.{name}"

    def _write(self, name: str, value: dict[str, Any]) -> None:
        partial = self._file(f"{name}.{os.getpid()}")
        partial.write_text(json.dumps(value))
        partial.replace(self._file(name))

    def _read(self, name: str) -> Any:
        file = self._file(name)
        return json.loads(file.read_text()) if file.exists() else None
