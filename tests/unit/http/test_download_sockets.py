# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Downloads that are too slow, by a fake clock, and sockets that are shut down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.errors import DownloadFailed
from airflow_provider_vidgen.http.download_sockets import MINIMUM_RATE, MinimumRate, OpenSockets, shut_down
from airflow_provider_vidgen.http.result_links import read_body


class Body:
    """Returns chunks, each after some seconds."""

    def __init__(self, *pieces: tuple[float, bytes]) -> None:
        self.time = 0.0
        self.pieces = iter(pieces)
        self.raw = self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        seconds, piece = next(self.pieces, (0.0, b""))
        self.time += seconds
        return piece


def read(body: Body, timeout: float = 30.0) -> Iterator[bytes]:
    response: Any = SimpleNamespace(raw=body)
    return read_body(response, 1024, timeout, clock=lambda: body.time)


def test_a_too_slow_download_ends_after_the_timeout_and_keeps_its_bytes() -> None:
    body = Body(*[(1.0, b"x")] * 1000)
    pieces = read(body)
    assert [next(pieces) for _ in range(30)] == [b"x"] * 30
    assert body.time == 30
    with pytest.raises(DownloadFailed, match=f"slower than {MINIMUM_RATE} bytes per second"):
        next(pieces)
    assert body.time == 30


def test_a_download_that_becomes_too_slow_ends_within_two_timeouts() -> None:
    body = Body(*[(1.0, b"x" * 10**6)] * 10, *[(1.0, b"x")] * 1000)
    with pytest.raises(DownloadFailed):
        list(read(body))
    assert body.time <= 10 + 2 * 30


def test_a_slow_download_is_read_to_its_end() -> None:
    body = Body(*[(1.0, b"x" * MINIMUM_RATE)] * 500)
    assert sum(map(len, read(body))) == 500 * MINIMUM_RATE


def test_time_spent_by_the_reader_does_not_count() -> None:
    body = Body(*[(0.001, b"x")] * 100)
    for _ in read(body):
        body.time += 1000  # the storage takes its time


@given(
    st.lists(st.tuples(st.floats(0.01, 20), st.integers(1, 10**6)), max_size=60),
    st.floats(1, 60),
)
def test_the_minimum_rate_is_averaged_over_the_interval(
    pieces: list[tuple[float, int]], seconds: float
) -> None:
    rate, since, size = MinimumRate(seconds), 0.0, 0
    for waited, count in pieces:
        since, size = since + waited, size + count
        met = rate.is_met(count, waited)
        if since < seconds:
            assert met
        else:
            assert met == (size >= MINIMUM_RATE * since)
            since, size = 0.0, 0


def test_sockets_registered_later_are_shut_down_too_and_may_be_released_at_any_time() -> None:
    sockets = OpenSockets()
    pairs = [socket.socketpair() for _ in range(3)]
    first, second = (sockets.add(ours) for ours, _ in pairs[:2])
    sockets.release(first)
    sockets.shut_down_all()
    third = sockets.add(pairs[2][0])
    pairs[0][1].sendall(b"still there")
    assert pairs[0][0].recv(20) == b"still there"
    assert [ours.recv(20) for ours, _ in pairs[1:]] == [b"", b""]
    for handle in (second, third):
        sockets.release(handle)
        shut_down(handle)  # by a timer that comes late
    for pair in pairs:
        for side in pair:
            side.close()
