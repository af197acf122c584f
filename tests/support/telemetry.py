# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Receivers on loopback of what Airflow reports: a StatsD server, and a sink of OpenLineage events."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class StatsdServer:
    """A StatsD server, from ``with`` on; :attr:`lines` are the metrics that have arrived."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self.lines: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """Airflow's settings."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
        }

    def values(self, name: str) -> list[float]:
        """Return the values of a metric, without Airflow's prefix, in the order of their arrival."""
        found = (line.rpartition("|")[0].rpartition(":") for line in self.lines)
        return [float(value) for metric, _, value in found if metric == f"airflow.{name}"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                self.lines += self._socket.recv(65536).decode().splitlines()
            except OSError:  # closed
                return


class OpenLineageSink:
    """An HTTP server that keeps OpenLineage events, from ``with`` on."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(201)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """Airflow's settings."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": url})}

    def find(self, job: str, event_type: str) -> dict[str, Any] | None:
        """Return the newest event of a type about a job."""
        found = [
            event for event in self.events if event["job"]["name"] == job and event["eventType"] == event_type
        ]
        return found[-1] if found else None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def wait_until(arrived: Callable[[], Any], timeout: float = 30) -> Any:
    """Wait for something to arrive, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := arrived()):
        assert time.monotonic() < deadline, "it has not arrived"
        time.sleep(0.2)
    return found
