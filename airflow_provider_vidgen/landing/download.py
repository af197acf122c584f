# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Download one file over as many connections as it takes, hashed and validated on the way."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, FileTooLarge, NotAVideo, VidgenError
from airflow_provider_vidgen.http import result_links
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.containers.validator import ContainerValidator
from airflow_provider_vidgen.landing.pipelining import ConsumerThreads
from airflow_provider_vidgen.landing.writers import Sink

_log = logging.getLogger(__name__)

_CHUNK_SIZE = 256 * 1024
_MAX_FILE_SIZE = 8 * 1024**3
#: A broken connection that brought this many new bytes does not count as a failed attempt.
_MIN_GAIN = 8 * 1024**2
#: Python refuses to parse numbers of thousands of digits; no file size has more than 18.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)

#: Smaller files are complete too soon for progress lines.
_LOGGED_FROM = 64 * 1024**2
_LOG_STEP_PERCENT = 10
_LOG_INTERVAL_SECONDS = 5.0
_MIB = 1024**2

#: Called with the bytes received so far and the total, which is 0 if it is not known.
OnProgress = Callable[[int, int], Any]
#: Opens the sink for a video in this format.
OpenSink = Callable[[ContainerFormat], AbstractContextManager[Sink]]


class FileDownload:
    """
    Downloads one link into a sink; when the ``with`` block ends without an error, the file is complete.

    After a broken connection, the next one resumes at the same byte if the server's strong ETag proves that
    the file is the same one; otherwise it starts again from the first byte.

    :param open_sink: called once the first bytes have shown the container format.
    :param on_progress: called after each chunk; an exception from it ends the download.
    :param sockets: registers each connection, so that another thread can shut it down.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        open_sink: OpenSink,
        on_progress: OnProgress,
        sockets: OpenSockets,
    ) -> None:
        self._settings = settings
        self._open_sink = open_sink
        self._on_progress = on_progress
        self._sockets = sockets
        self._sink_context = ExitStack()
        #: Of the open sink; ``None`` before there is one.
        self.format: ContainerFormat | None = None
        self._most_bytes = 0
        self._location: tuple[str, ...] = ()
        self._reset()

    def __enter__(self) -> FileDownload:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._sink_context.__exit__(*exception)

    def fetch(self, link: str) -> None:
        """
        Fetch the missing bytes over one connection.

        :raises DownloadFailed: bytes are still missing.
        :raises LinkUnavailable: the link is dead.
        :raises NotAVideo: the link returns something else.
        """
        location = _location_of(link)
        if self.bytes and (location != self._location or not self._etag):
            self._restart()
        self._location = location
        resume: dict[str, Any] = {"start": self.bytes, "if_range": self._etag}
        with result_links.open_link(link, self._settings, sockets=self._sockets, **resume) as response:
            self._begin(response)
            try:
                for chunk in result_links.read_body(response, _CHUNK_SIZE, self._settings.timeout):
                    self._receive(chunk)
            except NotAVideo:
                self._restart()
                raise
        if self._total > self.bytes:
            raise DownloadFailed(f"The download ended after {self.bytes} of {self._total} bytes")
        try:
            if 0 < self._total < self.bytes:
                raise DownloadFailed(f"The server sent more than the announced {self._total} bytes")
            self._validator.finish(length_announced=self._chunked or self._total > 0)
        except VidgenError:
            # More bytes cannot repair the ones received.
            self._restart()
            raise

    def has_gained(self) -> bool:
        """Whether the last connection received much more of the file than any before it."""
        gained, self._most_bytes = self.bytes - self._most_bytes, max(self.bytes, self._most_bytes)
        return gained >= _MIN_GAIN

    def _begin(self, response: requests.Response) -> None:
        """Check at which byte of the file the response begins."""
        if self.bytes and response.status_code != 200:
            content_range = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status_code == 206 and content_range and self._continues(content_range, response):
                return
            self._restart()
            raise DownloadFailed("The server did not return the rest of the file")
        if self.bytes:
            self._restart()
        self._total = _content_length(response)
        # A chunked body that is cut off raises an error of its own.
        self._chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        etag = response.headers.get("ETag", "")
        # A weak ETag does not promise the same bytes.
        self._etag = etag if etag.startswith('"') else ""
        if self._total > _MAX_FILE_SIZE:
            raise _too_large()

    def _continues(self, content_range: re.Match[str], response: requests.Response) -> bool:
        first, last, total = map(int, content_range.groups())
        same = response.headers.get("ETag", self._etag) == self._etag and total == (self._total or total)
        if same:
            self._total = total
        return same and first == self.bytes and last == total - 1

    def _receive(self, chunk: bytes) -> None:
        if self.bytes + len(chunk) > _MAX_FILE_SIZE:
            raise _too_large()
        self._validator.feed(chunk)
        self.bytes += len(chunk)
        self._pending.append(chunk)
        if self._validator.format is not None:
            if self._validator.format is not self.format:
                self._open(self._validator.format)
            for pending in self._pending:
                self._consumers.put(pending)
            self._pending.clear()
        self._on_progress(self.bytes, self._total)

    def _open(self, format: ContainerFormat) -> None:
        self._discard_sink()
        sink = self._sink_context.enter_context(self._open_sink(format))
        self._consumers = self._sink_context.enter_context(
            ConsumerThreads(sink.write, lambda chunk: self.sha256.update(chunk))
        )
        self._sink, self.format = sink, format

    def _discard_sink(self) -> None:
        """Close a sink opened for another container format as if the download had failed."""
        discarded = _SinkDiscarded()
        self._sink_context.__exit__(_SinkDiscarded, discarded, None)
        self.format = None

    def _restart(self) -> None:
        if self.format is not None:
            self._consumers.flush()
            self._sink.restart()
        self._reset()

    def _reset(self) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self._validator = ContainerValidator()
        #: Chunks received before the container format was known.
        self._pending: list[bytes] = []
        self._chunked = False
        self._etag = ""
        self._total = 0


class ProgressLog:
    """
    Logs the progress of a large download: every ten percent, or every 64 MiB where the size is not known.

    :param name: what is downloaded.
    :param clock: monotonic, in seconds; at most one line is logged in five seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._logged_at = clock()
        self._step = 0

    def __call__(self, received: int, total: int) -> None:
        """Log the progress if a line is due."""
        if max(received, total) < _LOGGED_FROM:
            return
        step = received * 100 // total // _LOG_STEP_PERCENT if total else received // _LOGGED_FROM
        now = self._clock()
        if step == self._step or now - self._logged_at < _LOG_INTERVAL_SECONDS or received == total:
            return
        self._step, self._logged_at = step, now
        if total:
            percent = received * 100 // total
            _log.info("%s: %d of %d MiB, %d %%", self._name, received // _MIB, total // _MIB, percent)
        else:
            _log.info("%s: %d MiB", self._name, received // _MIB)


def _location_of(link: str) -> tuple[str, ...]:
    """Return scheme, host and path: what remains the same when a link is signed anew."""
    try:
        return tuple(urlsplit(link)[:3])
    except ValueError:  # open_link reports it
        return (link,)


def _content_length(response: requests.Response) -> int:
    """Return the announced length, or 0 if there is no valid one."""
    length = response.headers.get("Content-Length", "").strip().lstrip("0")
    if not length.isdecimal():
        return 0
    # Python refuses to parse numbers of thousands of digits.
    return int(length[:20])


class _SinkDiscarded(Exception):
    """Ends the sink's block by an exception, so that it commits nothing."""


def _too_large() -> FileTooLarge:
    return FileTooLarge(f"The file is larger than {_MAX_FILE_SIZE} bytes")
