# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The bytes of one file, over as many connections as it takes, hashed and checked on the way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, FileTooLarge, NotAVideo, VidgenError
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing.beside import Beside
from airflow_provider_vidgen.landing.container import FilmCheck
from airflow_provider_vidgen.landing.kinds import Kind

if TYPE_CHECKING:
    import requests

    from airflow_provider_vidgen.landing.storing import Sink

_PIECE = 256 * 1024
_LARGEST = 8 * 1024**3
#: A connection that brought so much was worth it, and does not count as a failed one.
_WORTH = 8 * 1024**2
#: Python reads no number of thousands of digits; no file has more than these.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)

#: Told the bytes so far and their number in all, or 0 if that is not known.
Watch = Callable[[int, int], Any]
#: Opens the place for a film of some kind.
OpenSink = Callable[[Kind], AbstractContextManager["Sink"]]


class Fetching:
    """
    Brings the bytes of one link into a sink; when its block has ended well, all are there and hashed.

    After a connection has broken, the next one goes on where it stopped, provided the store of results tells
    by its ETag that the file is the same one; else from the first byte.

    :param open_sink: called once the first bytes have told what kind of film it is.
    :param watch: called after each piece; what it raises ends the download.
    :param connections: takes in each connection, so that another thread can cut it.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        open_sink: OpenSink,
        watch: Watch,
        connections: OpenSockets,
    ) -> None:
        self._settings = settings
        self._open_sink = open_sink
        self._watch = watch
        self._connections = connections
        self._opened = ExitStack()
        #: Of the sink that is open; ``None`` before there is one.
        self.kind: Kind | None = None
        self._best = 0
        self._place: tuple[str, ...] = ()
        self._forget()

    def __enter__(self) -> Fetching:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._opened.__exit__(*raised)

    def pull(self, link: str) -> None:
        """
        Fetch what is missing over one connection.

        :raises DownloadFailed: some is still missing.
        :raises LinkUnavailable: the link is dead.
        :raises NotAVideo: the link gives something else.
        """
        from airflow_provider_vidgen.http.download import open_link, read_body

        place = _place_of(link)
        if self.bytes and (place != self._place or not self._etag):
            self._restart()
        self._place = place
        how: dict[str, Any] = {"start": self.bytes, "if_range": self._etag}
        with open_link(link, self._settings, connections=self._connections, **how) as reply:
            self._begin(reply)
            try:
                for piece in read_body(reply, _PIECE, self._settings.timeout):
                    self._take(piece)
            except NotAVideo:
                self._restart()
                raise
        if self._total > self.bytes:
            raise DownloadFailed(f"The download ended after {self.bytes} of {self._total} bytes")
        try:
            if 0 < self._total < self.bytes:
                raise DownloadFailed(f"The download went on after all {self._total} bytes")
            self._check.end(announced=self._chunked or self._total > 0)
        except VidgenError:
            # More bytes will not make these good.
            self._restart()
            raise

    def was_worth_it(self) -> bool:
        """Whether the connection that just broke brought much that none before had brought."""
        gained, self._best = self.bytes - self._best, max(self.bytes, self._best)
        return gained >= _WORTH

    def _begin(self, reply: requests.Response) -> None:
        """Find out where in the file the reply begins."""
        if self.bytes and reply.status_code != 200:
            told = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
            if reply.status_code == 206 and told and self._fits(told, reply):
                return
            self._restart()
            raise DownloadFailed("The store of results does not give the rest of the file")
        if self.bytes:
            self._restart()
        self._total = _length_of(reply)
        # A chunked body that breaks off is an error of its own.
        self._chunked = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
        etag = reply.headers.get("ETag", "")
        # A weak one does not promise the same bytes.
        self._etag = etag if etag.startswith('"') else ""
        if self._total > _LARGEST:
            raise _too_large()

    def _fits(self, told: re.Match[str], reply: requests.Response) -> bool:
        first, last, total = map(int, told.groups())
        same = reply.headers.get("ETag", self._etag) == self._etag and total == (self._total or total)
        if same:
            self._total = total
        return same and first == self.bytes and last == total - 1

    def _take(self, piece: bytes) -> None:
        if self.bytes + len(piece) > _LARGEST:
            raise _too_large()
        self._check.take(piece)
        self.bytes += len(piece)
        self._waiting.append(piece)
        if self._check.kind is not None:
            if self._check.kind is not self.kind:
                self._open(self._check.kind)
            for each in self._waiting:
                self._beside.put(each)
            self._waiting.clear()
        self._watch(self.bytes, self._total)

    def _open(self, kind: Kind) -> None:
        self._drop()
        sink = self._opened.enter_context(self._open_sink(kind))
        self._beside = self._opened.enter_context(Beside(sink.write, lambda piece: self.sha256.update(piece)))
        self._sink, self.kind = sink, kind

    def _drop(self) -> None:
        """Leave a sink that is not the one for this kind of film, without a trace."""
        dropped = _Dropped()
        self._opened.__exit__(_Dropped, dropped, None)
        self.kind = None

    def _restart(self) -> None:
        if self.kind is not None:
            self._beside.settle()
            self._sink.restart()
        self._forget()

    def _forget(self) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self._check = FilmCheck()
        #: Pieces that came before it was known what kind of film they belong to.
        self._waiting: list[bytes] = []
        self._chunked = False
        self._etag = ""
        self._total = 0


def _place_of(link: str) -> tuple[str, ...]:
    """Return where a link's file is, however it is signed."""
    try:
        return tuple(urlsplit(link)[:3])
    except ValueError:  # whoever opens it says what is wrong with it
        return (link,)


def _length_of(reply: requests.Response) -> int:
    """Return the announced length, or 0 if none is that can be read."""
    length = reply.headers.get("Content-Length", "").strip().lstrip("0")
    if not length.isdecimal():
        return 0
    # Python reads no number of thousands of digits.
    return int(length[:20])


class _Dropped(Exception):
    """Ends a block that is not to end well."""


def _too_large() -> FileTooLarge:
    return FileTooLarge(f"The file is larger than {_LARGEST} bytes")
