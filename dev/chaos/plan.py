# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is crashed where: the points, the kinds, and the cells of one round."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAG_ID = "vidgen_chaos"

BEFORE_INTENT = "before intent"
AFTER_INTENT = "after intent"
UNANSWERED = "POST accepted but not answered"
ANSWERED = "after answer"
FIRST_WRITE = "inside the first write"
PERSISTED = "after persist"
DEFERRING = "during defer"
DEFERRED = "while deferred"
EVENT = "event sent"
RESUMING = "during resume"
LANDING = "during landing"
CLEARED = "cleared after delivery"
POINTS = (
    BEFORE_INTENT,
    AFTER_INTENT,
    UNANSWERED,
    ANSWERED,
    FIRST_WRITE,
    PERSISTED,
    DEFERRING,
    DEFERRED,
    EVENT,
    RESUMING,
    LANDING,
    CLEARED,
)
#: Held by the harness's proxy, which has the vendor's answer in its hands, and not by the task.
HELD_BY_PROXY = frozenset({UNANSWERED, LANDING})
#: The paid call may have left, and its answer is not on record.
MAY_BE_UNKNOWN = frozenset({BEFORE_INTENT, AFTER_INTENT, UNANSWERED, ANSWERED, FIRST_WRITE})

WORKER = "worker"
TRIGGERER = "triggerer"
SCHEDULER = "scheduler"
API_SERVER = "api-server"
SIMULATOR = "simulator"
RESET = "reset"
LATE_LINK = "late-link"
MISTYPED = "mistyped"
#: What happens at the same time. The scheduler comes after the workers: its restart gives back the slots that
#: killed workers took along. The last three touch only their own tasks, and two of them take a minute.
ROUNDS = ((WORKER,), (TRIGGERER,), (SCHEDULER,), (API_SERVER,), (SIMULATOR,), (RESET, LATE_LINK, MISTYPED))
KINDS = tuple(kind for together in ROUNDS for kind in together)
#: The kinds that make sense at some points only. A cleared task that has its video again makes no call that
#: could be reset. The worker, the trigger, and the worker again read the connection just after the last four.
ONLY_AT = {
    RESET: tuple(point for point in POINTS if point != CLEARED),
    LATE_LINK: (LANDING,),
    MISTYPED: (PERSISTED, DEFERRING, DEFERRED, EVENT),
}

#: Virtual seconds in a real one.
SPEED = 10
#: Real seconds for which a link is not live, and for which a connection leads elsewhere.
LATE = 60

ORDERS: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "duration": 5, "resolution": "720p"},
    "apixo": {"model": "grok-video", "duration": 6, "resolution": "480p"},
    "apixgo": {"model": "grok-image-video", "duration": 4, "resolution": "480p"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "duration": 6, "resolution": "480p"},
}


def slug(point: str) -> str:
    """Return a point's name as a task id."""
    return point.lower().replace(" ", "_")


@dataclass
class Cell:
    """
    One crash: a task, the point at which it is caught, and what becomes of it.

    :param tag: unique; the prompt begins with it, so the vendors' books can be read by task.
    :param unknown: it was reported that the outcome of the submission is unknown.
    :param delivered: a whole file of a job that was billed is there.
    :param outcome: what the matrix shows.
    :param trouble: what must not be; empty for a good end.
    """

    kind: str
    point: str
    number: int
    vendor: str
    tag: str
    run_id: str = ""
    injected: bool = False
    unknown: bool = False
    delivered: bool = False
    outcome: str = ""
    trouble: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def task_id(self) -> str:
        """The task in the chaos Dag."""
        return slug(self.point)

    @property
    def prompt(self) -> str:
        """
        What the video shows, and how long it takes.

        The job of a task that is caught while deferred does not end by itself.
        """
        course = {DEFERRED: " [sim:stuck]", CLEARED: " [sim:fast]"}.get(self.point, "")
        if self.kind == LATE_LINK:
            course += f" [sim:link_delay={LATE * SPEED}]"
        return f"{self.tag} a paper boat{course}"

    @property
    def conn_id(self) -> str:
        """The connection; the one to be mistyped is in Airflow's database, as a person's is."""
        return f"vidgen_typed_{self.vendor}" if self.kind == MISTYPED else f"vidgen_{self.vendor}"

    def conf(self, folder: Path, forgetful: bool) -> dict[str, Any]:
        """Return what the task has to know."""
        trap = {"folder": str(folder / "traps"), "tag": self.tag, "point": self.point, "kind": self.kind}
        return {
            **ORDERS[self.vendor],
            "prompt": self.prompt,
            "vidgen_conn_id": self.conn_id,
            # One that is to be cleared is done at once, so that it is at its point when the others are.
            "deferrable": self.point != CLEARED,
            "output_path": (folder / "videos" / self.tag).as_uri() + "/",
            "trap": {**trap, "forgetful": forgetful},
        }


@dataclass
class Round:
    """
    Everything that is hit at the same time; each kind of crash has a Dag run of its own.

    :param name: for the log.
    :param number: of the pass, from 0; odd ones take the harder variant of a crash.
    :param chance: for moments.
    """

    name: str
    number: int
    cells: list[Cell]
    chance: random.Random


def plan(passes: int, seed: int, kinds: Sequence[str] = KINDS, points: Sequence[str] = POINTS) -> list[Round]:
    """Return the rounds; each pass crosses every kind with every point, on other vendors."""
    rounds = []
    for number in range(passes):
        for together in ROUNDS:
            chosen = [kind for kind in together if kind in kinds]
            cells = [
                _cell(seed, number, kind, point)
                for kind in chosen
                for point in points
                if point in ONLY_AT.get(kind, POINTS)
            ]
            if cells:
                name = f"pass {number + 1}, {' and '.join(chosen)}"
                rounds.append(Round(name, number, cells, random.Random(f"{seed} {number} {chosen[0]}")))
    return rounds


def mixed(crashes: Mapping[str, str], seed: int) -> Round:
    """Return one round of several kinds: the kind of crash by point."""
    cells = [_cell(seed, 0, kind, point) for point, kind in crashes.items()]
    return Round("a mixed round", 0, cells, random.Random(seed))


def _cell(seed: int, number: int, kind: str, point: str) -> Cell:
    vendors = list(ORDERS)
    turn = seed + KINDS.index(kind) + POINTS.index(point) + 2 * number + number // 2
    tag = f"chaos-{seed}-{number}-{kind}-{slug(point)}"
    return Cell(kind, point, number, vendors[turn % len(vendors)], tag)
