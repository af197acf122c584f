# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Work on the bytes of a download beside it: they are hashed and stored while the next ones arrive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

#: Handed on at once: to wake a thread for less costs more than what it does.
_BATCH = 1024**2
#: So many may wait for the slowest; this bounds the memory.
_BATCHES = 2

_Lane = queue.Queue[list[bytes] | None]


class Beside:
    """
    Shows every piece to some takers, each in a thread of its own, in order.

    When the block has ended, so have the threads. If it ended well, all has been taken; if not, the rest is
    dropped.

    :param takers: called with each piece. What one of them raises is raised by the next call here, and
        none of them is called again.
    """

    def __init__(self, *takers: Callable[[bytes], Any]) -> None:
        self._lanes = [_Lane(_BATCHES) for _ in takers]
        self._threads = [
            threading.Thread(target=self._run, args=each, name="vidgen-beside", daemon=True)
            for each in zip(self._lanes, takers, strict=True)
        ]
        self._batch: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._over = threading.Event()

    def __enter__(self) -> Beside:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._end()

    def put(self, piece: bytes) -> None:
        """Show a piece; waits while a taker is far behind."""
        self._batch.append(piece)
        self._size += len(piece)
        if self._size >= _BATCH:
            self._hand_on()

    def settle(self) -> None:
        """Wait until every taker has taken all pieces so far."""
        self._hand_on()
        for lane in self._lanes:
            lane.join()
        self._raise()

    def _hand_on(self) -> None:
        self._raise()
        batch, self._batch, self._size = self._batch, [], 0
        for lane in self._lanes:
            lane.put(batch)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        self._over.set()
        for lane in self._lanes:
            lane.put(None)
        for thread in self._threads:
            if thread.ident is not None:  # else it could not be started
                thread.join()

    def _run(self, lane: _Lane, taker: Callable[[bytes], Any]) -> None:
        while (batch := lane.get()) is not None:
            try:
                for piece in batch:
                    if self._error is None and not self._over.is_set():
                        taker(piece)
            except BaseException as error:
                self._error = error
            finally:
                lane.task_done()
