# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Record stalls of the triggerer's event loop, and the code that caused them.

Airflow's warning that the loop was blocked does not name the cause. This monitor records every iteration of
the loop that takes long, and samples the stack of the loop's thread every few milliseconds. It is loaded in
the triggerer by ``airflow_local_settings.py``, a file that each Airflow process imports when it starts.
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

#: Shortest recorded stall, in seconds. Airflow sleeps for 0.1 s and warns if it wakes 0.2 s late or later.
_MIN_STALL = 0.1
_AIRFLOW_WARNING = 0.2
_SAMPLE_INTERVAL = 0.01
_MAX_FRAMES = 14
_PROVIDER = "airflow_provider_vidgen"
_ROOT = str(Path(__file__).resolve().parents[2]) + "/"
_SETTINGS = "from dev.trigger_load.event_loop_monitor import install\n\ninstall({folder!r})\n"


@dataclass(frozen=True)
class LoopStall:
    """
    One long iteration of the event loop: all callbacks that were due, one after another.

    :param ended_at: seconds since 1970.
    :param wall: duration in seconds.
    :param cpu: CPU time of the loop's thread, in seconds.
    :param gc: duration of garbage collections, in seconds. They may run in any code.
    :param callbacks: number of callbacks.
    :param samples: number of samples by stack; stacks are written innermost frame first.
    """

    ended_at: float
    wall: float
    cpu: float
    gc: float
    callbacks: int
    samples: dict[str, int]

    @property
    def provider_samples(self) -> int:
        """Number of samples in the provider's code, or in code that it called."""
        return sum(count for stack, count in self.samples.items() if _PROVIDER in stack)

    @property
    def provider_seconds(self) -> float:
        """Seconds in the provider's code and in code that it called, estimated from the samples."""
        total = sum(self.samples.values())
        return (self.wall - self.gc) * self.provider_samples / total if total else 0.0

    @property
    def is_certainly_provider(self) -> bool:
        """
        Whether the provider's code blocked the loop long enough for Airflow's warning, on any machine.

        If the process only lacked CPU time, samples are missing as well, because another thread of the same
        process takes them. They are also missing if a callback held the GIL; then CPU time was used.
        """
        used_cpu = self.provider_seconds >= _AIRFLOW_WARNING and self.cpu - self.gc >= _AIRFLOW_WARNING
        return self.provider_samples * _SAMPLE_INTERVAL >= _AIRFLOW_WARNING or used_cpu

    @property
    def main_location(self) -> str:
        """The location of most samples: innermost function, and innermost one of Airflow or the provider."""
        if self.gc > self.wall / 2:
            return "garbage collection"
        locations: Counter[str] = Counter()
        for stack, count in self.samples.items():
            frames = stack.split(" < ")
            airflow_frames = [frame for frame in frames if frame.startswith("airflow")]
            locations[" < ".join(dict.fromkeys([frames[0], *airflow_frames[:1]]))] += count
        return locations.most_common(1)[0][0] if locations else "not sampled"


def enable(airflow_home: Path) -> Path:
    """Have every triggerer of an Airflow record its stalls in a folder; return the folder."""
    folder = airflow_home / "event-loop-stalls"
    folder.mkdir(parents=True)
    settings = airflow_home / "config" / "airflow_local_settings.py"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(_SETTINGS.format(folder=str(folder)))
    return folder


def read_stalls(folder: Path) -> list[LoopStall]:
    """Return all recorded stalls, in order."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((LoopStall(**json.loads(line)) for line in lines), key=lambda stall: stall.ended_at)


def install(folder: str) -> None:
    """Monitor the event loop of the process that a triggerer starts for its triggers."""
    if sys.argv[1:2] == ["triggerer"]:
        os.register_at_fork(after_in_child=lambda: _Monitor(Path(folder)).start())


class _Monitor:
    """Monitors the event loop of the thread that creates it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{os.getpid()}.jsonl"
        self._thread_id = threading.get_ident()
        self._iteration_start: float | None = None
        self._callbacks = 0
        self._cpu_before = 0.0
        self._gc_before = 0.0
        self._samples: Counter[str] = Counter()
        self._gc_start = 0.0
        self._gc_seconds = 0.0

    def start(self) -> None:
        """Start monitoring."""
        # Both are private, and mypy knows only one of them.
        handles: Any = asyncio.Handle
        loops: Any = asyncio.BaseEventLoop
        original_run: Callable[[asyncio.Handle], None] = handles._run
        original_run_once: Callable[[Any], None] = loops._run_once

        def run(handle: asyncio.Handle) -> None:
            if self._iteration_start is None and threading.get_ident() == self._thread_id:
                self._begin_iteration()
            self._callbacks += 1
            original_run(handle)

        def run_once(loop: Any) -> None:
            original_run_once(loop)
            if self._iteration_start is not None and threading.get_ident() == self._thread_id:
                self._end_iteration()

        handles._run, loops._run_once = run, run_once
        gc.callbacks.append(self._on_gc)
        threading.Thread(target=self._sample, name="event-loop-monitor", daemon=True).start()

    def _begin_iteration(self) -> None:
        self._callbacks = 0
        self._cpu_before, self._gc_before = time.thread_time(), self._gc_seconds
        self._iteration_start = time.monotonic()

    def _end_iteration(self) -> None:
        assert self._iteration_start is not None
        wall, self._iteration_start = time.monotonic() - self._iteration_start, None
        if wall < _MIN_STALL:
            return
        samples, self._samples = self._samples, Counter()
        stall = LoopStall(
            ended_at=time.time(),
            wall=round(wall, 3),
            cpu=round(time.thread_time() - self._cpu_before, 3),
            gc=round(self._gc_seconds - self._gc_before, 3),
            callbacks=self._callbacks,
            samples=dict(samples),
        )
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(stall)) + "\n")

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        now = time.monotonic()
        if phase == "start":
            self._gc_start = now
        else:
            self._gc_seconds += now - self._gc_start

    def _sample(self) -> None:
        sampled_iteration: float | None = None
        while True:
            time.sleep(_SAMPLE_INTERVAL)
            if (iteration := self._iteration_start) is None:
                continue
            if iteration != sampled_iteration:
                sampled_iteration, self._samples = iteration, Counter()
            frame = sys._current_frames().get(self._thread_id)
            if frame is not None and self._iteration_start == iteration:
                self._samples[_stack(frame)] += 1


def _stack(frame: FrameType | None) -> str:
    frames: list[str] = []
    while frame is not None and len(frames) < _MAX_FRAMES:
        name = frame.f_code.co_filename.rpartition("/site-packages/")[2].removeprefix(_ROOT)
        frames.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(frames)
