# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Metrics arrive at a StatsD server and lineage at a sink of OpenLineage, from an Airflow of their own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.simulator import SimulatorClient
from dev.local_airflow import LocalAirflow
from dev.local_simulator import LocalSimulator
from tests.support.task_runs import Task
from tests.support.telemetry import OpenLineageSink, StatsdServer, wait_until

DAG = "telemetry"
DAG_FILE = Path(__file__).parent / "dags" / "telemetry.py"
KEY = "sim-marmalade-9Qx2"


class Telemetry:
    """What an Airflow has reported of one run of the Dag."""

    def __init__(self, statsd: StatsdServer, sink: OpenLineageSink, folder: Path, job_id: str) -> None:
        self.statsd = statsd
        self.sink = sink
        self.folder = folder
        self.job_id = job_id

    def event(self, task_id: str, event_type: str) -> dict[str, Any]:
        """Return the OpenLineage event about the end of a task."""
        event: dict[str, Any] = wait_until(lambda: self.sink.find(f"{DAG}.{task_id}", event_type))
        return event


@pytest.fixture(scope="module")
def telemetry(
    database_templates: Path, checkout_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Telemetry]:
    """What is reported of a video that is made and downloaded, and of others that are not."""
    dags, videos = tmp_path_factory.mktemp("telemetry-dags"), tmp_path_factory.mktemp("telemetry-videos")
    shutil.copy(DAG_FILE, dags)
    with LocalSimulator() as process, StatsdServer() as statsd, OpenLineageSink() as sink:
        vendors = SimulatorClient(process.url)
        vendors.options(apimart_cost=True)
        vendors.fault("reset", vendor="apimodels", route="create", when="after")
        vendors.fault("status", status=429, vendor="apixgo", route="create")
        vendors.fault("busy", status=429, vendor="apimart", route="download")
        env = {
            **process.connections(KEY),
            **statsd.environment,
            **sink.environment,
            "PYTHONPATH": checkout_path,
        }
        home = tmp_path_factory.mktemp("telemetry")
        with LocalAirflow(dags, home=home, env=env, template_dir=database_templates) as airflow:
            run_id = airflow.start_run(DAG, {"folder": videos.as_uri()}, timeout=60)
            tasks = {
                name: Task(airflow, DAG, run_id, name)
                for name in ("rejected", "unknown", "made", "downloaded")
            }
            tasks["rejected"].wait_until_finished("failed")
            tasks["unknown"].wait_until_finished("failed")
            tasks["made"].wait_until_finished("success")
            tasks["downloaded"].wait_until_finished("success")
            Task(airflow, DAG, run_id, "waiting").wait("up_for_reschedule")
            yield Telemetry(statsd, sink, videos, tasks["made"].record()["task_id"])


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_each_metric_arrives(metric: metrics.Metric, telemetry: Telemetry) -> None:
    assert wait_until(lambda: telemetry.statsd.values(metric.full_name))


def test_each_metric_arrives_once_and_with_the_vendor_and_model_in_its_name(telemetry: Telemetry) -> None:
    made = "apimart.grok-imagine-1__0-video-apimart"
    rejected, unknown, waiting = "apixo.grok-video", "apimodels.grok-video-3", "apixgo.grok-image-video"
    expected = {
        f"vidgen.submitted.{made}": 1,
        f"vidgen.submitted.{rejected}": 1,
        f"vidgen.succeeded.{made}": 1,
        f"vidgen.failed.{rejected}.content_rejected": 1,
        f"vidgen.unknown.{unknown}": 1,
        "vidgen.rate_limited.apixgo.submit": 1,
        "vidgen.rate_limited.apimart.download": 1,
        f"vidgen.bytes_landed.{made}": sum(file.stat().st_size for file in telemetry.folder.glob("*.mp4")),
    }
    arrived = {name: sum(telemetry.statsd.values(name)) for name in expected}
    assert arrived == expected
    assert len(telemetry.statsd.values(f"vidgen.capacity_wait.{waiting}")) == 1
    # From the triggerer.
    assert len(telemetry.statsd.values(f"vidgen.notice_delay.{made}")) == 1
    assert telemetry.statsd.values("vidgen.failed") == telemetry.statsd.values("vidgen.unknown") == [1]
    costs = [
        line for line in telemetry.statsd.lines if line.startswith(f"airflow.vidgen.cost_micros.{made}.")
    ]
    assert len(costs) == 1
    assert re.search(r"\.(USD|credits)\.reported:[1-9]\d*\|c$", costs[0])


def test_no_metric_has_a_prompt_or_a_job(telemetry: Telemetry) -> None:
    text = "\n".join(line for line in telemetry.statsd.lines if "vidgen." in line)
    for secret in ("pangolin", telemetry.job_id, "marmalade", "http"):
        assert secret not in text


def test_a_deferred_generation_reports_its_images_its_job_and_the_stored_object(telemetry: Telemetry) -> None:
    event = telemetry.event("made", "COMPLETE")
    [image] = event["inputs"]
    assert (image["namespace"], image["name"]) == ("https://images.example.com", "/pose.png")
    [video] = event["outputs"]
    assert (video["namespace"], video["name"]) == ("file", f"{telemetry.folder}/made.mp4")
    assert video["outputFacets"]["outputStatistics"]["size"] == (telemetry.folder / "made.mp4").stat().st_size
    facet = event["run"]["facets"]["vidgen_generation"]
    assert (facet["vendor"], facet["jobId"], facet["state"]) == ("apimart", telemetry.job_id, "succeeded")
    assert (facet["requestedDurationSeconds"], facet["resolution"]) == (6, "480p")
    assert facet["cost"]["basis"] == "reported"


def test_a_download_reports_the_vendors_video_and_the_stored_object(telemetry: Telemetry) -> None:
    event = telemetry.event("downloaded", "COMPLETE")
    [source], [video] = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("vidgen://apimart", telemetry.job_id)
    assert (video["namespace"], video["name"]) == ("file", f"{telemetry.folder}/copy.mp4")
    first = telemetry.event("made", "COMPLETE")["outputs"][0]
    assert video["facets"]["version"]["datasetVersion"] == first["facets"]["version"]["datasetVersion"]


def test_a_failed_generation_reports_what_was_requested(telemetry: Telemetry) -> None:
    event = telemetry.event("rejected", "FAIL")
    assert event["outputs"] == []
    assert event["run"]["facets"]["vidgen_generation"]["model"] == "grok-video"


def test_no_event_has_a_prompt_a_key_or_a_signature(telemetry: Telemetry) -> None:
    telemetry.event("downloaded", "COMPLETE")
    text = json.dumps(telemetry.sink.events)
    for secret in ("velvet pangolin", "marmalade", "sig="):
        assert secret not in text
