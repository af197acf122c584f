# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A real Airflow and the simulator, with instruments: run a Dag in them, and say what that used."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from airflow_provider_vidgen.simulator import SimulatorClient
from benchmarks.process_usage import SlotWatch, cpu_seconds, machine_busy
from benchmarks.vendor_metrics import VendorSide, read
from dev.airflow_settings import LENIENT_HEALTH_CHECKS
from dev.local_airflow import COMPONENTS, LocalAirflow
from dev.local_simulator import API_KEY, LocalSimulator

_ROOT = Path(__file__).resolve().parent.parent
_POLL = 1.0
#: Accounts that take five jobs at a time, by key; whether their connection says so, by their name.
SMALL_ACCOUNTS = {"sim-known": 5, "sim-unknown": 5}
#: Airflow's default.
_PARALLELISM = 32
#: After a run, until the executor's last reports are read and the last children are waited for.
_SETTLE = 8.0
#: Airflow's own defaults, where the local Airflow for tests is quicker than they are. Only the Dag files are
#: parsed once instead of every half a minute: that would go on in the background of all contenders.
_PACE = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "300",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
}


@dataclass(frozen=True)
class Measured:
    """
    One run of a Dag.

    :param cpu: CPU seconds by component, without what the idle Airflow uses in that time.
    :param slot_seconds: for how long workers were taken, all together.
    :param at_work: the part of it in which a living task process stood behind.
    :param most_slots: the most at once.
    :param wall: seconds from the run's start to its end.
    :param busy: the share of the machine's cores that was in use meanwhile, by whomever.
    :param states: task instances by state.
    :param failed_tries: of all task instances.
    :param task_seconds: the sum of the durations that Airflow shows for the task instances.
    :param vendor: the vendor's side.
    :param files: sizes of the videos that landed.
    """

    cpu: Mapping[str, float]
    slot_seconds: float
    at_work: float
    most_slots: int
    wall: float
    busy: float
    states: Counter[str]
    failed_tries: int
    task_seconds: float
    vendor: VendorSide
    files: list[int]

    @property
    def cpu_of_all(self) -> float:
        """CPU seconds of the whole Airflow."""
        return sum(self.cpu.values())


