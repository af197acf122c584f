# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor that sends its answer a byte at a time holds no worker for longer than the connection says."""

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
def dripping() -> Iterator[str]:
    """Whatever it is asked, it announces 4,000 bytes and sends one every 20 ms."""
    over = threading.Event()

    def answer(taken: socket.socket) -> None:
        with taken:
            taken.recv(65536)
            taken.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nContent-Type: application/json\r\n\r\n"
            )
            for _ in range(4000):
                if over.wait(0.02):
                    return
                try:
                    taken.sendall(b" ")
                except OSError:
                    return

    def serve() -> None:
        while True:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=[taken], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        # A defect must not hold the tests for as long as it drips.
        rescue = threading.Timer(15, over.set)
        rescue.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        rescue.cancel()
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_neither_a_check_nor_a_submission_waits_for_a_drip(
    dripping: str, account: MakeAccount, clock: SimulatorClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = account("apixo", host=dripping, extra={"timeout": 0.3})
    job = VideoJob(vendor="apixo", base_url=dripping, model="grok-video", task_id="task_1")
    began = time.monotonic()
    with pytest.raises(StatusUnavailable, match="Overlong"):
        hook.get_status(job)
    with pytest.raises(SubmitOutcomeUnknown, match="Overlong"):
        submit(hook)
    assert time.monotonic() - began < 8
