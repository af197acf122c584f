# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A forward proxy on loopback, as in a company network where only the proxy resolves host names."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK = 64 * 1024
#: Seconds between two checks for a shutdown.
_SHUTDOWN_POLL = 0.02


class ForwardProxy:
    """
    Tunnels ``CONNECT`` requests; answers others with 501.

    :param names: address by host and port, such as ``{"api.example.com:443": ("127.0.0.1", 8443)}``; requests
        for other names are answered with 502.
    :param credentials: ``user:password`` that clients have to send.
    """

    def __init__(self, names: Mapping[str, tuple[str, int]], *, credentials: str | None = None) -> None:
        #: Target of each request in order, refused ones included.
        self.targets: list[str] = []
        #: Targets of the tunnels that were established.
        self.tunnels: list[str] = []
        #: If set, the status of every response.
        self.status: int | None = None
        self.names = dict(names)
        self._authorization = credentials and f"Basic {base64.b64encode(credentials.encode()).decode()}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                outer.targets.append(self.path)
                self.close_connection = True
                if outer.status or not outer.is_authorized(self.headers.get("Proxy-Authorization")):
                    self.send_error(outer.status or 407)
                elif self.path not in outer.names:
                    self.send_error(502)
                else:
                    outer.tunnel(self)

            def do_POST(self) -> None:
                outer.targets.append(self.path)
                self.close_connection = True
                refused = outer.status or not outer.is_authorized(self.headers.get("Proxy-Authorization"))
                self.send_error((outer.status or 407) if refused else 501)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{credentials + '@' if credentials else ''}{self.host}"

    def is_authorized(self, header: str | None) -> bool:
        """Return whether a ``Proxy-Authorization`` header holds the credentials."""
        return self._authorization is None or header == self._authorization

    @contextmanager
    def running(self) -> Iterator[ForwardProxy]:
        """Serve in a thread while the block lasts."""
        threading.Thread(target=self._server.serve_forever, args=[_SHUTDOWN_POLL], daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def tunnel(self, request: BaseHTTPRequestHandler) -> None:
        """Forward bytes in both directions until one side closes the connection."""
        with socket.create_connection(self.names[request.path]) as upstream:
            self.tunnels.append(request.path)
            request.send_response(200, "Connection established")
            request.end_headers()
            request.wfile.flush()
            downstream = threading.Thread(target=_forward, args=[upstream, request.connection], daemon=True)
            downstream.start()
            _forward(request.connection, upstream)
            downstream.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for side in (source, target):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
