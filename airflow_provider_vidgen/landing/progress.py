# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""How far a large download is, said in the log now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Smaller files are there before anybody asks.
_LARGE = 64 * 1024**2
_STEP = 10
_SECONDS = 5.0
_MIB = 1024**2


class Progress:
    """
    Writes a line each ten percent, or each so many bytes where the size is not known, but not too often.

    :param name: what is downloaded.
    :param clock: seconds that only go forward.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._said_at = clock()
        self._step = 0

    def __call__(self, done: int, total: int) -> None:
        """Take note of how far it is."""
        if max(done, total) < _LARGE:
            return
        step = done * 100 // total // _STEP if total else done // _LARGE
        now = self._clock()
        if step == self._step or now - self._said_at < _SECONDS or done == total:
            return
        self._step, self._said_at = step, now
        if total:
            _log.info("%s: %d of %d MiB, %d %%", self._name, done // _MIB, total // _MIB, done * 100 // total)
        else:
            _log.info("%s: %d MiB", self._name, done // _MIB)
