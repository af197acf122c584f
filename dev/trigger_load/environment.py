# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The environment of the load test: an Airflow, the simulator, deferred tasks, and a triggerer."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.models import VideoJob, VideoRequest
from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.simulator.request_log import LoggedRequest
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from dev.airflow_settings import LENIENT_HEALTH_CHECKS
from dev.local_airflow import LocalAirflow
from dev.local_simulator import API_KEY, LocalSimulator
from dev.trigger_load import event_loop_monitor
from dev.trigger_load.deferred_tasks import Deferral, defer
from dev.trigger_load.triggerer_metrics import ProcessMonitor, TriggererRun

_ROOT = Path(__file__).resolve().parents[2]
_DAGS = Path(__file__).resolve().parent / "dags"
_DAG_ID = "trigger_load"
#: A pool without slots, so that no task runs before it is deferred.
_POOL = "never_runs"
_MODELS = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}
#: Rendering time in seconds with which no job ends and no job's state changes.
NEVER_ENDS = 1e7
#: Age of a submission that no longer counts for the rate limit, and whose poll interval is at its maximum.
_JOB_AGE = timedelta(minutes=10)
_TIMEOUT = timedelta(hours=12)
_CONTROL_TRIGGER = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
#: Airflow's defaults instead of the shorter intervals of the local Airflow.
_INTERVALS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "15",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
    # Less than Airflow's 30: the sooner the next triggerer starts, the more requests of the two add up.
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
}


class TriggerLoad:
    """Deferred tasks and one triggerer at a time; created by :func:`trigger_load_environment`."""

    def __init__(self, airflow: LocalAirflow, simulator: SimulatorClient, counts: Mapping[str, int]) -> None:
        self.airflow = airflow
        self.simulator = simulator
        self.counts = counts
        self._run_id = ""
        self._stalls = event_loop_monitor.enable(airflow.home)
        self._last_request = 0

    def defer_tasks(self, control: bool = False) -> None:
        """
        Submit the jobs, and defer a task for each.

        :param control: use a trigger of Airflow's own that only sleeps.
        """
        self.airflow.wait_for_dag(_DAG_ID, timeout=90)
        self.airflow.unpause(_DAG_ID)
        self._run_id = self.airflow.trigger(_DAG_ID)
        jobs = {vendor: self._submit(vendor, count) for vendor, count in self.counts.items()}
        self._last_request = max((request.seq for request in self.simulator.requests()), default=0)
        defer(
            self.airflow.env,
            _DAG_ID,
            self._run_id,
            [
                _deferral(vendor, index, job, control)
                for vendor, vendor_jobs in jobs.items()
                for index, job in enumerate(vendor_jobs)
            ],
        )

    @contextmanager
    def run_triggerer(self) -> Iterator[TriggererRun]:
        """Start a triggerer and kill it at the end of ``with``; then its measurements are complete."""
        log = self.airflow.component_log("triggerer")
        log_start = log.stat().st_size if log.exists() else 0
        earlier_logs = self.count_trigger_logs()
        run = TriggererRun(started_at=time.time())
        self.airflow.start("triggerer", wait=False)
        with ProcessMonitor(lambda: self.airflow.pids("triggerer")) as processes:
            yield run
            self.airflow.kill("triggerer")
        run.memory, run.cpu = processes.memory, processes.cpu
        run.log = log.read_bytes()[log_start:].decode(errors="replace")
        run.trigger_logs = self.count_trigger_logs() - earlier_logs
        run.requests = self.requests()
        self._last_request = max((request.seq for request in run.requests), default=self._last_request)
        stalls = event_loop_monitor.read_stalls(self._stalls)
        run.stalls = [stall for stall in stalls if stall.ended_at >= run.started_at]

    def requests(self) -> list[LoggedRequest]:
        """Return the requests to the vendors since the start of the current triggerer."""
        return [request for request in self.simulator.requests() if request.seq > self._last_request]

    def progress(self, vendor: str, index: int) -> Any:
        """Return the XCom ``progress`` that a trigger has written at its first check."""
        return self.airflow.xcom(_DAG_ID, self._run_id, vendor, "progress", index)

    def _submit(self, vendor: str, count: int) -> list[VideoJob]:
        """Submit jobs as a task would, with the vendor's limits lifted."""
        unlimited: Any = {"requests_per_minute": {vendor: None}, "concurrent_jobs": {vendor: None}}
        options = self.simulator.options()
        self.simulator.options(**unlimited)
        settings = ConnectionSettings.read(
            f"vidgen_{vendor}",
            host=self.simulator.base_url(vendor),
            password=API_KEY,
            extra={"vendor": vendor, "allow_private_urls": True},
        )
        client = WorkerClient(settings)
        request = VideoRequest(prompt="a velvet pangolin", model=_MODELS[vendor])
        jobs = [
            client.submit(replace(request, prompt=f"a velvet pangolin, number {index}")).job
            for index in range(count)
        ]
        # After a minute the submissions do not count for the rate limit. The concurrency limit stays lifted.
        self.simulator.advance(61)
        self.simulator.options(requests_per_minute={vendor: options["requests_per_minute"].get(vendor)})
        return jobs

    def count_trigger_logs(self) -> int:
        """Return the number of logs that triggers have begun, over all triggerers."""
        return sum(1 for _ in self.airflow.home.rglob("*.trigger.*.log"))


@contextmanager
def trigger_load_environment(
    folder: Path,
    counts: Mapping[str, int],
    job_seconds: float = NEVER_ENDS,
    template_dir: Path | None = None,
) -> Iterator[TriggerLoad]:
    """
    Start the simulator and an Airflow without a triggerer; end all their processes afterwards.

    :param folder: folder for all files.
    :param counts: number of tasks by vendor.
    :param job_seconds: rendering time of a video at the vendors.
    :param template_dir: see :class:`~dev.local_airflow.LocalAirflow`.
    """
    dags = shutil.copytree(_DAGS, folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = [f"--job-seconds={job_seconds:g}", "--no-render"]
    with LocalSimulator(speed=1, arguments=arguments, log=folder / "simulator.log") as local:
        airflow = LocalAirflow(
            dags,
            home=folder / "airflow",
            env={
                **local.connections(),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
                "VIDGEN_TRIGGER_LOAD": json.dumps(counts),
                **LENIENT_HEALTH_CHECKS,
                **_INTERVALS,
            },
            template_dir=template_dir,
        )
        try:
            airflow.open(["api-server", "scheduler", "dag-processor"])
            airflow.api("POST", "/pools", json={"name": _POOL, "slots": 0, "include_deferred": False})
            yield TriggerLoad(airflow, SimulatorClient(local.url), counts)
        finally:
            airflow.close()


def _deferral(vendor: str, index: int, job: VideoJob, control: bool) -> Deferral:
    now = datetime.now(UTC)
    next_kwargs: dict[str, Any] = {
        "job": job.to_dict(),
        "submitted_at": (now - _JOB_AGE).isoformat(),
        "deadline": (now + _TIMEOUT).isoformat(),
    }
    if control:
        trigger_kwargs = {"target_time": (now + _TIMEOUT).isoformat(), "end_from_trigger": False}
        return Deferral(vendor, index, _CONTROL_TRIGGER, trigger_kwargs, next_kwargs)
    trigger = VideoTaskTrigger(
        vidgen_conn_id=f"vidgen_{vendor}", not_before=now.isoformat(), cancel_on_kill=True, **next_kwargs
    )
    return Deferral(vendor, index, *trigger.serialize(), next_kwargs)
