# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Loopback addresses, and servers that run in child processes on them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

HOST = "127.0.0.1"

_ROOT = Path(__file__).resolve().parent.parent
_START_TIMEOUT = 30.0


def free_port() -> int:
    """Return a port on loopback on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(
    command: Sequence[str], port: int, *, is_http: bool = True, **environment: str
) -> Iterator[str]:
    """
    Run a server in a child process while the block lasts.

    :param command: starts the server, in the root of the checkout.
    :param port: port on which the server will listen.
    :param is_http: wait for an HTTP response; ``False`` waits for a TCP connection only.
    :param environment: additional environment variables.
    :return: URL of the server, once it accepts requests.
    :raises TimeoutError: the server does not accept requests.
    """
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=_ROOT,
        env={**os.environ, **environment},
    )
    try:
        url = f"http://{HOST}:{port}"
        _wait_until_ready((lambda: urlopen(url).close()) if is_http else lambda: _connect(port), url)
        yield url
    finally:
        server.terminate()
        server.wait()


def _connect(port: int) -> None:
    socket.create_connection((HOST, port)).close()


def _wait_until_ready(send_request: Callable[[], None], url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            send_request()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"no server accepts requests at {url} after {_START_TIMEOUT:g} s")
