# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Where a task is caught: it says that it is there, and goes on when it is told to.

Each trap closes once. Files are its words, because they outlive every process that may be killed here::

    TAG.fired   taken, by whoever came first
    TAG.here    somebody waits at the point: process id, parent, try
    TAG.go      written by the harness: go on
    TAG.trace   the way the task took, all tries of it
    TAG.job     the vendor's job id
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_POLL = 0.02
#: No harness, no trap: a task that nobody lets go goes on by itself.
_LONGEST = 300.0


@dataclass(frozen=True)
class Trap:
    """
    The trap of one task.

    :param folder: where the files are.
    :param point: the only point at which it closes.
    :param kind: what will be crashed.
    :param forgetful: the task forgets what it has submitted: not a trap, but a check of the judge.
    """

    folder: str
    tag: str
    point: str
    kind: str
    forgetful: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments."""
        return asdict(self)

    def file(self, name: str) -> Path:
        """Return one of the files."""
        return Path(self.folder) / f"{self.tag}.{name}"

    # In the task

    def note(self, step: str) -> None:
        """Write down a step; a line this short is written whole or not at all."""
        line = json.dumps({"step": step, "pid": os.getpid(), "at": time.time()}) + "\n"
        descriptor = os.open(self.file("trace"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def arrive(self, point: str) -> bool:
        """Say that the point is reached, unless this is another one or was said before."""
        if point != self.point:
            return False
        try:
            os.close(os.open(self.file("fired"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self.note(f"at {point}")
        self._put("here", {"pid": os.getpid(), "parent": os.getppid()})
        return True

    def reach(self, point: str) -> None:
        """Stop here if this is the point."""
        if self.arrive(point):
            limit = time.monotonic() + _LONGEST
            while not self.file("go").exists() and time.monotonic() < limit:
                time.sleep(_POLL)
            self.note("let go")

    async def areach(self, point: str) -> None:
        """Stop here if this is the point, without holding up the triggerer."""
        if self.arrive(point):
            limit = time.monotonic() + _LONGEST
            while not self.file("go").exists() and time.monotonic() < limit:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
            self.note("let go")

    def job(self, task_id: str) -> None:
        """Write down the vendor's id."""
        self._put("job", {"task_id": task_id})

    # In the harness

    def here(self) -> dict[str, int] | None:
        """Return who waits at the point."""
        found: dict[str, int] | None = self._get("here")
        return found

    def job_id(self) -> str | None:
        """Return the vendor's id, once a task has seen it."""
        found = self._get("job")
        return None if found is None else str(found["task_id"])

    def let_go(self) -> None:
        """Let the task go on."""
        self.file("go").touch()

    def steps(self) -> list[str]:
        """Return the way the task took."""
        if not self.file("trace").exists():
            return []
        return [str(json.loads(line)["step"]) for line in self.file("trace").read_text().splitlines()]

    def _put(self, name: str, value: dict[str, Any]) -> None:
        partial = self.file(f"{name}.{os.getpid()}")
        partial.write_text(json.dumps(value))
        partial.replace(self.file(name))

    def _get(self, name: str) -> Any:
        file = self.file(name)
        return json.loads(file.read_text()) if file.exists() else None
