# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A forward proxy on loopback, as companies have them: it alone knows where names lead."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK = 64 * 1024
#: Seconds until it notices that it is to end.
_LISTENS = 0.02


class ForwardProxy:
    """
    Tunnels ``CONNECT`` requests; others are answered 501.

    :param names: where names lead, such as ``{"api.example.com:443": ("127.0.0.1", 8443)}``; others are 502.
    :param credentials: ``user:password`` that it asks for.
    """

    def __init__(self, names: Mapping[str, tuple[str, int]], *, credentials: str | None = None) -> None:
        #: What it was asked to connect to, in order, also where it refused.
        self.asked: list[str] = []
        #: The tunnels that came about.
        self.tunnels: list[str] = []
        #: If set, the answer to everything.
        self.status: int | None = None
        self.names = dict(names)
        self._expected = credentials and f"Basic {base64.b64encode(credentials.encode()).decode()}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                outer.asked.append(self.path)
                self.close_connection = True
                if outer.status or not outer.accepts(self.headers.get("Proxy-Authorization")):
                    self.send_error(outer.status or 407)
                elif self.path not in outer.names:
                    self.send_error(502)
                else:
                    outer.tunnel(self)

            def do_POST(self) -> None:
                outer.asked.append(self.path)
                self.close_connection = True
                refused = outer.status or not outer.accepts(self.headers.get("Proxy-Authorization"))
                self.send_error((outer.status or 407) if refused else 501)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{credentials + '@' if credentials else ''}{self.host}"

    def accepts(self, told: str | None) -> bool:
        """Whether these credentials are the right ones."""
        return self._expected is None or told == self._expected

    @contextmanager
    def running(self) -> Iterator[ForwardProxy]:
        """Serve from a thread."""
        threading.Thread(target=self._server.serve_forever, args=[_LISTENS], daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def tunnel(self, asked: BaseHTTPRequestHandler) -> None:
        """Join both sides until one hangs up."""
        with socket.create_connection(self.names[asked.path]) as behind:
            self.tunnels.append(asked.path)
            asked.send_response(200, "Connection established")
            asked.end_headers()
            asked.wfile.flush()
            back = threading.Thread(target=_pump, args=[behind, asked.connection], daemon=True)
            back.start()
            _pump(asked.connection, behind)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
