# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A job's links, and how often each is tried before it is given up."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    FileTooLarge,
    JobNotFound,
    LandingError,
    LinkUnavailable,
    NotAVideo,
    ResultExpired,
    StatusError,
    StatusRefused,
    StatusUnavailable,
)
from airflow_provider_vidgen.landing.fetching import Fetching
from airflow_provider_vidgen.landing.sidecar import About
from airflow_provider_vidgen.models import VideoJob

_log = logging.getLogger(__name__)

#: Connections that may break off in a row.
_ATTEMPTS = 4
_LONGEST_WAIT = 20.0
#: Seconds between the tries of a link that is not live: about five minutes in all. A CDN that lags behind its
#: API, or a signature from a clock that is ahead, takes seconds to a few minutes.
_BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)
#: The same, should asking the vendor take long, too.
_LONGEST = timedelta(seconds=sum(_BACKOFF))

#: Gives the job's links anew, or an empty sequence if they cannot be had.
Refresh = Callable[[], Sequence[str]]


class Results:
    """
    What a job brought.

    Its links are renewed once for all files that find theirs dead at the same time.

    :param refresh: asks the vendor for the links again.
    :param expires_at: when the links die; ``None`` if that is not known.
    """

    def __init__(
        self,
        links: Sequence[str],
        job: VideoJob | None,
        refresh: Refresh | None,
        about: About,
        expires_at: datetime | None = None,
    ) -> None:
        self.job = job
        self.about = about
        self.expires_at = expires_at
        self._links = list(links)
        self._refresh = refresh
        self._used: dict[int, str] = {}
        self._lock = threading.Lock()

    def link(self, index: int) -> str:
        """Return a link as it is now."""
        with self._lock:
            self._used[index] = self._links[index]
            return self._links[index]

    def renew(self, index: int) -> None:
        """
        Ask for fresh links, unless another file has done so since this one's was taken.

        :raises StatusError: the vendor could not be asked, which says nothing about the link.
        """
        with self._lock:
            if self._refresh is None or self._links[index] != self._used[index]:
                return
            with suppress(JobNotFound):  # then the link that is dead is the last word
                fresh = list(self._refresh())
                if len(fresh) == len(self._links):
                    self._links = fresh

    def next_step(self) -> str | None:
        """Return what to do about a link that is given up, where the vendor cannot be asked for another."""
        if self._refresh is not None:
            return None
        again = "A retry tries the same link again; no new video is made."
        if self.job is None:
            return f"{again} The vendor can be asked for a fresh link only with video= instead of url=."
        if not self.job.task_id:
            return f"{again} The vendor gave this job no id, so it cannot be asked for a fresh link."
        return again


def pull_all(
    results: Results,
    index: int,
    fetching: Fetching,
    *,
    wait: Callable[[float], None],
    now: Callable[[], datetime],
) -> None:
    """
    Fetch one file whole, over as many connections as it may take.

    :param wait: waits for so many seconds; what it raises ends the download.
    :raises LandingError: it is given up.
    :raises StatusError: the link is dead, and the vendor cannot be asked for another just now.
    """
    attempts = _Attempts(results, index, fetching, now)
    while True:
        try:
            return fetching.pull(results.link(index))
        except DownloadFailed as error:
            seconds = attempts.after_break(error)
        except FileTooLarge:
            raise
        except (LinkUnavailable, NotAVideo) as error:
            seconds = attempts.after_no_video(error)
        wait(seconds + random.random())


class _Attempts:
    """
    When to try one file again, and when to give it up.

    A download may break off a few times in a row. A store of results that asks to wait is waited for, for
    some minutes. A link that gives no video is tried for as long, with fresh links from the vendor: only when
    its time has passed, and the vendor has been asked since then, has it expired.
    """

    def __init__(self, results: Results, index: int, fetching: Fetching, now: Callable[[], datetime]) -> None:
        self._results = results
        self._index = index
        self._fetching = fetching
        self._now = now
        self._broken = 0
        self._without_video = 0
        self._since: datetime | None = None
        self._asked_since_end = False
        self._trouble: StatusError | None = None

    def after_break(self, error: DownloadFailed) -> float:
        """Return the seconds until the next try."""
        if self._fetching.was_worth_it():
            self._broken = self._without_video = 0
            self._since = None
        if error.retry_after is not None:
            return self._after_busy(error, error.retry_after)
        self._broken += 1
        if self._broken >= _ATTEMPTS:
            raise error
        return float(min(2 ** (self._broken - 1), _LONGEST_WAIT))

    def _after_busy(self, error: DownloadFailed, asked: float) -> float:
        """
        Wait as long as the store of results asks: it is not broken, and its patience counts with the link's.

        :param asked: seconds.
        """
        now = self._now()
        self._since = self._since or now
        if self._without_video >= len(_BACKOFF) or now - self._since + timedelta(seconds=asked) > _LONGEST:
            raise error
        return self._again(error, asked)

    def _again(self, error: LandingError, least: float = 0.0) -> float:
        seconds = max(least, _BACKOFF[self._without_video])
        self._without_video += 1
        _log.warning("%s; trying again in %d s", error.summary, seconds)
        return seconds

    def after_no_video(self, error: LinkUnavailable | NotAVideo) -> float:
        """Ask for fresh links, and return the seconds until the next try."""
        now = self._now()
        ends = self._results.expires_at
        if ends is not None and now >= ends and self._asked_since_end:
            summary = f"{error.summary}, and its time has passed ({ends.isoformat(timespec='seconds')})"
            raise ResultExpired(summary) from None
        self._since = self._since or now
        if self._without_video >= len(_BACKOFF) or now - self._since >= _LONGEST:
            raise self._given_up(error) from None
        self._trouble = None
        try:
            self._results.renew(self._index)
        except (StatusUnavailable, StatusRefused) as trouble:
            self._trouble = trouble
        else:
            self._asked_since_end = ends is not None and now >= ends
        return self._again(error)

    def _given_up(self, error: LinkUnavailable | NotAVideo) -> LandingError | StatusError:
        if self._trouble is not None:
            return self._trouble
        return type(error)(error.summary, next_step=self._results.next_step())
