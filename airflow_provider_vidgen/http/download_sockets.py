# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The sockets of downloads: shut down when the task is stopped, or when a download is too slow.

A socket's timeout only limits how long it may be silent, and nothing else interrupts a thread that is waiting
for bytes.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

#: Bytes per second, averaged over the connection's timeout, below which a download counts as broken.
MINIMUM_RATE = 4096


class OpenSockets:
    """The sockets that some threads are waiting on, so that another thread can shut them down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: set[socket.socket] = set()
        self._is_shut_down = False

    def add(self, connection: socket.socket) -> socket.socket:
        """
        Register a socket; after :meth:`shut_down_all` it is shut down at once.

        :return: a duplicate of it, for :func:`shut_down` and :meth:`release`. Unlike the socket itself it
            remains valid under TLS and through a proxy.
        """
        handle = connection.dup()
        with self._lock:
            self._handles.add(handle)
            if self._is_shut_down:
                shut_down(handle)
        return handle

    def release(self, handle: socket.socket) -> None:
        """Unregister a socket."""
        with self._lock:
            self._handles.discard(handle)
            handle.close()

    def shut_down_all(self) -> None:
        """Shut down all sockets, and every one registered later."""
        with self._lock:
            self._is_shut_down = True
            for handle in self._handles:
                shut_down(handle)


def shut_down(handle: socket.socket) -> None:
    """Shut down a socket: a thread waiting for its bytes sees the end of the stream."""
    with suppress(OSError):  # it is closed already, or was released in the meantime
        handle.shutdown(socket.SHUT_RDWR)


class MinimumRate:
    """
    Detects a download that is too slow.

    :param seconds: the interval over which the rate is averaged.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bytes = 0
        self._waited = 0.0

    def is_met(self, size: int, waited: float) -> bool:
        """
        Record received bytes, and return whether the rate is high enough.

        :param waited: the seconds spent on waiting for them, without those spent on storing them.
        """
        self._bytes += size
        self._waited += waited
        if self._waited < self._seconds:
            return True
        is_met = self._bytes >= MINIMUM_RATE * self._waited
        self._bytes, self._waited = 0, 0.0
        return is_met
