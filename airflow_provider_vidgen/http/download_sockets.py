# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The TCP connections of downloads, which are cut when nobody needs them any more, or when they drip.

A timeout of a socket only limits how long it is silent, and a thread that waits for bytes hears of nothing
else.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

#: Bytes a second, over the time of a connection's timeout, with which a download still counts as one.
MINIMUM_RATE = 4096


class OpenSockets:
    """The connections that some threads wait on, to be cut by another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut = False

    def add(self, connected: socket.socket) -> socket.socket:
        """
        Take in a connection; once they have been cut, each that comes is cut at once.

        :return: a handle of it, for :func:`cut` and :meth:`release`. Unlike the connection itself it stays
            the same under TLS and through a proxy.
        """
        handle = connected.dup()
        with self._lock:
            self._open.add(handle)
            if self._cut:
                cut(handle)
        return handle

    def release(self, handle: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(handle)
            handle.close()

    def cut(self) -> None:
        """End all of them, for good."""
        with self._lock:
            self._cut = True
            for handle in self._open:
                cut(handle)


def cut(handle: socket.socket) -> None:
    """End a connection: whoever waits for its bytes is told that there are no more."""
    with suppress(OSError):  # it has ended by itself, or was released in the meantime
        handle.shutdown(socket.SHUT_RDWR)


class MinimumRate:
    """
    Tells a download that drips from one that is slow.

    :param seconds: over which the rate is taken.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bytes = 0
        self._waited = 0.0

    def is_kept(self, size: int, waited: float) -> bool:
        """
        Take note of bytes.

        :param waited: the seconds spent on waiting for them; those in which they are stored do not count.
        """
        self._bytes += size
        self._waited += waited
        if self._waited < self._seconds:
            return True
        kept = self._bytes >= MINIMUM_RATE * self._waited
        self._bytes, self._waited = 0, 0.0
        return kept
