# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Metrics arrive at real backends: StatsD with and without tags, and OpenTelemetry."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.support.telemetry import StatsdServer, wait_until

#: A process like a triggerer's: nobody has initialised its metrics.
CODE = """
from datetime import timedelta
from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.models import Cost, JobState, JobStatus
from tests.support.accounts import job
from tests.support.clock import NOW

status = JobStatus(state=JobState.SUCCEEDED, raw_state="done", completed_at=NOW + timedelta(seconds=70))
metrics.prepare()
metrics.delivered(job(), status, submitted_at=NOW)
metrics.cost(job(), Cost(amount=0.25, currency="USD", basis="estimated"))
"""


def send(environment: dict[str, str]) -> None:
    process = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "cannot be sent" not in process.stdout + process.stderr


@pytest.mark.parametrize("has_tags", [False, True])
def test_statsd(has_tags: bool) -> None:
    with StatsdServer() as server:
        send({**server.environment, "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": str(has_tags)})
        wait_until(lambda: server.values("vidgen.cost_micros.apixgo.grok-image-video.USD.estimated"))
        tags = ",vendor=apixgo,model=grok-image-video" if has_tags else ""
        assert server.values(f"vidgen.succeeded{tags}") == [1]
        assert server.values("vidgen.succeeded.apixgo.grok-image-video") == [1]
        assert server.values(f"vidgen.finish_duration{tags}") == [70000]
        cost_tags = f"{tags},currency=USD,basis=estimated" if has_tags else ""
        assert wait_until(lambda: server.values(f"vidgen.cost_micros{cost_tags}")) == [250000]


def test_opentelemetry() -> None:
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/metrics"
        send(
            {
                "AIRFLOW__METRICS__OTEL_ON": "True",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            }
        )
    finally:
        server.shutdown()
        server.server_close()
    metrics = {
        metric.name: metric
        for request in received
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    [point] = metrics["airflow.vidgen.succeeded"].sum.data_points
    tags = {item.key: item.value.string_value for item in point.attributes}
    assert (point.as_int, tags) == (1, {"vendor": "apixgo", "model": "grok-image-video"})
    [histogram] = metrics["airflow.vidgen.finish_duration"].exponential_histogram.data_points
    assert (histogram.count, histogram.sum) == (1, 70000)
    [point] = metrics["airflow.vidgen.cost_micros"].sum.data_points
    assert point.as_int == 250000
