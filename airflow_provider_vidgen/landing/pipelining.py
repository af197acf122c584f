# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Process a download's bytes in other threads: hashed and stored while the next ones arrive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

#: Bytes passed on at once: waking a thread for fewer costs more than processing them.
_BATCH_SIZE = 1024**2
#: Batches queued for the slowest consumer; this bounds the memory.
_MAX_BATCHES = 2

_BatchQueue = queue.Queue[list[bytes] | None]


class ConsumerThreads:
    """
    Passes every chunk to several consumers, each in a thread of its own, in order.

    The threads end with the ``with`` block: after all chunks are consumed, or at once if the block raised.

    :param consumers: called with each chunk. An exception of one is raised by the next call here, and none of
        them is called again.
    """

    def __init__(self, *consumers: Callable[[bytes], Any]) -> None:
        self._queues = [_BatchQueue(_MAX_BATCHES) for _ in consumers]
        self._threads = [
            threading.Thread(target=self._run, args=args, name="vidgen-pipeline", daemon=True)
            for args in zip(self._queues, consumers, strict=True)
        ]
        self._batch: list[bytes] = []
        self._batch_size = 0
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def __enter__(self) -> ConsumerThreads:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None:
                self.flush()
        finally:
            self._end()

    def put(self, chunk: bytes) -> None:
        """Pass a chunk on; blocks while a consumer is far behind."""
        self._batch.append(chunk)
        self._batch_size += len(chunk)
        if self._batch_size >= _BATCH_SIZE:
            self._send_batch()

    def flush(self) -> None:
        """Wait until every consumer has consumed all chunks so far."""
        self._send_batch()
        for batches in self._queues:
            batches.join()
        self._raise_error()

    def _send_batch(self) -> None:
        self._raise_error()
        batch, self._batch, self._batch_size = self._batch, [], 0
        for batches in self._queues:
            batches.put(batch)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        self._ended.set()
        for batches in self._queues:
            batches.put(None)
        for thread in self._threads:
            if thread.ident is not None:  # otherwise it could not be started
                thread.join()

    def _run(self, batches: _BatchQueue, consumer: Callable[[bytes], Any]) -> None:
        while (batch := batches.get()) is not None:
            try:
                for chunk in batch:
                    if self._error is None and not self._ended.is_set():
                        consumer(chunk)
            except BaseException as error:
                self._error = error
            finally:
                batches.task_done()
