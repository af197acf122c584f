# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Inject each kind of fault into tasks that have reached their crash points."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dev.chaos import scenarios
from dev.chaos.connections import EditableConnections
from dev.chaos.fault_proxy import FaultProxy, FaultRule
from dev.chaos.scenarios import Scenario
from dev.local_airflow import LocalAirflow

#: Seconds between the start of an outage and the release of the tasks.
_RELEASE_DELAY = 1.0
#: Seconds after the replacement of a scheduler within which the next tries of its tasks start.
_NEXT_TRIES = 18.0
_RULES_TIMEOUT = 60.0


@dataclass(frozen=True)
class FaultInjector:
    """
    Injects a fault, releases the tasks, and ends the fault.

    :param outage: seconds for which the API server or the simulator is down.
    :param release: lets a task continue.
    :param held_responses: the proxy's rule that holds a response, by tag.
    :param processes: ``pid`` and ``parent`` of the process that waits at the crash point, by tag.
    :param job_ids: the vendors' job ids, by tag.
    :param rng: for delays.
    """

    airflow: LocalAirflow
    proxy: FaultProxy
    connections: EditableConnections
    outage: float
    release: Callable[[Scenario], None]
    held_responses: Mapping[str, FaultRule]
    processes: Mapping[str, Mapping[str, int]]
    job_ids: Mapping[str, str]
    rng: random.Random

    def inject(self, fault: str, group: list[Scenario]) -> None:
        """Inject a fault into tasks that have reached their crash points."""
        is_odd_pass = group[0].pass_number % 2 == 1
        match fault:
            case scenarios.WORKER:
                self._kill_workers(group)
            case scenarios.SCHEDULER | scenarios.TRIGGERER if is_odd_pass:
                self._replace_main_process(fault, group)
            case scenarios.SCHEDULER | scenarios.TRIGGERER:
                self._restart_component(fault, group, down=self.rng.uniform(0, 3))
            case scenarios.API_SERVER:
                self._restart_component(fault, group, down=self.outage)
            case scenarios.SIMULATOR:
                self._take_simulator_down(group, during_calls=is_odd_pass)
            case scenarios.RESET:
                self._reset_connections(group)
            case scenarios.LATE_LINK:
                # The fault is part of the job; the billing check finds out whether it took effect.
                for scenario in group:
                    self.release(scenario)
            case scenarios.WRONG_HOST if is_odd_pass:
                self._answer_as_other_server(group)
            case scenarios.WRONG_HOST:
                self._set_wrong_host(group)

    def _kill_workers(self, group: list[Scenario]) -> None:
        """Kill the task's process, its supervisor, or both."""
        for index, scenario in enumerate(group):
            if scenario.point == scenarios.DEFERRED:
                self.release(scenario)
                continue
            process = self.processes[scenario.tag]
            victims = (("pid",), ("parent", "pid"), ("parent",))[(index + scenario.pass_number) % 3]
            scenario.steps.append(f"killed: {', '.join(victims)}")
            for victim in victims:
                # Only processes of this Airflow can be signalled, and this one may have ended meanwhile.
                with contextlib.suppress(ValueError):
                    self.airflow.signal_process(process[victim], signal.SIGKILL)
                    scenario.injected = True
            self.release(scenario)

    def _restart_component(self, name: str, group: list[Scenario], down: float) -> None:
        """Kill a component with all its child processes, as if its machine failed, and start it again."""
        self.airflow.kill(name)
        time.sleep(_RELEASE_DELAY)
        self._release_all(group)
        time.sleep(max(0.0, down - _RELEASE_DELAY))
        self.airflow.start(name)

    def _replace_main_process(self, name: str, group: list[Scenario]) -> None:
        """
        Kill the main process of a component and start another one, while child processes continue.

        The new scheduler gives tasks that still run to new workers; the new triggerer starts triggers that
        still run.
        """
        self.airflow.kill(name, children=False)
        self.airflow.start(name, wait=False, keep_orphans=True)
        started = time.monotonic()
        delays = [(self.rng.uniform(0, _NEXT_TRIES), scenario) for scenario in group]
        for delay, scenario in sorted(delays, key=lambda pair: pair[0]):
            time.sleep(max(0.0, started + delay - time.monotonic()))
            self._release_all([scenario])
        self.airflow.wait_ready([name])

    def _take_simulator_down(self, group: list[Scenario], during_calls: bool) -> None:
        if during_calls:
            # Held responses stay held, because their calls have reached the crash point.
            self._release_all(
                [scenario for scenario in group if scenario.point not in scenarios.HELD_BY_PROXY]
            )
            time.sleep(self.rng.uniform(0, 0.3))
        self.proxy.down()
        self._release_all(group)
        time.sleep(self.outage)
        self.proxy.up()

    def _set_wrong_host(self, group: list[Scenario]) -> None:
        """Change the connections to another server for a minute."""
        vendors = {scenario.vendor for scenario in group}
        for vendor in vendors:
            self.connections.set_wrong_host(vendor)
        self._release_for_a_minute(group)
        for vendor in vendors:
            self.connections.restore(vendor)

    def _answer_as_other_server(self, group: list[Scenario]) -> None:
        """Leave the connections as they are; another server answers at the vendor's host for a minute."""
        rules = [
            self.proxy.add(
                FaultRule([self.job_ids[scenario.tag]], "answer 404", sys.maxsize, exclude=["/cdn/"])
            )
            for scenario in group
        ]
        self._release_for_a_minute(group)
        for rule in rules:
            rule.max_matches = 0

    def _release_for_a_minute(self, group: list[Scenario]) -> None:
        end = time.monotonic() + scenarios.DELAY
        self._kill_workers([scenario for scenario in group if scenario.point == scenarios.PERSISTED])
        self._release_all([scenario for scenario in group if scenario.point != scenarios.PERSISTED])
        time.sleep(max(0.0, end - time.monotonic()))

    def _release_all(self, group: list[Scenario]) -> None:
        for scenario in group:
            self.release(scenario)
            scenario.injected = True

    def _reset_connections(self, group: list[Scenario]) -> None:
        rules = {scenario.tag: self._add_reset_rule(scenario) for scenario in group}
        for scenario in group:
            held = self.held_responses.get(scenario.tag)
            if held is not None:
                self.proxy.release(held, reset=True)
                scenario.injected = True
            self.release(scenario)
        deadline = time.monotonic() + _RULES_TIMEOUT
        while time.monotonic() < deadline:
            if all(rule is None or rule.matches for rule in rules.values()):
                break
            time.sleep(0.1)
        for scenario in group:
            rule = rules[scenario.tag]
            scenario.injected = scenario.injected or (rule is not None and rule.matches > 0)

    def _add_reset_rule(self, scenario: Scenario) -> FaultRule | None:
        """Have the proxy reset the connection of the next call."""
        job_id = self.job_ids.get(scenario.tag) or "no job yet"
        match scenario.point:
            case scenarios.BEFORE_INTENT | scenarios.AFTER_INTENT:
                is_even_pass = scenario.pass_number % 2 == 0
                is_accepted = (scenario.point == scenarios.AFTER_INTENT) == is_even_pass
                scenario.steps.append(f"reset {'after' if is_accepted else 'before'} acceptance")
                rule = FaultRule(
                    [scenario.tag], "reset before response" if is_accepted else "reset before request"
                )
            case scenarios.ACCEPTED | scenarios.LANDING:
                return None
            case scenarios.RESUMING:
                rule = FaultRule(["/cdn/", job_id], "reset before response")
            case _:
                rule = FaultRule([job_id], "reset before request", max_matches=3, exclude=["/cdn/"])
        return self.proxy.add(rule)
