# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A too slow server does not block a worker, and a stopped task ends at once."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.servers.video_server import VideoServer, write_random_mp4

SIZE = 300_000
KEY = "sim-0123456789abcdef"
#: Seconds that separate a defect from a slow machine.
SOON = 8.0
#: The beginnings of the names of landing's threads.
LANDING = ("vidgen-landing", "vidgen-pipeline")


class Dripping(VideoServer):
    """Sends a share of the video at once, and the rest byte by byte."""

    share = 0.0
    #: Seconds between two bytes; ``None`` sends all at once.
    pause: float | None = 1.0
    #: ``"body"``, or ``"head"``: no header ends.
    part = "body"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.over = threading.Event()
        self.film = (folder / "film.mp4").read_bytes()
        self.starts: list[int] = []
        self.reached = threading.Semaphore(0)

    def send(self, asked: BaseHTTPRequestHandler) -> None:
        start = int(asked.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.starts.append(start)
        asked.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked.close_connection = True
        if self.part == "head":
            asked.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            self.drip(asked, b"x" * 10_000)
            return
        asked.send_response(206 if start else 200)
        asked.send_header("Content-Length", str(SIZE - start))
        asked.send_header("ETag", '"one"')
        if start:
            asked.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        asked.end_headers()
        rest = self.film[start:]
        if self.pause is None:
            asked.wfile.write(rest)
            return
        asked.wfile.write(rest[: int(len(rest) * self.share)])
        self.drip(asked, rest[int(len(rest) * self.share) :])

    def drip(self, asked: BaseHTTPRequestHandler, rest: bytes) -> None:
        self.reached.release()
        with contextlib.suppress(OSError):
            for byte in rest:
                asked.wfile.write(bytes([byte]))
                if self.over.wait(self.pause):
                    return


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Dripping]:
    (tmp_path / "films").mkdir()
    write_random_mp4(tmp_path / "films" / "film.mp4", SIZE)
    (tmp_path / "landed").mkdir()
    with Dripping(tmp_path / "films").running() as server:
        assert isinstance(server, Dripping)
        yield server
        server.over.set()


def account(timeout: float) -> ConnectionSettings:
    extra = {"vendor": "apixo", "allow_private_urls": True, "timeout": timeout}
    return ConnectionSettings.read("slow", host="http://127.0.0.1:9", password=KEY, extra=extra)


JOB = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id="task_1")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "landed").iterdir())


def soon(work: Callable[[], Any], store: Dripping) -> Any:
    """Wait some seconds; after that the server closes the connection, and the test fails."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result(SOON)
        except TimeoutError:
            store.over.set()
            raise


@pytest.mark.parametrize("part", ["body", "head"])
def test_a_too_slow_download_counts_as_broken(part: str, store: Dripping, tmp_path: Path) -> None:
    store.part, store.pause = part, 0.05
    landing = Landing(account(0.2), verify=False, sidecar=False, sleep=lambda _: None)
    with pytest.raises(DownloadFailed, match="no new video is made"):
        soon(lambda: landing.land([f"{store.url}/film.mp4"], f"file://{tmp_path}/landed/", job=JOB), store)
    assert len(store.starts) == 4
    assert left(tmp_path) == []


def test_bytes_before_a_too_slow_phase_are_kept(store: Dripping, tmp_path: Path) -> None:
    store.share, store.pause = 0.5, 0.05

    def sleep(seconds: float) -> None:
        store.pause = None

    landing = Landing(account(0.2), verify=False, sidecar=False, sleep=sleep)
    soon(lambda: landing.land([f"{store.url}/film.mp4"], f"file://{tmp_path}/landed/v.mp4", job=JOB), store)
    assert (tmp_path / "landed" / "v.mp4").read_bytes() == store.film
    first, second = store.starts
    assert first == 0
    assert SIZE // 2 <= second < SIZE // 2 + 100


@contextlib.contextmanager
def alarm_when(ready: Callable[[], object]) -> Iterator[list[float]]:
    """Stop the main thread as ``execution_timeout`` does, once a condition is true."""
    rang: list[float] = []

    def ring(*_: Any) -> None:
        rang.append(time.monotonic())
        raise AirflowTaskTimeout

    def watch() -> None:
        ready()
        time.sleep(0.1)
        signal.pthread_kill(main, signal.SIGALRM)

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGALRM, ring)
    watching = threading.Thread(target=watch, daemon=True)
    try:
        watching.start()
        yield rang
    finally:
        watching.join()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("part", ["body", "head"])
@pytest.mark.parametrize("files", [1, 2, 5])
def test_a_stopped_task_ends_its_downloads_at_once(
    files: int, part: str, store: Dripping, tmp_path: Path
) -> None:
    store.part, store.share = part, 0.5
    links = [f"{store.url}/film.mp4?{number}" for number in range(files)]

    def dripping() -> None:
        for _ in range(min(files, 3)):
            assert store.reached.acquire(timeout=SOON)

    landing = Landing(account(30), verify=False, sidecar=False)
    # With a defect this test would take as long as the server sends.
    rescue = threading.Timer(SOON * 2, store.over.set)
    rescue.start()
    with alarm_when(dripping) as rang, pytest.raises(AirflowTaskTimeout):
        landing.land(links, f"file://{tmp_path}/landed/", job=JOB)
    took = time.monotonic() - rang[0]
    rescue.cancel()
    assert took < 2
    assert left(tmp_path) == []
    time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(LANDING)] == []


def test_a_stopped_task_does_not_wait_for_a_tls_handshake(tmp_path: Path, store: Dripping) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        taken: list[socket.socket] = []

        def take() -> None:
            taken.extend(silent.accept()[0] for _ in range(2))

        link = f"https://127.0.0.1:{silent.getsockname()[1]}/v.mp4"
        landing = Landing(account(20), verify=False, sidecar=False)
        with alarm_when(take) as rang, pytest.raises(AirflowTaskTimeout):
            landing.land([f"{link}?1", f"{link}?2"], f"file://{tmp_path}/landed/", job=JOB)
        assert time.monotonic() - rang[0] < 2
        for each in taken:
            each.close()
    assert left(tmp_path) == []
