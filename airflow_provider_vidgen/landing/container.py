# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Is this a whole film, and in which container? Told from the bytes as they pass. No I/O."""

from __future__ import annotations

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.isobmff import IsoFilm
from airflow_provider_vidgen.landing.kinds import Kind
from airflow_provider_vidgen.landing.matroska import EBML, MatroskaFilm
from airflow_provider_vidgen.landing.pieces import Feed, Parser

_HEAD = 4


class FilmCheck:
    """
    Looks at a film while its bytes pass in pieces of any size, keeping none of them but its tables.

    MP4, QuickTime, WebM and Matroska are films. Most of them tell where they end. Some do not: WebM that was
    written as a live stream, with neither sizes nor an index, and fragmented MP4 with neither of the indexes
    ``sidx`` and ``mfra`` nor a length in its header. Of those only whoever sent them can say that they are
    whole, by the length it announces, or by the end of a chunked body.
    """

    def __init__(self) -> None:
        self._size = 0
        self._film: IsoFilm | MatroskaFilm | None = None
        self._feed = Feed(self._parse())

    @property
    def kind(self) -> Kind | None:
        """The film's container; ``None`` until enough of it has been seen."""
        return None if self._film is None else self._film.kind

    def take(self, piece: bytes) -> None:
        """
        Look at the next bytes.

        :raises NotAVideo: they are not those of a film.
        :raises DownloadFailed: the film is damaged.
        """
        self._size += len(piece)
        self._feed.take(piece)

    def end(self, *, announced: bool) -> None:
        """
        Judge the end of the file.

        :param announced: whoever sent the file has said that it ends here.
        :raises NotAVideo: it is not a film.
        :raises DownloadFailed: it is not a whole one.
        """
        if not self._size:
            raise NotAVideo("The link gave an empty file")
        if self._film is None or self.kind is None:
            raise NotAVideo("What the link gave does not begin as a video does")
        if not self._film.is_whole(self._size) and not announced:
            raise DownloadFailed(
                "Neither the file nor the store of results tells whether the file is whole",
                next_step="A retry downloads again; no new video is made. If it ends so each time, save the "
                "file by hand while its link lives, for it may be whole.",
            )

    def _parse(self) -> Parser:
        head = yield _HEAD
        self._film = MatroskaFilm() if head == EBML else IsoFilm()
        yield from self._film.parse(head)
