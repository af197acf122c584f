# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A store of results on loopback: large files, with ranges, at full speed or at a pace."""

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

_PIECE = 1024 * 1024
#: Seconds until it notices that it is to end.
_LISTENS = 0.02


def make_film(path: Path, size: int, seed: int = 0) -> str:
    """
    Write an MP4 whose pictures are noise.

    :return: its SHA-256.
    """
    head = mp4_head(size - len(mp4_head(0, 6, 640, 360)), 6, 640, 360)
    digest, noise, rest = hashlib.sha256(), random.Random(seed), size - len(head)
    with path.open("wb") as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        put(head)
        block = noise.randbytes(_PIECE)
        while rest > 0:
            put(block[:rest])
            rest -= len(block)
    return digest.hexdigest()


class FilmServer:
    """
    Serves the files of a folder.

    :param folder: where they are.
    :param pace: bytes a second for each connection; ``None`` sends as fast as it goes.
    """

    def __init__(self, folder: Path, pace: int | None = None) -> None:
        self.methods: Counter[str] = Counter()
        self.folder = folder
        self.pace = pace
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.methods["GET"] += 1
                with contextlib.suppress(OSError):  # the other side was killed
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
    def running(self) -> Iterator[FilmServer]:
        """Serve from a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=[_LISTENS], daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def send(self, asked: BaseHTTPRequestHandler) -> None:
        """Answer with a file, or the rest of it."""
        path = self.folder / Path(asked.path).name
        if not path.is_file():
            asked.send_error(404)
            return
        size, told = path.stat().st_size, asked.headers.get("Range", "")
        start = int(told.removeprefix("bytes=").rstrip("-")) if told else 0
        asked.send_response(206 if start else 200)
        asked.send_header("Content-Type", "video/mp4")
        asked.send_header("ETag", f'"{path.name}-{size}"')
        asked.send_header("Content-Length", str(size - start))
        if start:
            asked.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        asked.end_headers()
        asked.wfile.flush()
        piece = _PIECE * 8 if self.pace is None else max(1, self.pace // 100)
        with path.open("rb") as file:
            while start < size:
                sent = os.sendfile(asked.connection.fileno(), file.fileno(), start, piece)
                if not sent:
                    return
                start += sent
                if self.pace is not None:
                    time.sleep(sent / self.pace)
