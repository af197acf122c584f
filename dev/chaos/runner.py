# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Run one round: start the tasks, inject the faults at the crash points, wait for the tasks, and check."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.airflow_api import ApiError
from dev.airflow_settings import LENIENT_HEALTH_CHECKS
from dev.chaos import scenarios
from dev.chaos.billing_check import BillingRecords, delivery_problems
from dev.chaos.breakpoints import Breakpoint
from dev.chaos.connections import EditableConnections
from dev.chaos.fault_injection import FaultInjector
from dev.chaos.fault_proxy import FaultProxy, FaultRule
from dev.chaos.operator_actions import OperatorActions
from dev.chaos.report import NOT_APPLICABLE
from dev.chaos.scenarios import DAG_ID, FAULTS, Round, Scenario
from dev.local_airflow import LocalAirflow

_CRASH_POINTS_TIMEOUT = 180.0
_FINISH_TIMEOUT = 420.0
_POLL_INTERVAL = 0.05
#: Largest number of failures of a task that the operator handles.
_MAX_FAILURES = 4
_HEARTBEAT_TIMEOUT = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"
_FAILED_HEARTBEATS = "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS"
#: Airflow's defaults are 300 s and 3 heartbeats, at most 5 s apart.
_SHORT_HEARTBEAT_TIMEOUTS = {_HEARTBEAT_TIMEOUT: "20", _FAILED_HEARTBEATS: "3"}
_LONG_HEARTBEAT_TIMEOUTS = {_HEARTBEAT_TIMEOUT: "120", _FAILED_HEARTBEATS: "60"}
#: Only a round that kills the scheduler has it considered dead soon. On a busy machine its loop can stall
#: for longer than that: it then resets its own running tasks as orphans, before their fault is injected.
_SOON_DEAD = {"AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8"}
_SCHEDULER_STAYS = {name: value for name, value in LENIENT_HEALTH_CHECKS.items() if name in _SOON_DEAD}
#: The timeouts of a round without such a fault.
TIMEOUTS = {**_SHORT_HEARTBEAT_TIMEOUTS, **_SCHEDULER_STAYS}
_FINAL_STATES = frozenset({"success", "failed", "upstream_failed", "removed"})


