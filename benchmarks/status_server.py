# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A minimal server of APIModels' status route in a child process, which records the time of each request.

``/sensor`` serves the same jobs to Airflow's HttpSensorTrigger, which continues after 404 and ends after 200.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

#: Jobs whose id starts with this are finished from the start.
FINISHED_JOB = "ready"

_PROCESSING = b'{"code":200,"msg":"success","data":{"taskId":"%s","state":"processing"}}'
_COMPLETED = (
    b'{"code":200,"msg":"success","data":{"taskId":"%s","state":"completed",'
    b'"resultUrls":["https://cdn.example.com/video.mp4"],'
    b'"createTime":1705123450000,"completeTime":1705123500000}}'
)
_RESPONSE = (
    b"HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Date: Fri, 20 Nov 2026 12:00:00 GMT\r\nServer: bench\r\nCache-Control: no-store\r\n\r\n%s"
)


class RequestLog:
    """The times of all status requests by job, and the number of connections."""

    def __init__(self) -> None:
        self.all_finished = False
        self.times: dict[bytes, list[float]] = defaultdict(list)
        self.opened_connections = self.open_connections = self.max_open_connections = 0

    def report(self, since: float, until: float) -> dict[str, float]:
        """
        Return figures for a period; connections are counted from the start.

        ``longest_gap`` is the longest time without a request for a job: between two, or since the last one.
        """
        jobs = [times for job, times in self.times.items() if not job.startswith(FINISHED_JOB.encode())]
        gaps = [later - earlier for times in jobs for earlier, later in pairwise(times) if later >= since]
        return {
            "checks": sum(since <= moment < until for times in jobs for moment in times),
            "longest_gap": max(gaps + [until - times[-1] for times in jobs], default=0.0),
            "opened_connections": self.opened_connections,
            "max_open_connections": self.max_open_connections,
        }


class StatusProtocol(asyncio.Protocol):
    """One keep-alive connection with GET requests, one at a time."""

    def __init__(self, log: RequestLog) -> None:
        self.log = log
        self.is_counted = False
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond once the request is complete."""
        self.data += data
        if self.data.endswith(b"\r\n\r\n"):
            target = self.data[4 : self.data.index(b" ", 4)]
            self.data = b""
            status, body = self.respond(*target.split(b"?", 1))
            self.transport.write(_RESPONSE % (status, len(body), body))

    def connection_lost(self, error: Exception | None) -> None:
        """Count the connection as closed."""
        self.log.open_connections -= self.is_counted

    def respond(self, path: bytes, query: bytes = b"") -> tuple[bytes, bytes]:
        """Return status line and body."""
        log = self.log
        if path == b"/finish":
            log.all_finished = True
            return b"200 OK", b"{}"
        if path == b"/report":
            period = parse_qs(query.decode())
            report = log.report(float(period["since"][0]), float(period["until"][0]))
            return b"200 OK", json.dumps(report).encode()
        if not self.is_counted:
            self.is_counted = True
            log.opened_connections += 1
            log.open_connections += 1
            log.max_open_connections = max(log.max_open_connections, log.open_connections)
        job = query.rpartition(b"=")[2]
        log.times[job].append(time.monotonic())
        if log.all_finished or job.startswith(FINISHED_JOB.encode()):
            return b"200 OK", _COMPLETED % job
        return b"404 Not Found" if path == b"/sensor" else b"200 OK", _PROCESSING % job


@contextmanager
def running_status_server() -> Iterator[str]:
    """Run the server in a child process, and return its URL."""
    command = [sys.executable, "-m", "benchmarks.status_server"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def raise_open_file_limit() -> None:
    """Raise this process's limit of open files to its maximum."""
    maximum = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


async def serve() -> None:
    """Serve until the process ends; the first line of output is the URL."""
    log = RequestLog()
    loop: Any = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StatusProtocol(log), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    raise_open_file_limit()
    asyncio.run(serve())
