# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An HTTP server of large video files on loopback, with range requests, at full or limited speed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from airflow_provider_vidgen.simulator.placeholder_media import mp4_head

_CHUNK = 1024 * 1024
#: Seconds between two checks for a shutdown.

_SHUTDOWN_POLL = 0.02


def write_random_mp4(path: Path, size: int, seed: int = 0) -> str:
    """
    Write an MP4 whose media data is random bytes.

    :param size: of the file, in bytes.
    :return: SHA-256 of the file.
    """
    head = mp4_head(size - len(mp4_head(0, 6, 640, 360)), 6, 640, 360)
    digest, remaining = hashlib.sha256(), size - len(head)
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        write(head)
        block = random.Random(seed).randbytes(_CHUNK)
        while remaining > 0:
            write(block[:remaining])
            remaining -= len(block)
    return digest.hexdigest()


class VideoServer:
    """
    Serves the files of a folder.

    :param folder: folder of the files.
    :param bytes_per_second: limit for each connection; ``None`` sends at full speed.
    """

    def __init__(self, folder: Path, bytes_per_second: int | None = None) -> None:
        #: Number of requests by HTTP method.
        self.methods: Counter[str] = Counter()
        self.folder = folder
        self.bytes_per_second = bytes_per_second
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.methods["GET"] += 1
                with contextlib.suppress(OSError):  # the client was killed
                    outer.send(self)

            def do_POST(self) -> None:
                outer.methods["POST"] += 1
                self.send_error(405)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[VideoServer]:
        """Serve in a thread while the block lasts."""
        thread = threading.Thread(target=self._server.serve_forever, args=[_SHUTDOWN_POLL], daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def send(self, request: BaseHTTPRequestHandler) -> None:
        """Respond with a file, or with the requested range of it."""
        path = self.folder / Path(request.path).name
        if not path.is_file():
            request.send_error(404)
            return
        size, byte_range = path.stat().st_size, request.headers.get("Range", "")
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range else 0
        request.send_response(206 if start else 200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("ETag", f'"{path.name}-{size}"')
        request.send_header("Content-Length", str(size - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.end_headers()
        request.wfile.flush()
        speed = self.bytes_per_second
        chunk = _CHUNK * 8 if speed is None else max(1, speed // 100)
        with path.open("rb") as file:
            while start < size:
                sent = os.sendfile(request.connection.fileno(), file.fileno(), start, chunk)
                if not sent:
                    return
                start += sent
                if speed is not None:
                    time.sleep(sent / speed)