class ChaosRunner:
    """
    Runs rounds, one after another, on one Airflow.

    :param folder: folder of breakpoints and videos.
    :param outage: seconds for which the API server or the simulator is down.
    :param decode: decode every video.
    :param ignore_ledger: negative control: the tasks ignore their ledger, so that the checks must fail.
    :param log: receives progress messages.
    """

    def __init__(
        self,
        airflow: LocalAirflow,
        simulator: SimulatorClient,
        proxy: FaultProxy,
        connections: EditableConnections,
        folder: Path,
        *,
        outage: float = 30,
        decode: bool = True,
        ignore_ledger: bool = False,
        log: Callable[[str], None] = print,
    ) -> None:
        self._airflow = airflow
        self._simulator = simulator
        self._proxy = proxy
        self._connections = connections
        self._folder = folder
        self._outage = outage
        self._decode = decode
        self._ignore_ledger = ignore_ledger
        self._log = log
        self._breakpoints: dict[str, Breakpoint] = {}
        self._held_responses: dict[str, FaultRule] = {}
        self._ended_jobs: set[str] = set()
        self.billing = BillingRecords(simulator)
        self._operator = OperatorActions(airflow, self.billing)
        (folder / "breakpoints").mkdir(parents=True, exist_ok=True)

    def run(self, round_: Round) -> None:
        """Run one round, and set the results of its scenarios."""
        started = time.monotonic()
        self._set_timeouts(round_)
        for fault in FAULTS:
            if group := [scenario for scenario in round_.scenarios if scenario.fault == fault]:
                self._start_tasks(f"chaos-pass-{round_.pass_number + 1}-{fault}", group)
        waiting = self._wait_for_crash_points(round_)
        reached = time.monotonic()
        self._inject_faults(round_, waiting)
        injected = time.monotonic()
        self._wait_for_tasks(round_)
        self._check(round_)
        self._proxy.clear()
        outcomes = [
            f"{scenario.point}: {scenario.outcome}"
            for scenario in round_.scenarios
            if scenario.outcome != "ok"
        ]
        self._log(
            f"{round_.name}: {sum(scenario.injected for scenario in round_.scenarios)} faults, "
            f"{reached - started:.0f} s to the crash points, {injected - reached:.0f} s of faults, "
            f"{time.monotonic() - injected:.0f} s to the end; {', '.join(outcomes) or 'all ok'}"
        )
        for scenario in round_.scenarios:
            for problem in scenario.problems:
                self._log(f"  !! {scenario.tag} ({scenario.vendor}): {problem}")

    def _set_timeouts(self, round_: Round) -> None:
        """
        Choose whether running tasks survive an outage of the API server, and how soon a scheduler is dead.

        In odd passes they do, as with Airflow's default timeouts. Otherwise Airflow starts a new try while
        the first process may still run.
        """
        faults = {scenario.fault for scenario in round_.scenarios}
        survive = round_.pass_number % 2 == 1 and scenarios.API_SERVER in faults
        timeouts = {
            **(_LONG_HEARTBEAT_TIMEOUTS if survive else _SHORT_HEARTBEAT_TIMEOUTS),
            **(_SOON_DEAD if scenarios.SCHEDULER in faults else _SCHEDULER_STAYS),
        }
        if any(self._airflow.env.get(name) != value for name, value in timeouts.items()):
            self._airflow.env.update(timeouts)
            self._airflow.restart("scheduler")

    def _start_tasks(self, run_id: str, group: list[Scenario]) -> None:
        tasks = {scenario.task_id: scenario.conf(self._folder, self._ignore_ledger) for scenario in group}
        for scenario in group:
            scenario.run_id = run_id
            self._breakpoints[scenario.tag] = Breakpoint(**tasks[scenario.task_id]["breakpoint"])
            if scenario.point == scenarios.ACCEPTED:
                rule = FaultRule([scenario.tag], "hold response")
                self._held_responses[scenario.tag] = self._proxy.add(rule)
        self._start_run({"tasks": tasks}, run_id)

    def _start_run(self, conf: dict[str, Any], run_id: str) -> None:
        for is_last_attempt in (False, False, True):
            try:
                self._airflow.start_run(DAG_ID, conf, run_id, timeout=90)
                return
            except (ApiError, requests.RequestException) as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return  # An earlier attempt started the run, and its response was lost.
                if is_last_attempt:
                    raise

    def _wait_for_crash_points(self, round_: Round) -> list[Scenario]:
        """Wait until each task is at its crash point or has ended; return those at their crash point."""
        deadline, next_state_check = time.monotonic() + _CRASH_POINTS_TIMEOUT, 0.0
        while time.monotonic() < deadline:
            for scenario in round_.scenarios:
                self._hold_download(scenario)
            waiting = [scenario for scenario in round_.scenarios if self._is_at_crash_point(scenario)]
            if len(waiting) == len(round_.scenarios):
                return waiting
            if time.monotonic() > next_state_check:
                next_state_check = time.monotonic() + 2
                states = self._task_states(round_)
                ended = [
                    scenario
                    for scenario in round_.scenarios
                    if states.get(scenario.tag, ("", 0))[0] in _FINAL_STATES
                    and not self._clear_after_delivery(scenario)
                ]
                if all(scenario in ended or scenario in waiting for scenario in round_.scenarios):
                    return waiting
            time.sleep(_POLL_INTERVAL)
        return [scenario for scenario in round_.scenarios if self._is_at_crash_point(scenario)]

    def _clear_after_delivery(self, scenario: Scenario) -> bool:
        """Clear a finished task once, if its scenario requires it; return whether it was cleared now."""
        if scenario.point != scenarios.CLEARED or "cleared" in scenario.steps:
            return False
        scenario.steps.append("cleared")
        self._airflow.clear(DAG_ID, scenario.run_id, scenario.task_id)
        return True

    def _hold_download(self, scenario: Scenario) -> None:
        """Have the proxy hold the download half way, once the job id is known."""
        is_landing = scenario.point == scenarios.LANDING and scenario.fault != scenarios.LATE_LINK
        if not is_landing or scenario.tag in self._held_responses:
            return
        if job_id := self._breakpoints[scenario.tag].job_id():
            rule = FaultRule(["/cdn/", job_id], "hold response", passed_share=0.5)
            self._held_responses[scenario.tag] = self._proxy.add(rule)

    def _is_at_crash_point(self, scenario: Scenario) -> bool:
        if self._breakpoints[scenario.tag].waiting_process() is None:
            return False
        if scenario.point in scenarios.HELD_BY_PROXY and scenario.fault != scenarios.LATE_LINK:
            rule = self._held_responses.get(scenario.tag)
            return rule is not None and rule.holding.is_set()
        return True

    def _inject_faults(self, round_: Round, waiting: list[Scenario]) -> None:
        breakpoints = {scenario.tag: self._breakpoints[scenario.tag] for scenario in waiting}
        injector = FaultInjector(
            airflow=self._airflow,
            proxy=self._proxy,
            connections=self._connections,
            outage=self._outage,
            release=self._release,
            held_responses=self._held_responses,
            processes={tag: breakpoint_.waiting_process() or {} for tag, breakpoint_ in breakpoints.items()},
            job_ids={tag: breakpoint_.job_id() or "" for tag, breakpoint_ in breakpoints.items()},
            rng=round_.rng,
        )
        for fault in FAULTS:
            if group := [scenario for scenario in waiting if scenario.fault == fault]:
                self._send_events(round_, group)
                injector.inject(fault, group)
        for scenario in round_.scenarios:
            if scenario not in waiting:
                scenario.outcome = "not injected"
                self._release(scenario)

    def _send_events(self, round_: Round, group: list[Scenario]) -> None:
        """Let triggers send their events just before the fault, so that it hits them in transit."""
        for scenario in group:
            # A worker is killed after it has received the event; the other two need their proxy rule first.
            later = (scenarios.WORKER, scenarios.RESET, scenarios.WRONG_HOST)
            if scenario.point == scenarios.EVENT and scenario.fault not in later:
                breakpoint_ = self._breakpoints[scenario.tag]
                breakpoint_.release()
                deadline = time.monotonic() + 5
                while "event sent" not in breakpoint_.steps() and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(round_.rng.choice([0.0, 0.1, 0.5, 1.0]))

    def _release(self, scenario: Scenario) -> None:
        breakpoint_ = self._breakpoints[scenario.tag]
        breakpoint_.release()
        if (rule := self._held_responses.get(scenario.tag)) is not None:
            self._proxy.release(rule, reset=rule.reset_on_release)
        is_rendering = scenario.point == scenarios.DEFERRED and scenario.tag not in self._ended_jobs
        if is_rendering and (job_id := breakpoint_.job_id()):
            self._ended_jobs.add(scenario.tag)
            self._simulator.end_job(job_id)

    def _wait_for_tasks(self, round_: Round) -> None:
        """Wait until all tasks have succeeded; failed ones are handled as an operator would."""
        deadline = time.monotonic() + _FINISH_TIMEOUT
        unfinished = list(round_.scenarios)
        handled_tries: dict[str, int] = {}
        while unfinished and time.monotonic() < deadline:
            states = self._task_states(round_)
            for scenario in list(unfinished):
                state, try_number = states.get(scenario.tag, ("", 0))
                if state not in _FINAL_STATES or try_number <= handled_tries.get(scenario.tag, 0):
                    continue
                if state == "success":
                    unfinished.remove(scenario)
                elif self._count_handled(scenario) >= _MAX_FAILURES:
                    scenario.problems.append(f"still {state}: {self._operator.last_error(scenario)}")
                    unfinished.remove(scenario)
                else:
                    scenario.steps.append(f"handled try {try_number}")
                    try:
                        self._operator.handle_failure(scenario, self._breakpoints[scenario.tag].steps())
                    except (ApiError, requests.RequestException) as error:
                        # Mostly a locked SQLite database; the next poll shows whether the clear took effect.
                        scenario.steps.append(f"handling failed: {type(error).__name__}")
                        continue
                    handled_tries[scenario.tag] = try_number
            time.sleep(0.5)
        for scenario in unfinished:
            scenario.outcome = "STUCK"
            state, try_number = self._task_states(round_).get(scenario.tag, ("", 0))
            steps = self._breakpoints[scenario.tag].steps()
            scenario.problems.append(f"is {state}, try {try_number}: {steps}")

    def _count_handled(self, scenario: Scenario) -> int:
        return sum(step.startswith("handled try") for step in scenario.steps)

    def _task_states(self, round_: Round) -> dict[str, tuple[str, int]]:
        """Return state and try number of each task, by tag; empty if Airflow cannot be reached."""
        states: dict[str, tuple[str, int]] = {}
        tags = {(scenario.run_id, scenario.task_id): scenario.tag for scenario in round_.scenarios}
        try:
            for run_id in dict.fromkeys(scenario.run_id for scenario in round_.scenarios):
                for task in self._airflow.task_instances(DAG_ID, run_id):
                    if tag := tags.get((run_id, task["task_id"])):
                        states[tag] = (task["state"] or "", task["try_number"])
        except (ApiError, requests.RequestException):
            return {}
        return states

    def _check(self, round_: Round) -> None:
        entries = self.billing.entries_by_tag(scenario.tag for scenario in round_.scenarios)
        for scenario in round_.scenarios:
            if scenario.outcome == "STUCK":
                continue
            billed = entries[scenario.tag]
            job_ids = [entry.task_id for entry in billed]
            problems = delivery_problems(self._airflow, scenario, job_ids, self._decode)
            scenario.delivered = not problems
            if scenario.fault == scenarios.LATE_LINK:
                scenario.injected = any(self.billing.had_late_link(job_id) for job_id in job_ids)
            scenario.problems += problems
            if not scenario.outcome:
                is_deferred = (scenario.fault, scenario.point) == (scenarios.WORKER, scenarios.DEFERRED)
                scenario.outcome = "ok" if scenario.injected or not is_deferred else NOT_APPLICABLE
            if [entry.state for entry in billed] != ["settled"]:
                states = [(entry.task_id, entry.state) for entry in billed]
                scenario.problems.append(f"the billing ledger has {states}")
                scenario.outcome = f"BILLED {len(billed)} TIMES"
            elif scenario.problems:
                scenario.outcome = f"PROBLEM ({scenario.outcome})"
            elif not scenario.injected and scenario.outcome == "ok":
                scenario.outcome = "not injected"