class Rig:
    """
    Airflow and simulator, from :meth:`__enter__` to the end of ``with``.

    :param job_seconds: how long the simulated vendors take for a video.
    :param heartbeat: ``[workers] min_heartbeat_interval``.
    :param env: environment of the Dag files.
    """

    def __init__(self, job_seconds: float, heartbeat: float, env: Mapping[str, str]) -> None:
        self._job_seconds = job_seconds
        self._env = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": f"{heartbeat:g}", **env}
        self._stack = ExitStack()
        self.idle: dict[str, float] = {}

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            self._home = Path(tempfile.mkdtemp(prefix="vidgen-bench-"))
            stack.callback(shutil.rmtree, self._home, ignore_errors=True)
            dags = shutil.copytree(_ROOT / "benchmarks" / "dags", self._home / "dags")
            self.folder = self._home / "videos"
            local = stack.enter_context(
                LocalSimulator(
                    speed=1,
                    arguments=[
                        "--job-seconds",
                        str(self._job_seconds),
                        f"--option=concurrent_jobs={json.dumps(SMALL_ACCOUNTS)}",
                    ],
                    log=self._home / "simulator.log",
                )
            )
            self.simulator = SimulatorClient(local.url)
            http = {
                "conn_type": "http",
                "host": f"{local.url}/apimodels",
                "extra": {"Authorization": f"Bearer {API_KEY}"},
            }
            env = {
                **local.connections(),
                "AIRFLOW_CONN_BENCH_HTTP": json.dumps(http),
                **_small_accounts(f"{local.url}/apixgo"),
                "PYTHONPATH": str(_ROOT),
                "VIDGEN_BENCH_FOLDER": self.folder.as_uri(),
                **LENIENT_HEALTH_CHECKS,
                **_PACE,
                **self._env,
            }
            self.airflow = stack.enter_context(
                LocalAirflow(dags, home=self._home / "airflow", env=env, parallelism=_PARALLELISM)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def prepare(self, dag_ids: list[str]) -> None:
        """Wait for Dags and unpause them."""
        for dag_id in dag_ids:
            self.airflow.wait_for_dag(dag_id, timeout=90)
            self.airflow.unpause(dag_id)

    def run_unmeasured(self, dag_ids: list[str]) -> None:
        """Run Dags at the same time, so that caches are full and every process has started."""
        runs = {dag_id: self.airflow.trigger(dag_id) for dag_id in dag_ids}
        for dag_id, run in runs.items():
            self._wait(dag_id, run, 300)
        time.sleep(_SETTLE)

    def rest(self, seconds: float) -> dict[str, float]:
        """Measure the idle Airflow, asked as often as during a run; CPU seconds a second."""
        before, started = self._cpu(), time.monotonic()
        while time.monotonic() < started + seconds:
            self.airflow.health()
            time.sleep(_POLL)
        after, taken = self._cpu(), time.monotonic() - started
        self.idle = {name: (after[name] - before[name]) / taken for name in after}
        return self.idle

    def run(self, dag_id: str, timeout: float = 1200) -> Measured:
        """Run a Dag on an idle Airflow and measure it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.simulator.reset()
        before, busy, started = self._cpu(), machine_busy(), time.monotonic()
        with SlotWatch(self.airflow.pid("scheduler")) as slots:
            run = self.airflow.trigger(dag_id)
            told = self._wait(dag_id, run, timeout)
            cores = (machine_busy() - busy) / (time.monotonic() - started)
            time.sleep(_SETTLE)
        after, taken = self._cpu(), time.monotonic() - started
        tasks = self.airflow.task_instances(dag_id, run)
        return Measured(
            cpu={
                name: after[name] - before.get(name, 0.0) - self.idle.get(name, 0.0) * taken for name in after
            },
            slot_seconds=slots.seconds,
            at_work=slots.at_work,
            most_slots=slots.most,
            wall=_moment(told["end_date"]) - _moment(told["start_date"]),
            busy=cores / (os.cpu_count() or 1),
            states=Counter(str(task["state"]) for task in tasks),
            failed_tries=sum(self._failed_tries(dag_id, run, task) for task in tasks),
            task_seconds=sum(task["duration"] or 0.0 for task in tasks),
            vendor=read(self.simulator),
            files=[file.stat().st_size for file in sorted(self.folder.rglob("*.mp4"))],
        )

    def _cpu(self) -> dict[str, float]:
        return cpu_seconds({name: self.airflow.pid(name) for name in COMPONENTS})

    def _wait(self, dag_id: str, run: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            told: dict[str, Any] = {"state": "unknown"}
            # On a busy machine the API server takes its time; the run goes on meanwhile.
            with suppress(requests.Timeout):
                told = self.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run}")
            if told["state"] in ("success", "failed"):
                return told
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} is {told['state']} after {timeout:.0f} s")
            time.sleep(_POLL)

    def _failed_tries(self, dag_id: str, run: str, task: Mapping[str, Any]) -> int:
        if task["state"] == "success" and task["try_number"] <= 1:
            return 0
        tries = self.airflow.tries(dag_id, run, task["task_id"], task["map_index"])
        return sum(one["state"] in ("failed", "up_for_retry") for one in tries)


def _small_accounts(host: str) -> dict[str, str]:
    """Return their connections, as environment variables."""
    extra = {"vendor": "apixgo", "allow_private_urls": True}
    known = {**extra, "max_concurrent": SMALL_ACCOUNTS["sim-known"]}
    return {
        f"AIRFLOW_CONN_BENCH_CAPACITY_{name.upper()}": json.dumps(
            {"conn_type": "vidgen", "host": host, "password": f"sim-{name}", "extra": told}
        )
        for name, told in (("known", known), ("unknown", extra))
    }


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
