# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A job's result links: refreshed when they are dead, and retried until a limit."""

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
from airflow_provider_vidgen.landing.download import FileDownload
from airflow_provider_vidgen.models import VideoJob

_log = logging.getLogger(__name__)

#: Consecutive broken connections before giving up.
_MAX_BROKEN = 4
_MAX_BROKEN_DELAY = 20.0
#: Seconds between the attempts of a link that is not live: about five minutes in all. A CDN that lags behind
#: its API, or a signature from a clock that is ahead, takes seconds to a few minutes.
_BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)
#: The same limit as a duration, since refreshing the links takes time, too.
_MAX_WAIT = timedelta(seconds=sum(_BACKOFF))

#: Returns fresh links of the job from the vendor, or an empty sequence if there are none.
Refresh = Callable[[], Sequence[str]]


class JobLinks:
    """
    The result links of a job, shared by the threads that download them.

    The links are refreshed once for all files that find theirs dead at the same time.

    :param refresh: gets fresh links from the vendor; ``None`` if the vendor cannot give any.
    :param expires_at: when the links expire; ``None`` if that is not known.
    """

    def __init__(
        self,
        links: Sequence[str],
        job: VideoJob | None,
        refresh: Refresh | None,
        expires_at: datetime | None = None,
    ) -> None:
        self.expires_at = expires_at
        self._job = job
        self._links = list(links)
        self._refresh = refresh
        #: The link of the last attempt, by index.
        self._tried: dict[int, str] = {}
        self._lock = threading.Lock()

    def current(self, index: int) -> str:
        """Return the current link of a file."""
        with self._lock:
            self._tried[index] = self._links[index]
            return self._links[index]

    def refresh(self, index: int) -> None:
        """
        Get fresh links, unless another file has done so since the last attempt of this one.

        :raises StatusError: the status check failed.
        """
        with self._lock:
            if self._refresh is None or self._links[index] != self._tried[index]:
                return
            with suppress(JobNotFound):  # then there is no fresh link
                fresh = list(self._refresh())
                if len(fresh) == len(self._links):
                    self._links = fresh

    def next_step(self) -> str | None:
        """Return what to do about a dead link that the vendor cannot replace; ``None`` if it can."""
        if self._refresh is not None:
            return None
        retry = "A retry tries the same link again; no new video is made."
        if self._job is None:
            return f"{retry} Fresh links can be requested from the vendor only with video= instead of url=."
        if not self._job.task_id:
            return f"{retry} The vendor gave this job no id, so no fresh link can be requested."
        return retry


def download_with_retries(
    links: JobLinks,
    index: int,
    download: FileDownload,
    *,
    wait: Callable[[float], None],
    now: Callable[[], datetime],
) -> None:
    """
    Download one complete file, over as many connections as it takes.

    :param wait: waits for this many seconds; an exception from it ends the download.
    :raises LandingError: the download failed, and all retries are used up.
    :raises StatusError: the link is dead, and a fresh one could not be requested from the vendor.
    """
    retries = _Retries(links, index, download, now)
    while True:
        try:
            return download.fetch(links.current(index))
        except DownloadFailed as error:
            delay = retries.delay_after_broken_download(error)
        except FileTooLarge:
            raise
        except (LinkUnavailable, NotAVideo) as error:
            delay = retries.delay_after_dead_link(error)
        wait(delay + random.random())


class _Retries:
    """
    When the next attempt of one file is due, and when to give up.

    A download may break off a few times in a row. A server that sends ``Retry-After`` is retried for some
    minutes. A link that returns no video is retried for the same time, with fresh links from the vendor: it
    counts as expired only when ``expires_at`` has passed and the links were refreshed after that.
    """

    def __init__(
        self, links: JobLinks, index: int, download: FileDownload, now: Callable[[], datetime]
    ) -> None:
        self._links = links
        self._index = index
        self._download = download
        self._now = now
        self._broken = 0
        #: Attempts without a video, and when the first of them was.
        self._without_video = 0
        self._without_video_since: datetime | None = None
        self._refreshed_after_expiry = False
        self._refresh_error: StatusError | None = None

    def delay_after_broken_download(self, error: DownloadFailed) -> float:
        """
        Return the seconds until the next attempt.

        :raises DownloadFailed: the retries are used up.
        """
        if self._download.has_gained():
            self._broken = self._without_video = 0
            self._without_video_since = None
        if error.retry_after is not None:
            return self._delay_of_busy_server(error, error.retry_after)
        self._broken += 1
        if self._broken >= _MAX_BROKEN:
            raise error
        return float(min(2 ** (self._broken - 1), _MAX_BROKEN_DELAY))

    def _delay_of_busy_server(self, error: DownloadFailed, retry_after: float) -> float:
        """
        Honour ``Retry-After``: the server is not broken, so this counts as waiting for the link.

        :param retry_after: seconds.
        """
        now = self._now()
        self._without_video_since = self._without_video_since or now
        waited = now - self._without_video_since + timedelta(seconds=retry_after)
        if self._without_video >= len(_BACKOFF) or waited > _MAX_WAIT:
            raise error
        return self._next_delay(error, retry_after)

    def _next_delay(self, error: LandingError, minimum: float = 0.0) -> float:
        delay = max(minimum, _BACKOFF[self._without_video])
        self._without_video += 1
        _log.warning("%s; trying again in %d s", error.summary, delay)
        return delay

    def delay_after_dead_link(self, error: LinkUnavailable | NotAVideo) -> float:
        """
        Refresh the links, and return the seconds until the next attempt.

        :raises ResultExpired: the links have expired.
        :raises LandingError: the retries are used up.
        :raises StatusError: the same, and the links could not be refreshed.
        """
        now = self._now()
        expires_at = self._links.expires_at
        if expires_at is not None and now >= expires_at and self._refreshed_after_expiry:
            expired_at = expires_at.isoformat(timespec="seconds")
            raise ResultExpired(f"{error.summary}, and it expired at {expired_at}") from None
        self._without_video_since = self._without_video_since or now
        if self._without_video >= len(_BACKOFF) or now - self._without_video_since >= _MAX_WAIT:
            raise self._final_error(error) from None
        self._refresh_error = None
        try:
            self._links.refresh(self._index)
        except (StatusUnavailable, StatusRefused) as refresh_error:
            self._refresh_error = refresh_error
        else:
            self._refreshed_after_expiry = expires_at is not None and now >= expires_at
        return self._next_delay(error)

    def _final_error(self, error: LinkUnavailable | NotAVideo) -> LandingError | StatusError:
        if self._refresh_error is not None:
            return self._refresh_error
        return type(error)(error.summary, next_step=self._links.next_step())
