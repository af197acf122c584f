# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor that sends its reply byte by byte blocks no worker longer than the connection's timeout allows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from airflow_provider_vidgen.errors import StatusUnavailable, SubmitOutcomeUnknown
from airflow_provider_vidgen.models import VideoJob
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, submit


@pytest.fixture
def slow_server() -> Iterator[str]:
    """A server that announces 4,000 bytes and sends one every 20 ms."""
    stop = threading.Event()

    def send_slowly(client: socket.socket) -> None:
        with client:
            client.recv(65536)
            client.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nContent-Type: application/json\r\n\r\n"
            )
            for _ in range(4000):
                if stop.wait(0.02):
                    return
                try:
                    client.sendall(b" ")
                except OSError:
                    return

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=send_slowly, args=[client], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        # If the timeout does not work, the test must not take as long as the whole reply.
        timer = threading.Timer(15, stop.set)
        timer.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        timer.cancel()
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_a_reply_sent_byte_by_byte_is_cut_off_by_the_timeout(
    slow_server: str, account: MakeAccount, clock: SimulatorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = account("apixo", host=slow_server, extra={"timeout": 0.3})
    job = VideoJob(vendor="apixo", base_url=slow_server, model="grok-video", task_id="task_1")
    started = time.monotonic()
    with pytest.raises(StatusUnavailable, match="Overlong"):
        hook.get_status(job)
    with pytest.raises(SubmitOutcomeUnknown, match="Overlong"):
        submit(hook)
    assert time.monotonic() - started < 8
