# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One round: tasks go to their points, something crashes, and all come to a good end or say why not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.airflow_rest import ApiError
from dev.chaos import plan
from dev.chaos.books import Books, judge_file
from dev.chaos.faults import Crash
from dev.chaos.person import Person
from dev.chaos.plan import DAG_ID, Cell, Round
from dev.chaos.proxy import Proxy, Rule
from dev.chaos.table import NOT_APPLICABLE
from dev.chaos.trap import Trap
from dev.chaos.typed import TypedConnections
from dev.local_airflow import LocalAirflow

_TO_THE_POINTS = 180.0
_TO_THE_END = 420.0
_POLL = 0.05
_HEARTBEAT_TIMEOUT = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"
_FAILED_HEARTBEATS = "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS"
#: Airflow's own are 300 s and 3 heartbeats, at most 5 s apart.
IMPATIENT = {_HEARTBEAT_TIMEOUT: "12", _FAILED_HEARTBEATS: "3"}
_PATIENT = {_HEARTBEAT_TIMEOUT: "120", _FAILED_HEARTBEATS: "60"}
_FINAL = frozenset({"success", "failed", "upstream_failed", "removed"})


class Runner:
    """
    Runs rounds, one after another, on one Airflow.

    :param folder: for traps and videos.
    :param outage: seconds that the API server or the simulator stay down.
    :param plays: decode every video.
    :param forgetful: the tasks forget what they have submitted, so that the judge has something to find.
    :param say: takes a line on how it goes.
    """

    def __init__(
        self,
        airflow: LocalAirflow,
        simulator: SimulatorClient,
        proxy: Proxy,
        typed: TypedConnections,
        folder: Path,
        *,
        outage: float = 30,
        plays: bool = True,
        forgetful: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self._airflow = airflow
        self._simulator = simulator
        self._proxy = proxy
        self._typed = typed
        self._folder = folder
        self._outage = outage
        self._plays = plays
        self._forgetful = forgetful
        self._say = say
        self._traps: dict[str, Trap] = {}
        self._held: dict[str, Rule] = {}
        self._ended: set[str] = set()
        self.books = Books(simulator)
        self._person = Person(airflow, self.books)
        (folder / "traps").mkdir(parents=True, exist_ok=True)

    def run(self, round_: Round) -> None:
        """Run one round; what became of it stands in its cells."""
        begun = time.monotonic()
        self._prepare(round_)
        for kind in plan.KINDS:
            if mine := [cell for cell in round_.cells if cell.kind == kind]:
                self._begin(f"chaos-pass-{round_.number + 1}-{kind}", mine)
        arrived = self._gather(round_)
        gathered = time.monotonic()
        crash = Crash(
            airflow=self._airflow,
            proxy=self._proxy,
            typed=self._typed,
            outage=self._outage,
            let_go=self._let_go,
            held=self._held,
            pids={cell.tag: self._traps[cell.tag].here() or {} for cell in arrived},
            jobs={cell.tag: self._traps[cell.tag].job_id() or "" for cell in arrived},
            chance=round_.chance,
        )
        for kind in plan.KINDS:
            if mine := [cell for cell in arrived if cell.kind == kind]:
                self._send_event(round_, mine)
                crash(kind, mine)
        for cell in round_.cells:
            if cell not in arrived:
                cell.outcome = "missed"
                self._let_go(cell)
        mended = time.monotonic()
        self._settle(round_)
        self._judge(round_)
        self._proxy.clear()
        words = ", ".join(f"{cell.point}: {cell.outcome}" for cell in round_.cells if cell.outcome != "ok")
        self._say(
            f"{round_.name}: {sum(cell.injected for cell in round_.cells)} faults, "
            f"{gathered - begun:.0f} s to the points, {mended - gathered:.0f} s of crash, "
            f"{time.monotonic() - mended:.0f} s to the end; {words or 'all ok'}"
        )
        for cell in round_.cells:
            for trouble in cell.trouble:
                self._say(f"  !! {cell.tag} ({cell.vendor}): {trouble}")

    def _prepare(self, round_: Round) -> None:
        """
        Choose what an outage of the API server does to tasks at work.

        In an odd pass they live through it, as with the times Airflow comes with. Else Airflow gives them up
        and begins anew, while the first process may still be at work.
        """
        patient = round_.number % 2 == 1 and any(cell.kind == plan.API_SERVER for cell in round_.cells)
        wanted = _PATIENT if patient else IMPATIENT
        if any(self._airflow.env.get(name) != value for name, value in wanted.items()):
            self._airflow.env.update(wanted)
            self._airflow.restart("scheduler")

    def _begin(self, run_id: str, cells: list[Cell]) -> None:
        confs = {cell.task_id: cell.conf(self._folder, self._forgetful) for cell in cells}
        for cell in cells:
            cell.run_id = run_id
            self._traps[cell.tag] = Trap(**confs[cell.task_id]["trap"])
            if cell.point == plan.UNANSWERED:
                self._held[cell.tag] = self._proxy.add(Rule([cell.tag], "hold"))
        self._start({"cells": confs}, run_id)

    def _start(self, conf: dict[str, Any], run_id: str) -> None:
        for last in (False, False, True):
            try:
                self._airflow.start_run(DAG_ID, conf, run_id, timeout=90)
                return
            except (ApiError, requests.RequestException) as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return  # It was started, and only the answer was lost.
                if last:
                    raise

    def _gather(self, round_: Round) -> list[Cell]:
        """Wait until every task stands at its point; return those that do."""
        limit, look = time.monotonic() + _TO_THE_POINTS, 0.0
        while time.monotonic() < limit:
            for cell in round_.cells:
                self._watch_download(cell)
            arrived = [cell for cell in round_.cells if self._is_there(cell)]
            if len(arrived) == len(round_.cells):
                return arrived
            if time.monotonic() > look:
                look = time.monotonic() + 2
                states = self._states(round_)
                ended = [
                    cell
                    for cell in round_.cells
                    if states.get(cell.tag, ("", 0))[0] in _FINAL and not self._clear_delivered(cell)
                ]
                if all(cell in ended or cell in arrived for cell in round_.cells):
                    return arrived
            time.sleep(_POLL)
        return [cell for cell in round_.cells if self._is_there(cell)]

    def _clear_delivered(self, cell: Cell) -> bool:
        """Clear a task that has ended, if it is to be cleared after its delivery and was not yet."""
        if cell.point != plan.CLEARED or "cleared" in cell.steps:
            return False
        cell.steps.append("cleared")
        self._airflow.clear(DAG_ID, cell.run_id, cell.task_id)
        return True

    def _watch_download(self, cell: Cell) -> None:
        if cell.point != plan.LANDING or cell.kind == plan.LATE_LINK or cell.tag in self._held:
            return
        if job := self._traps[cell.tag].job_id():
            self._held[cell.tag] = self._proxy.add(Rule(["/cdn/", job], "hold", share=0.5))

    def _is_there(self, cell: Cell) -> bool:
        if self._traps[cell.tag].here() is None:
            return False
        if cell.point in plan.HELD_BY_PROXY and cell.kind != plan.LATE_LINK:
            return cell.tag in self._held and self._held[cell.tag].held.is_set()
        return True

    def _send_event(self, round_: Round, arrived: list[Cell]) -> None:
        """Let the event go at the last moment, so that the crash meets it on its way."""
        for cell in arrived:
            # A worker is killed when it has picked the event up; the others need their rule first.
            if cell.point == plan.EVENT and cell.kind not in (plan.WORKER, plan.RESET, plan.MISTYPED):
                trap = self._traps[cell.tag]
                trap.let_go()
                limit = time.monotonic() + 5
                while "event sent" not in trap.steps() and time.monotonic() < limit:
                    time.sleep(0.01)
                time.sleep(round_.chance.choice([0.0, 0.1, 0.5, 1.0]))

    def _let_go(self, cell: Cell) -> None:
        trap = self._traps[cell.tag]
        trap.let_go()
        if (rule := self._held.get(cell.tag)) is not None:
            self._proxy.release(rule, cut=rule.cut)
        if cell.point == plan.DEFERRED and cell.tag not in self._ended and (job := trap.job_id()):
            self._ended.add(cell.tag)
            self._simulator.end_job(job)

    def _settle(self, round_: Round) -> None:
        """Wait for the tasks, and attend to those that fail, until all have ended."""
        limit = time.monotonic() + _TO_THE_END
        open_ = list(round_.cells)
        attended: dict[str, int] = {}
        while open_ and time.monotonic() < limit:
            states = self._states(round_)
            for cell in list(open_):
                state, tried = states.get(cell.tag, ("", 0))
                if state not in _FINAL or tried <= attended.get(cell.tag, 0):
                    continue
                if state == "success":
                    open_.remove(cell)
                elif len([one for one in cell.steps if one.startswith("attended try")]) >= 4:
                    cell.trouble.append(f"still {state}: {self._person.last_words(cell)}")
                    open_.remove(cell)
                else:
                    cell.steps.append(f"attended try {tried}")
                    try:
                        self._person.attend(cell, self._traps[cell.tag].steps())
                    except (ApiError, requests.RequestException) as error:
                        # A busy SQLite, mostly. Whatever came of it, the next look tells.
                        cell.steps.append(f"attended in vain: {type(error).__name__}")
                        continue
                    attended[cell.tag] = tried
            time.sleep(0.5)
        for cell in open_:
            cell.outcome = "STUCK"
            state, tried = self._states(round_).get(cell.tag, ("", 0))
            cell.trouble.append(f"is {state}, try {tried}: {self._traps[cell.tag].steps()}")

    def _states(self, round_: Round) -> dict[str, tuple[str, int]]:
        """Return state and try of each cell's task, by tag."""
        found: dict[str, tuple[str, int]] = {}
        tags = {(cell.run_id, cell.task_id): cell.tag for cell in round_.cells}
        try:
            for run_id in dict.fromkeys(cell.run_id for cell in round_.cells):
                for one in self._airflow.task_instances(DAG_ID, run_id):
                    if tag := tags.get((run_id, one["task_id"])):
                        found[tag] = (one["state"] or "", one["try_number"])
        except (ApiError, requests.RequestException):
            return {}
        return found

    def _judge(self, round_: Round) -> None:
        entries = self.books.by_tag(cell.tag for cell in round_.cells)
        for cell in round_.cells:
            if cell.outcome == "STUCK":
                continue
            mine = entries[cell.tag]
            wrong = judge_file(self._airflow, cell, [entry.task_id for entry in mine], self._plays)
            cell.delivered = not wrong
            if cell.kind == plan.LATE_LINK:
                cell.injected = any(self.books.not_live(entry.task_id) for entry in mine)
            cell.trouble += wrong
            if not cell.outcome:
                applies = cell.injected or (cell.kind, cell.point) != (plan.WORKER, plan.DEFERRED)
                cell.outcome = "ok" if applies else NOT_APPLICABLE
            if [entry.state for entry in mine] != ["settled"]:
                cell.trouble.append(f"the books say {[(entry.task_id, entry.state) for entry in mine]}")
                cell.outcome = f"BILLED {len(mine)} TIMES"
            elif cell.trouble:
                cell.outcome = f"TROUBLE ({cell.outcome})"
            elif not cell.injected and cell.outcome == "ok":
                cell.outcome = "missed"
