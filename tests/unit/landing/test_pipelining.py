# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Consumers of a download get every byte in order, and leave no thread behind."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_vidgen.landing.pipelining import ConsumerThreads

KIB = 1024
PIECES = [bytes([number % 251]) * (number % 7 * 100 * KIB + 1) for number in range(60)]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def show_all(*takers: Callable[[bytes], object]) -> None:
    with ConsumerThreads(*takers) as beside:
        for piece in PIECES:
            beside.put(piece)


def test_every_consumer_gets_every_chunk_in_order() -> None:
    taken: list[bytes] = []
    digest = hashlib.sha256()
    show_all(taken.append, digest.update)
    assert taken == PIECES
    assert digest.digest() == hashlib.sha256(b"".join(PIECES)).digest()


def test_flushed_chunks_are_consumed_and_more_may_follow() -> None:
    taken: list[bytes] = []
    with ConsumerThreads(taken.append) as beside:
        for number, piece in enumerate(PIECES):
            beside.put(piece)
            if not number % 20:
                beside.flush()
                assert taken == PIECES[: number + 1]
    assert taken == PIECES


class DiskFull(Exception):
    pass


def failing(after: int, taken: list[bytes]) -> Callable[[bytes], None]:
    def take(piece: bytes) -> None:
        if len(taken) == after:
            raise DiskFull
        taken.append(piece)

    return take


@pytest.mark.parametrize("after", [0, 1, 30, len(PIECES) - 1])
def test_a_consumers_exception_is_raised_by_put_and_stops_it(after: int) -> None:
    taken: list[bytes] = []
    with pytest.raises(DiskFull):
        show_all(failing(after, taken), lambda _: None)
    assert taken == PIECES[:after]


def test_a_consumers_exception_is_raised_by_flush() -> None:
    def run() -> None:
        with ConsumerThreads(failing(0, [])) as beside:
            beside.put(b"x")
            with pytest.raises(DiskFull):
                beside.flush()

    with pytest.raises(DiskFull):
        run()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_the_block_drops_the_queued_chunks(error: type[BaseException]) -> None:
    taken: list[bytes] = []
    begun = threading.Event()

    def take(piece: bytes) -> None:
        taken.append(piece)
        begun.set()
        beside._over.wait()

    def run() -> None:
        with beside:
            for piece in PIECES[:7]:
                beside.put(piece)
            begun.wait()
            raise error

    beside = ConsumerThreads(take)
    with pytest.raises(error):
        run()
    assert taken == PIECES[:1]


def test_a_thread_that_cannot_be_started_leaves_no_other_running(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def second_fails(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(RuntimeError, match="new thread"), ConsumerThreads(bytes, bytes):
        pass
    assert started
