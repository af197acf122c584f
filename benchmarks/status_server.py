# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
APIModels' status route as cheap as it can be made, in a process of its own, which notes who asks when.

For Airflow's HttpSensorTrigger, which goes on at 404 and ends at 200, the same jobs stand at ``/sensor``.
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

#: Jobs with such a name are finished from the start.
READY = "ready"

_RUNNING = b'{"code":200,"msg":"success","data":{"taskId":"%s","state":"processing"}}'
_FINISHED = (
    b'{"code":200,"msg":"success","data":{"taskId":"%s","state":"completed",'
    b'"resultUrls":["https://cdn.example.com/video.mp4"],'
    b'"createTime":1705123450000,"completeTime":1705123500000}}'
)
_HEAD = (
    b"HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Date: Fri, 20 Nov 2026 12:00:00 GMT\r\nServer: bench\r\nCache-Control: no-store\r\n\r\n%s"
)


class Books:
    """What has been asked, by whom, and over how many connections."""

    def __init__(self) -> None:
        self.finished = False
        self.checks: dict[bytes, list[float]] = defaultdict(list)
        self.opened = self.open = self.most_open = 0

    def report(self, since: float, until: float) -> dict[str, float]:
        """
        Return what happened between two moments; connections are counted from the start.

        ``longest`` is the longest that a job had to wait for a check: between two, or since its last one.
        """
        jobs = [times for job, times in self.checks.items() if not job.startswith(READY.encode())]
        waits = [later - earlier for times in jobs for earlier, later in pairwise(times) if later >= since]
        return {
            "checks": sum(since <= moment < until for times in jobs for moment in times),
            "longest": max(waits + [until - times[-1] for times in jobs], default=0.0),
            "opened": self.opened,
            "most_open": self.most_open,
        }


class Route(asyncio.Protocol):
    """One connection, kept alive. Requests are GETs, one at a time."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.asked = False
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a whole request."""
        self.data += data
        if self.data.endswith(b"\r\n\r\n"):
            target = self.data[4 : self.data.index(b" ", 4)]
            self.data = b""
            status, body = self.answer(*target.split(b"?", 1))
            self.transport.write(_HEAD % (status, len(body), body))

    def connection_lost(self, error: Exception | None) -> None:
        """Count it off."""
        self.books.open -= self.asked

    def answer(self, path: bytes, query: bytes = b"") -> tuple[bytes, bytes]:
        """Return status line and body."""
        books = self.books
        if path == b"/finish":
            books.finished = True
            return b"200 OK", b"{}"
        if path == b"/report":
            asked = parse_qs(query.decode())
            told = books.report(float(asked["since"][0]), float(asked["until"][0]))
            return b"200 OK", json.dumps(told).encode()
        if not self.asked:
            self.asked = True
            books.opened += 1
            books.open += 1
            books.most_open = max(books.most_open, books.open)
        job = query.rpartition(b"=")[2]
        books.checks[job].append(time.monotonic())
        if books.finished or job.startswith(READY.encode()):
            return b"200 OK", _FINISHED % job
        return b"404 Not Found" if path == b"/sensor" else b"200 OK", _RUNNING % job


@contextmanager
def running_server() -> Iterator[str]:
    """Run a server in a process of its own, and give its URL."""
    program = [sys.executable, "-m", "benchmarks.status_server"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve() -> None:
    """Answer until the process is ended; the first line printed is the URL."""
    books = Books()
    loop: Any = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Route(books), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    allow_many_sockets()
    asyncio.run(serve())
