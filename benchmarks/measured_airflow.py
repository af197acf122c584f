# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A real Airflow and the simulator, with measurements of each Dag run."""

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
from benchmarks.process_usage import WorkerSlotMonitor, cpu_seconds, machine_cpu_seconds
from benchmarks.vendor_metrics import VendorMetrics, read_vendor_metrics
from dev.airflow_settings import LENIENT_HEALTH_CHECKS
from dev.local_airflow import COMPONENTS, LocalAirflow
from dev.local_simulator import API_KEY, LocalSimulator

_ROOT = Path(__file__).resolve().parent.parent
_POLL_INTERVAL = 1.0
#: Concurrency limit by API key. Only the first key's connection has it as ``max_concurrent``.
LIMITED_ACCOUNTS = {"sim-known-limit": 5, "sim-unknown-limit": 5}
#: Airflow's default.
_PARALLELISM = 32
#: Seconds after a run until the executor has read the last reports and waited for the last children.
_SETTLE_TIME = 8.0
#: Airflow's defaults instead of the shorter intervals of the local Airflow. Only Dag files are parsed once,
#: because parsing them every half minute would run in the background of all contenders.
_INTERVALS = {
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
class Measurement:
    """
    Measurements of one Dag run.

    :param cpu: CPU seconds by component, without those that the idle Airflow uses in this time.
    :param slot_seconds: seconds for which worker slots were occupied, added up over all slots.
    :param task_process_seconds: the part of them with a living task process.
    :param max_slots: largest number of worker slots occupied at the same time.
    :param wall: seconds from the run's start to its end.
    :param cores_busy: share of the machine's cores that was in use during the run, by any process.
    :param states: number of task instances by state.
    :param failed_tries: number of failed tries of all task instances.
    :param task_seconds: sum of the durations that Airflow shows for the task instances.
    :param vendor: metrics at the vendor.
    :param file_count: number of videos that were landed.
    """

    cpu: Mapping[str, float]
    slot_seconds: float
    task_process_seconds: float
    max_slots: int
    wall: float
    cores_busy: float
    states: Counter[str]
    failed_tries: int
    task_seconds: float
    vendor: VendorMetrics
    file_count: int

    @property
    def total_cpu(self) -> float:
        """CPU seconds of the whole Airflow."""
        return sum(self.cpu.values())


class MeasuredAirflow:
    """
    Airflow and the simulator, which run while the ``with`` block lasts.

    :param job_seconds: rendering time of a video at the simulated vendors.
    :param heartbeat_interval: ``[workers] min_heartbeat_interval``.
    :param env: environment variables for the Dag files.
    """

    def __init__(self, job_seconds: float, heartbeat_interval: float, env: Mapping[str, str]) -> None:
        self._job_seconds = job_seconds
        self._env = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": f"{heartbeat_interval:g}", **env}
        self._stack = ExitStack()
        self._idle_cpu: dict[str, float] = {}

    def __enter__(self) -> MeasuredAirflow:
        with ExitStack() as stack:
            self._home = Path(tempfile.mkdtemp(prefix="vidgen-bench-"))
            stack.callback(shutil.rmtree, self._home, ignore_errors=True)
            dags = shutil.copytree(_ROOT / "benchmarks" / "dags", self._home / "dags")
            self._videos = self._home / "videos"
            local = stack.enter_context(
                LocalSimulator(
                    speed=1,
                    arguments=[
                        "--job-seconds",
                        str(self._job_seconds),
                        f"--option=concurrent_jobs={json.dumps(LIMITED_ACCOUNTS)}",
                    ],
                    log=self._home / "simulator.log",
                )
            )
            self._simulator = SimulatorClient(local.url)
            http_connection = {
                "conn_type": "http",
                "host": f"{local.url}/apimodels",
                "extra": {"Authorization": f"Bearer {API_KEY}"},
            }
            env = {
                **local.connections(),
                "AIRFLOW_CONN_BENCH_HTTP": json.dumps(http_connection),
                **_limited_connections(f"{local.url}/apixgo"),
                "PYTHONPATH": str(_ROOT),
                "VIDGEN_BENCH_FOLDER": self._videos.as_uri(),
                **LENIENT_HEALTH_CHECKS,
                **_INTERVALS,
                **self._env,
            }
            self._airflow = stack.enter_context(
                LocalAirflow(dags, home=self._home / "airflow", env=env, parallelism=_PARALLELISM)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def wait_for_dags(self, dag_ids: list[str]) -> None:
        """Wait until the Dags are parsed, and unpause them."""
        for dag_id in dag_ids:
            self._airflow.wait_for_dag(dag_id, timeout=90)
            self._airflow.unpause(dag_id)

    def warm_up(self, dag_ids: list[str]) -> None:
        """Run Dags at the same time without measuring, to fill caches and start all processes."""
        run_ids = {dag_id: self._airflow.trigger(dag_id) for dag_id in dag_ids}
        for dag_id, run_id in run_ids.items():
            self._wait_for_run(dag_id, run_id, 300)
        time.sleep(_SETTLE_TIME)

    def measure_idle(self, seconds: float) -> dict[str, float]:
        """Measure the idle Airflow, polled as often as during a run; return CPU seconds per second."""
        before, started = self._cpu_seconds(), time.monotonic()
        while time.monotonic() < started + seconds:
            self._airflow.health()
            time.sleep(_POLL_INTERVAL)
        after, elapsed = self._cpu_seconds(), time.monotonic() - started
        self._idle_cpu = {name: (after[name] - before[name]) / elapsed for name in after}
        return self._idle_cpu

    def measure_run(self, dag_id: str, timeout: float = 1200) -> Measurement:
        """Run a Dag on an idle Airflow and measure it."""
        shutil.rmtree(self._videos, ignore_errors=True)
        self._simulator.reset()
        cpu_before, machine_before, started = self._cpu_seconds(), machine_cpu_seconds(), time.monotonic()
        with WorkerSlotMonitor(self._airflow.pid("scheduler")) as slots:
            run_id = self._airflow.trigger(dag_id)
            run = self._wait_for_run(dag_id, run_id, timeout)
            cores = (machine_cpu_seconds() - machine_before) / (time.monotonic() - started)
            time.sleep(_SETTLE_TIME)
        cpu_after, elapsed = self._cpu_seconds(), time.monotonic() - started
        tasks = self._airflow.task_instances(dag_id, run_id)
        return Measurement(
            cpu={
                name: cpu_after[name] - cpu_before.get(name, 0.0) - self._idle_cpu.get(name, 0.0) * elapsed
                for name in cpu_after
            },
            slot_seconds=slots.occupied_seconds,
            task_process_seconds=slots.task_process_seconds,
            max_slots=slots.max_occupied,
            wall=_timestamp(run["end_date"]) - _timestamp(run["start_date"]),
            cores_busy=cores / (os.cpu_count() or 1),
            states=Counter(str(task["state"]) for task in tasks),
            failed_tries=sum(self._failed_tries(dag_id, run_id, task) for task in tasks),
            task_seconds=sum(task["duration"] or 0.0 for task in tasks),
            vendor=read_vendor_metrics(self._simulator),
            file_count=sum(1 for _ in self._videos.rglob("*.mp4")),
        )

    def _cpu_seconds(self) -> dict[str, float]:
        return cpu_seconds({name: self._airflow.pid(name) for name in COMPONENTS})

    def _wait_for_run(self, dag_id: str, run_id: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            run: dict[str, Any] = {"state": "unknown"}
            # On a busy machine the API server may time out while the run continues.
            with suppress(requests.Timeout):
                run = self._airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
            if run["state"] in ("success", "failed"):
                return run
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} is {run['state']} after {timeout:.0f} s")
            time.sleep(_POLL_INTERVAL)

    def _failed_tries(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> int:
        if task["state"] == "success" and task["try_number"] <= 1:
            return 0
        tries = self._airflow.tries(dag_id, run_id, task["task_id"], task["map_index"])
        return sum(task_try["state"] in ("failed", "up_for_retry") for task_try in tries)


def _limited_connections(host: str) -> dict[str, str]:
    """Return the connections of :data:`LIMITED_ACCOUNTS` as environment variables."""
    extra = {"vendor": "apixgo", "allow_private_urls": True}
    extra_with_limit = {**extra, "max_concurrent": LIMITED_ACCOUNTS["sim-known-limit"]}
    return {
        f"AIRFLOW_CONN_BENCH_{name.upper()}_LIMIT": json.dumps(
            {"conn_type": "vidgen", "host": host, "password": f"sim-{name}-limit", "extra": fields}
        )
        for name, fields in (("known", extra_with_limit), ("unknown", extra))
    }


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
