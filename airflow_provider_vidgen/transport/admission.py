# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Who may submit next where a vendor takes only so many jobs at a time. No I/O and no clock of its own.

Tasks that found no room stand in a line, in the order of when they first asked. Somebody is let in when a job
that is watched here has ended, and keeps that room for a while, until his own job is watched here. How many
jobs there is room for is the account's limit, or what refusals have shown; that grows back with time.
Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

#: At the start it is not yet known which jobs there are: their triggers are only just arriving.
_SETTLING = 5.0
#: Whoever was let in has so many seconds to come back with a job.
_KEPT = 120.0
#: So many seconds after a refusal, or after the last growth, there may be room for one more.
_GROWTH = 30.0
#: Seconds for which a refusal closes the door if the vendor gives none; doubled by each that follows at once.
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_MOMENT = 1e-6


class Admission:
    """
    The room at one account.

    :param limit: of jobs at a time, or ``None`` if the account has none that is known.
    :param now: the time.
    """

    def __init__(self, limit: int | None, now: float) -> None:
        self._jobs: set[Hashable] = set()
        self._let_in: dict[Hashable, float] = {}
        self._line: dict[Hashable, tuple[float, int]] = {}
        self._count = 0
        self._room = math.inf
        self._grown_at = now
        self._closed_until = now + _SETTLING
        self._pause = _FIRST_PAUSE
        self.limit(limit)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def limit(self, jobs: int | None) -> None:
        """Take over the account's limit, which may have been changed in the connection."""
        self._limit = math.inf if jobs is None else float(jobs)

    def watch(self, who: Hashable) -> bool:
        """
        Count a job that is watched here.

        :return: whether its task had been let in here.
        """
        self._jobs.add(who)
        expected = self._let_in.pop(who, None) is not None
        if expected:
            self._pause = _FIRST_PAUSE
        return expected

    def unwatch(self, who: Hashable) -> None:
        """Free the room of a job that is not watched any more."""
        self._jobs.discard(who)

    def refused(self, now: float, *, retry_after: float | None) -> None:
        """Learn that the vendor had no room just now."""
        self._room = max(1.0, min(self._limit, self._room, len(self._jobs)))
        self._grown_at = now
        asked = self._pause if retry_after is None else retry_after
        self._closed_until = max(self._closed_until, now + asked)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def line_up(self, who: Hashable, since: float) -> None:
        """
        Join the line; whoever was let in and comes back without a job gives his room up.

        :param since: when he first asked for room, on any clock that all share.
        """
        self._let_in.pop(who, None)
        self._count += 1
        self._line[who] = (since, self._count)

    def leave(self, who: Hashable) -> None:
        """Leave the line."""
        self._line.pop(who, None)

    def next(self, now: float) -> Hashable | None:
        """Let in whoever may submit now, and keep room for him."""
        if not self._line or self.delay(now) > 0:
            return None
        who = min(self._line, key=lambda one: self._line[one])
        del self._line[who]
        self._let_in[who] = now + _KEPT
        return who

    def delay(self, now: float) -> float:
        """Return the seconds until the next may be let in, if nothing else happens before."""
        self._let_in = {who: until for who, until in self._let_in.items() if until > now}
        if now - self._grown_at >= _GROWTH:
            self._room += (now - self._grown_at) // _GROWTH
            self._grown_at += (now - self._grown_at) // _GROWTH * _GROWTH
        if len(self._jobs) + len(self._let_in) < min(self._limit, self._room):
            wait = self._closed_until - now
            # What is left over by rounding would wake the caller again and again at the same moment.
            return wait if wait > _MOMENT else 0.0
        changes = list(self._let_in.values())
        if self._room < self._limit:
            changes.append(self._grown_at + _GROWTH)
        return max(min(changes, default=math.inf), self._closed_until) - now
