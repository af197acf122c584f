# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The scenarios: which fault is injected at which crash point, and the rounds in which they run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAG_ID = "vidgen_chaos"

BEFORE_INTENT = "before intent"
AFTER_INTENT = "after intent"
ACCEPTED = "POST accepted without response"
RESPONSE = "after response"
FIRST_WRITE = "during first write"
PERSISTED = "after persist"
DEFERRING = "during defer"
DEFERRED = "while deferred"
EVENT = "event sent"
RESUMING = "during resume"
LANDING = "during landing"
CLEARED = "cleared after delivery"
CRASH_POINTS = (
    BEFORE_INTENT,
    AFTER_INTENT,
    ACCEPTED,
    RESPONSE,
    FIRST_WRITE,
    PERSISTED,
    DEFERRING,
    DEFERRED,
    EVENT,
    RESUMING,
    LANDING,
    CLEARED,
)
#: At these points the proxy holds the vendor's response, and the task waits for it.
HELD_BY_PROXY = frozenset({ACCEPTED, LANDING})
#: At these points the POST may have been sent, and its response is not recorded.
MAY_BE_UNKNOWN = frozenset({BEFORE_INTENT, AFTER_INTENT, ACCEPTED, RESPONSE, FIRST_WRITE})

WORKER = "worker"
TRIGGERER = "triggerer"
SCHEDULER = "scheduler"
API_SERVER = "api-server"
SIMULATOR = "simulator"
RESET = "reset"
LATE_LINK = "late-link"
WRONG_HOST = "wrong-host"
#: Faults that are injected in the same round. The scheduler's round follows the workers' round, because its
#: restart frees the slots of killed workers. The last three faults affect only their own tasks, and two of
#: them take a minute.
ROUNDS = ((WORKER,), (TRIGGERER,), (SCHEDULER,), (API_SERVER,), (SIMULATOR,), (RESET, LATE_LINK, WRONG_HOST))
FAULTS = tuple(fault for group in ROUNDS for fault in group)
#: Crash points of the faults that do not apply to all. A cleared task that returns its video makes no call
#: that could be reset. After the last four points the worker, the trigger, or the worker again reads the
#: connection next.
ONLY_AT = {
    RESET: tuple(point for point in CRASH_POINTS if point != CLEARED),
    LATE_LINK: (LANDING,),
    WRONG_HOST: (PERSISTED, DEFERRING, DEFERRED, EVENT),
}

#: Virtual seconds of the simulator in a real second.
SPEED = 10
#: Real seconds for which a link is not yet live, or a connection has the wrong host.
DELAY = 60

VIDEO_PARAMS: dict[str, dict[str, Any]] = {
    "apimodels": {"model": "grok-video-3", "duration": 5, "resolution": "720p"},
    "apixo": {"model": "grok-video", "duration": 6, "resolution": "480p"},
    "apixgo": {"model": "grok-image-video", "duration": 4, "resolution": "480p"},
    "apimart": {"model": "grok-imagine-1.0-video-apimart", "duration": 6, "resolution": "480p"},
}


def slug(point: str) -> str:
    """Return the name of a crash point as a task id."""
    return point.lower().replace(" ", "_")


@dataclass
class Scenario:
    """
    A task, the fault that is injected, the crash point at which that happens, and the result.

    :param pass_number: counted from 0; odd passes use the harder variant of a fault.
    :param tag: unique; the prompt starts with it, so that billing entries can be assigned to tasks.
    :param injected: whether the fault has affected the task.
    :param unknown: whether the outcome of the submission was reported as unknown.
    :param delivered: whether the result is a complete file of a billed job.
    :param outcome: text for the matrix.
    :param problems: violated expectations; empty if all is well.
    :param steps: actions of the harness.
    """

    fault: str
    point: str
    pass_number: int
    vendor: str
    tag: str
    run_id: str = ""
    injected: bool = False
    unknown: bool = False
    delivered: bool = False
    outcome: str = ""
    problems: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def task_id(self) -> str:
        """The task in the chaos Dag."""
        return slug(self.point)

    @property
    def prompt(self) -> str:
        """
        The prompt, with the simulator's directives for the rendering.

        The job of a task that is crashed while deferred does not end before the harness ends it.
        """
        directives = {DEFERRED: " [sim:stuck]", CLEARED: " [sim:fast]"}.get(self.point, "")
        if self.fault == LATE_LINK:
            directives += f" [sim:link_delay={DELAY * SPEED}]"
        return f"{self.tag} a paper boat{directives}"

    @property
    def conn_id(self) -> str:
        """The connection; one that gets a wrong host is in Airflow's database, the others are not."""
        return f"vidgen_editable_{self.vendor}" if self.fault == WRONG_HOST else f"vidgen_{self.vendor}"

    def conf(self, folder: Path, ignore_ledger: bool) -> dict[str, Any]:
        """Return the task's part of the run's conf."""
        return {
            **VIDEO_PARAMS[self.vendor],
            "prompt": self.prompt,
            "vidgen_conn_id": self.conn_id,
            # A task to be cleared must have finished by the time the others reach their crash points.
            "deferrable": self.point != CLEARED,
            "output_path": (folder / "videos" / self.tag).as_uri() + "/",
            "breakpoint": {
                "folder": str(folder / "breakpoints"),
                "tag": self.tag,
                "point": self.point,
                "fault": self.fault,
                "ignore_ledger": ignore_ledger,
            },
        }


@dataclass
class Round:
    """
    Scenarios that run at the same time; each fault has a Dag run of its own.

    :param name: for the log.
    :param pass_number: counted from 0; odd passes use the harder variant of a fault.
    :param rng: for delays.
    """

    name: str
    pass_number: int
    scenarios: list[Scenario]
    rng: random.Random


def all_rounds(
    passes: int, seed: int, faults: Sequence[str] = FAULTS, points: Sequence[str] = CRASH_POINTS
) -> list[Round]:
    """Return the rounds; each pass combines every fault with every crash point, with other vendors."""
    rounds = []
    for number in range(passes):
        for group in ROUNDS:
            chosen = [fault for fault in group if fault in faults]
            scenarios = [
                _scenario(seed, number, fault, point)
                for fault in chosen
                for point in points
                if point in ONLY_AT.get(fault, CRASH_POINTS)
            ]
            if scenarios:
                name = f"pass {number + 1}, {' and '.join(chosen)}"
                rounds.append(Round(name, number, scenarios, random.Random(f"{seed} {number} {chosen[0]}")))
    return rounds


def mixed_round(faults: Mapping[str, str], seed: int) -> Round:
    """Return a round with several kinds of faults, given by crash point."""
    scenarios = [_scenario(seed, 0, fault, point) for point, fault in faults.items()]
    return Round("a mixed round", 0, scenarios, random.Random(seed))


def _scenario(seed: int, number: int, fault: str, point: str) -> Scenario:
    vendors = list(VIDEO_PARAMS)
    index = seed + FAULTS.index(fault) + CRASH_POINTS.index(point) + 2 * number + number // 2
    tag = f"chaos-{seed}-{number}-{fault}-{slug(point)}"
    return Scenario(fault, point, number, vendors[index % len(vendors)], tag)
