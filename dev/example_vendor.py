# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``examples/vendor_package``: install it without a network, and serve its made-up vendor on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

EXAMPLE_VENDOR = Path(__file__).resolve().parent.parent / "examples" / "vendor_package"

#: Options of ``pip install``: dependencies and the build backend are those of this environment.
OFFLINE = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
_NOT_FOUND = (404, {"error": {"code": "E_NO_VIDEO", "message": "no such video"}})
_BAD_KEY = (401, {"error": {"code": "E_KEY", "message": "invalid key"}})


def install_example_vendor(folder: Path) -> Path:
    """
    Install the example package.

    :param folder: an empty folder.
    :return: the folder to put on ``PYTHONPATH``.
    :raises subprocess.CalledProcessError: pip failed; its output is printed.
    """
    # A copy, because a build leaves files in the source folder.
    source = shutil.copytree(
        EXAMPLE_VENDOR, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    site_packages = folder / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", *OFFLINE, "--target", str(site_packages), str(source)]
    subprocess.run(pip, check=True)
    return site_packages


class FakeAcme:
    """
    The server runs while the block lasts.

    Each job is ``running`` in its first status reply and ``ready`` from the second one on.

    :param api_key: the one key that is accepted.
    """

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key
        #: Method, path and JSON body of each request, in order.
        self.requests: list[tuple[str, str, Any]] = []
        self._checks: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeAcme:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _reply(self, method: str, path: str, key: str) -> tuple[int, dict[str, Any]]:
        if key != f"Bearer {self.api_key}":
            return _BAD_KEY
        if (method, path) == ("POST", "/v1/videos"):
            task_id = f"v_{len(self._checks) + 1}"
            self._checks[task_id] = 0
            return 201, {"id": task_id}
        folder, _, task_id = path.rpartition("/")
        if method != "GET" or folder != "/v1/videos" or task_id not in self._checks:
            return _NOT_FOUND
        self._checks[task_id] += 1
        if self._checks[task_id] == 1:
            return 200, {"state": "running"}
        return 200, {"state": "ready", "video_url": f"{self.url}/files/{task_id}.mp4"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                server.requests.append((self.command, self.path, body))
                key = self.headers.get("Authorization", "")
                status, answer = server._reply(self.command, self.path, key)
                encoded = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            do_GET = do_POST = _handle

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        return Handler
