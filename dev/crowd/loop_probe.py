# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Who holds the triggerer's event loop, and where.

Airflow's warning that the loop was blocked names nobody. This notes every turn of the loop that takes long,
and looks every few milliseconds at where it is. It is put into the triggerer through
``airflow_local_settings.py``, a file that each process of an Airflow imports when it starts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

#: Noted from here on. Airflow sleeps for 0.1 s and warns when it wakes 0.2 s later or more.
_LONG = 0.1
_WARNED_OF = 0.2
_LOOK = 0.01
_FRAMES = 14
_OURS = "airflow_provider_vidgen"
_ROOT = str(Path(__file__).resolve().parents[2]) + "/"
_SETTINGS = "from dev.crowd.loop_probe import install\n\ninstall({folder!r})\n"


@dataclass(frozen=True)
class Hold:
    """
    One turn of the loop that took long: every step that was due, one after another.

    :param at: when it ended, seconds since 1970.
    :param wall: seconds.
    :param cpu: of these, seconds at work.
    :param gc: of these, seconds of garbage collection, which comes to whoever happens to be at work.
    :param steps: how many.
    :param where: stacks, innermost first, and in how many looks each was seen.
    """

    at: float
    wall: float
    cpu: float
    gc: float
    steps: int
    where: dict[str, int]

    @property
    def looks_at_ours(self) -> int:
        """In how many looks it was in code of this package, or in what that called."""
        return sum(count for stack, count in self.where.items() if _OURS in stack)

    @property
    def ours(self) -> float:
        """Seconds in code of this package and in what that called, as far as looks can tell."""
        looks = sum(self.where.values())
        return (self.wall - self.gc) * self.looks_at_ours / looks if looks else 0.0

    @property
    def is_surely_ours(self) -> bool:
        """
        Whether code of this package held the loop so long that Airflow warns, however busy the machine is.

        Where only the processor was wanting, the looks were wanting, too: they come from another thread of
        the same process. Unless the step kept Python's lock, and then it was at work.
        """
        at_work = self.ours >= _WARNED_OF and self.cpu - self.gc >= _WARNED_OF
        return self.looks_at_ours * _LOOK >= _WARNED_OF or at_work

    @property
    def mostly(self) -> str:
        """Where it was in most looks: the innermost function, and the innermost one of ours or Airflow's."""
        if self.gc > self.wall / 2:
            return "garbage collection"
        functions: Counter[str] = Counter()
        for stack, count in self.where.items():
            frames = stack.split(" < ")
            known = [frame for frame in frames if frame.startswith("airflow")]
            functions[" < ".join(dict.fromkeys([frames[0], *known[:1]]))] += count
        return functions.most_common(1)[0][0] if functions else "not seen"


def put_into(airflow_home: Path) -> Path:
    """Have every triggerer of an Airflow write its holds into a folder; return the folder."""
    folder = airflow_home / "holds"
    folder.mkdir(parents=True)
    settings = airflow_home / "config" / "airflow_local_settings.py"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(_SETTINGS.format(folder=str(folder)))
    return folder


def read_holds(folder: Path) -> list[Hold]:
    """Return all that was noted, in order."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((Hold(**json.loads(line)) for line in lines), key=lambda hold: hold.at)


def install(folder: str) -> None:
    """Watch the loop of the process that a triggerer starts for its triggers."""
    if sys.argv[1:2] == ["triggerer"]:
        os.register_at_fork(after_in_child=lambda: _Probe(Path(folder)).start())


class _Probe:
    """Watches the loop of the thread that starts it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{os.getpid()}.jsonl"
        self._thread = threading.get_ident()
        self._since: float | None = None
        self._steps = 0
        self._cpu_before = 0.0
        self._gc_before = 0.0
        self._where: Counter[str] = Counter()
        self._gc_since = 0.0
        self._gc = 0.0

    def start(self) -> None:
        """Watch from now on."""
        # Neither is public, and mypy knows only one of them.
        handles: Any = asyncio.Handle
        loops: Any = asyncio.BaseEventLoop
        step: Callable[[asyncio.Handle], None] = handles._run
        turn: Callable[[Any], None] = loops._run_once

        def run(handle: asyncio.Handle) -> None:
            if self._since is None and threading.get_ident() == self._thread:
                self._begin()
            self._steps += 1
            step(handle)

        def run_once(loop: Any) -> None:
            turn(loop)
            if self._since is not None and threading.get_ident() == self._thread:
                self._end()

        handles._run, loops._run_once = run, run_once
        gc.callbacks.append(self._collecting)
        threading.Thread(target=self._look, name="loop-probe", daemon=True).start()

    def _begin(self) -> None:
        self._steps = 0
        self._cpu_before, self._gc_before = time.thread_time(), self._gc
        self._since = time.monotonic()

    def _end(self) -> None:
        assert self._since is not None
        wall, self._since = time.monotonic() - self._since, None
        if wall < _LONG:
            return
        where, self._where = self._where, Counter()
        hold = Hold(
            at=time.time(),
            wall=round(wall, 3),
            cpu=round(time.thread_time() - self._cpu_before, 3),
            gc=round(self._gc - self._gc_before, 3),
            steps=self._steps,
            where=dict(where),
        )
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(hold)) + "\n")

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        now = time.monotonic()
        if phase == "start":
            self._gc_since = now
        else:
            self._gc += now - self._gc_since

    def _look(self) -> None:
        seen: float | None = None
        while True:
            time.sleep(_LOOK)
            if (since := self._since) is None:
                continue
            if since != seen:
                seen, self._where = since, Counter()
            frame = sys._current_frames().get(self._thread)
            if frame is not None and self._since == since:
                self._where[_stack(frame)] += 1


def _stack(frame: FrameType | None) -> str:
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        name = frame.f_code.co_filename.rpartition("/site-packages/")[2].removeprefix(_ROOT)
        found.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(found)
