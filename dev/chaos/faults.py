# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""How each kind of crash is done to tasks that stand at their points."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dev.chaos import plan
from dev.chaos.plan import Cell
from dev.chaos.proxy import Proxy, Rule
from dev.chaos.typed import TypedConnections
from dev.local_airflow import LocalAirflow

#: Seconds into an outage at which the tasks are let go.
_INTO_THE_OUTAGE = 1.0
#: Within so many seconds after a scheduler was replaced, its tasks' next tries begin.
_NEXT_TRIES = 18.0
_UNTIL_MET = 60.0

LetGo = Callable[[Cell], None]


@dataclass(frozen=True)
class Crash:
    """
    The crashes. Each lets the tasks go, and mends what it has broken.

    :param typed: the connections that can be mistyped.
    :param outage: seconds that the API server or the simulator stay down.
    :param held: the rule of the proxy that holds a task's answer, by tag.
    :param pids: who waits at a point, by tag.
    :param jobs: the vendors' ids, by tag.
    """

    airflow: LocalAirflow
    proxy: Proxy
    typed: TypedConnections
    outage: float
    let_go: LetGo
    held: Mapping[str, Rule]
    pids: Mapping[str, Mapping[str, int]]
    jobs: Mapping[str, str]
    chance: random.Random

    def __call__(self, kind: str, cells: list[Cell]) -> None:
        """Crash what ``kind`` says under tasks that have arrived at their points."""
        match kind:
            case plan.WORKER:
                self._workers(cells)
            case plan.SCHEDULER | plan.TRIGGERER if cells[0].number % 2:
                self._main_process(kind, cells)
            case plan.SCHEDULER | plan.TRIGGERER:
                self._component(kind, cells, down=self.chance.uniform(0, 3))
            case plan.API_SERVER:
                self._component(kind, cells, down=self.outage)
            case plan.SIMULATOR:
                self._simulator(cells)
            case plan.RESET:
                self._resets(cells)
            case plan.LATE_LINK:
                # The fault is in the job; the judge looks whether it was met.
                for cell in cells:
                    self.let_go(cell)
            case plan.MISTYPED if cells[0].number % 2:
                self._another_server(cells)
            case plan.MISTYPED:
                self._mistyped(cells)

    def _workers(self, cells: list[Cell]) -> None:
        """Kill the task's process, its supervisor, or both."""
        for place, cell in enumerate(cells):
            if cell.point == plan.DEFERRED:
                self.let_go(cell)
                continue
            who = self.pids[cell.tag]
            victims = (("pid",), ("parent", "pid"), ("parent",))[(place + cell.number) % 3]
            cell.steps.append(f"killed: {', '.join(victims)}")
            for victim in victims:
                # The harness signals only processes of its own Airflow; this one may have ended by itself.
                with contextlib.suppress(ValueError):
                    self.airflow.signal_process(who[victim], signal.SIGKILL)
                    cell.injected = True
            self.let_go(cell)

    def _component(self, name: str, cells: list[Cell], down: float) -> None:
        """A machine is gone, and comes back."""
        self.airflow.kill(name)
        time.sleep(_INTO_THE_OUTAGE)
        self._let_all_go(cells)
        time.sleep(max(0.0, down - _INTO_THE_OUTAGE))
        self.airflow.start(name)

    def _main_process(self, name: str, cells: list[Cell]) -> None:
        """
        The component alone is gone; what it had started goes on beside its successor.

        A scheduler gives tasks that are still at work to new workers, a triggerer starts triggers that are
        still running.
        """
        self.airflow.kill(name, children=False)
        self.airflow.start(name, wait=False, beside=True)
        begun = time.monotonic()
        moments = [(self.chance.uniform(0, _NEXT_TRIES), cell) for cell in cells]
        for moment, cell in sorted(moments, key=lambda one: one[0]):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            self._let_all_go([cell])
        self.airflow.wait_ready([name])

    def _simulator(self, cells: list[Cell]) -> None:
        if cells[0].number % 2:
            # Calls that are under way break off; so do the held ones, which have got as far as they shall.
            self._let_all_go([cell for cell in cells if cell.point not in plan.HELD_BY_PROXY])
            time.sleep(self.chance.uniform(0, 0.3))
        self.proxy.down()
        self._let_all_go(cells)
        time.sleep(self.outage)
        self.proxy.up()

    def _mistyped(self, cells: list[Cell]) -> None:
        """The connection leads elsewhere for a minute, and whatever reads it in that minute goes there."""
        vendors = {cell.vendor for cell in cells}
        for vendor in vendors:
            self.typed.mistype(vendor)
        self._into_a_bad_minute(cells)
        for vendor in vendors:
            self.typed.mend(vendor)

    def _another_server(self, cells: list[Cell]) -> None:
        """The connection stays as it is; at the vendor's host, another server answers for a minute."""
        rules = [
            self.proxy.add(Rule([self.jobs[cell.tag]], "not here", sys.maxsize, not_words=["/cdn/"]))
            for cell in cells
        ]
        self._into_a_bad_minute(cells)
        for rule in rules:
            rule.times = 0

    def _into_a_bad_minute(self, cells: list[Cell]) -> None:
        over = time.monotonic() + plan.LATE
        self._workers([cell for cell in cells if cell.point == plan.PERSISTED])
        self._let_all_go([cell for cell in cells if cell.point != plan.PERSISTED])
        time.sleep(max(0.0, over - time.monotonic()))

    def _let_all_go(self, cells: list[Cell]) -> None:
        for cell in cells:
            self.let_go(cell)
            cell.injected = True

    def _resets(self, cells: list[Cell]) -> None:
        rules = {cell.tag: self._reset(cell) for cell in cells}
        for cell in cells:
            held = self.held.get(cell.tag)
            if held is not None:
                self.proxy.release(held, cut=True)
                cell.injected = True
            self.let_go(cell)
        limit = time.monotonic() + _UNTIL_MET
        while time.monotonic() < limit and not all(rule is None or rule.met for rule in rules.values()):
            time.sleep(0.1)
        for cell in cells:
            rule = rules[cell.tag]
            cell.injected = cell.injected or (rule is not None and rule.met > 0)

    def _reset(self, cell: Cell) -> Rule | None:
        """Reset the connection of the call that comes next."""
        job = self.jobs.get(cell.tag) or "no job yet"
        match cell.point:
            case plan.BEFORE_INTENT | plan.AFTER_INTENT:
                accepted = (cell.point == plan.AFTER_INTENT) == (cell.number % 2 == 0)
                cell.steps.append("reset after acceptance" if accepted else "reset before acceptance")
                rule = Rule([cell.tag], "reset after" if accepted else "reset before")
            case plan.UNANSWERED | plan.LANDING:
                return None
            case plan.RESUMING:
                rule = Rule(["/cdn/", job], "reset after")
            case _:
                rule = Rule([job], "reset before", times=3, not_words=["/cdn/"])
        return self.proxy.add(rule)
