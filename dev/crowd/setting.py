# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The stage of a crowd: an Airflow, the simulator, deferred tasks, and triggerers that come and go."""

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
from dev.airflow_settings import PATIENT
from dev.crowd.deferring import Deferral, defer
from dev.crowd.loop_probe import put_into, read_holds
from dev.crowd.seen import ProcessWatch, Shift
from dev.local_airflow import LocalAirflow
from dev.local_simulator import API_KEY, LocalSimulator

_ROOT = Path(__file__).resolve().parents[2]
_DAGS = Path(__file__).resolve().parent / "dags"
_DAG_ID = "crowd"
#: The pool in which no task ever runs.
_POOL = "nobody_runs"
_MODELS = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}
#: So long that no job ends, and that the state of none changes.
FOR_EVER = 1e7
#: So old that nobody counts its submission any more, and that it is asked about as rarely as it ever will be.
_AGE = timedelta(minutes=10)
_PATIENCE = timedelta(hours=12)
_CONTROL = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
#: Airflow's own, not those of a local Airflow for tests, which is quicker.
_PACE = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "15",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
    # Sooner than Airflow's 30: the less time between two triggerers, the more could meet at the vendor.
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
}


class Crowd:
    """Deferred tasks, and one triggerer at a time. Made by :func:`stage`."""

    def __init__(self, airflow: LocalAirflow, simulator: SimulatorClient, counts: Mapping[str, int]) -> None:
        self.airflow = airflow
        self.simulator = simulator
        self.counts = counts
        self.run_id = ""
        self.jobs: dict[str, list[VideoJob]] = {}
        self._holds = put_into(airflow.home)
        self._visits_seen = 0

    def gather(self, control: bool = False) -> None:
        """
        Submit the jobs, and defer a task for each.

        :param control: with a trigger of Airflow's own instead, that only sleeps.
        """
        self.airflow.wait_for_dag(_DAG_ID, timeout=90)
        self.airflow.unpause(_DAG_ID)
        self.run_id = self.airflow.trigger(_DAG_ID)
        self.jobs = {vendor: self._submit(vendor, count) for vendor, count in self.counts.items()}
        self._visits_seen = max((visit.seq for visit in self.simulator.requests()), default=0)
        defer(
            self.airflow.env,
            _DAG_ID,
            self.run_id,
            [
                _deferral(vendor, index, job, control)
                for vendor, jobs in self.jobs.items()
                for index, job in enumerate(jobs)
            ],
        )

    @contextmanager
    def triggerer(self) -> Iterator[Shift]:
        """Start a triggerer, and kill it at the end of ``with``; what was seen of it is complete then."""
        log = self.airflow.component_log("triggerer")
        before = log.stat().st_size if log.exists() else 0
        begun = self._trigger_logs()
        shift = Shift(started=time.time())
        self.airflow.start("triggerer", wait=False)
        with ProcessWatch(lambda: self.airflow.pids("triggerer")) as watch:
            yield shift
            self.airflow.kill("triggerer")
        shift.ended = time.time()
        shift.memory, shift.cpu = watch.memory, watch.cpu
        shift.log = log.read_bytes()[before:].decode(errors="replace")
        shift.trigger_logs = self._trigger_logs() - begun
        shift.visits = self.visits()
        self._visits_seen = max((visit.seq for visit in shift.visits), default=self._visits_seen)
        shift.holds = [hold for hold in read_holds(self._holds) if hold.at >= shift.started]

    def visits(self) -> list[LoggedRequest]:
        """Return what came to the vendors since the triggerer of now was started."""
        return [visit for visit in self.simulator.requests() if visit.seq > self._visits_seen]

    def progress(self, vendor: str, index: int) -> Any:
        """Return the XCom that a trigger has written at its first check."""
        return self.airflow.xcom(_DAG_ID, self.run_id, vendor, "progress", index)

    def _submit(self, vendor: str, count: int) -> list[VideoJob]:
        """Submit jobs as a task would, without the vendor's limits, and as if it were long ago."""
        limits: Any = {"requests_per_minute": {vendor: None}, "concurrent_jobs": {vendor: None}}
        told = self.simulator.options()
        self.simulator.options(**limits)
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
        # A minute later these requests count no more. The jobs stay more than the vendor would take.
        self.simulator.advance(61)
        self.simulator.options(requests_per_minute={vendor: told["requests_per_minute"].get(vendor)})
        return jobs

    def _trigger_logs(self) -> int:
        return sum(1 for _ in self.airflow.home.rglob("*.trigger.*.log"))


@contextmanager
def stage(
    folder: Path,
    counts: Mapping[str, int],
    job_seconds: float = FOR_EVER,
    template_dir: Path | None = None,
) -> Iterator[Crowd]:
    """
    Start Airflow, but no triggerer, and the simulator; end every process of them afterwards.

    :param folder: for everything that is written.
    :param counts: how many tasks, by vendor.
    :param job_seconds: how long the vendors take for a video.
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
                "VIDGEN_CROWD": json.dumps(counts),
                **PATIENT,
                **_PACE,
            },
            template_dir=template_dir,
        )
        try:
            airflow.open(["api-server", "scheduler", "dag-processor"])
            airflow.api("POST", "/pools", json={"name": _POOL, "slots": 0, "include_deferred": False})
            yield Crowd(airflow, SimulatorClient(local.url), counts)
        finally:
            airflow.close()


def _deferral(vendor: str, index: int, job: VideoJob, control: bool) -> Deferral:
    now = datetime.now(UTC)
    resume: dict[str, Any] = {
        "job": job.to_dict(),
        "submitted_at": (now - _AGE).isoformat(),
        "deadline": (now + _PATIENCE).isoformat(),
    }
    if control:
        sleeping = {"target_time": (now + _PATIENCE).isoformat(), "end_from_trigger": False}
        return Deferral(vendor, index, _CONTROL, sleeping, resume)
    trigger = VideoTaskTrigger(
        vidgen_conn_id=f"vidgen_{vendor}", not_before=now.isoformat(), cancel_on_kill=False, **resume
    )
    return Deferral(vendor, index, *trigger.serialize(), resume)
