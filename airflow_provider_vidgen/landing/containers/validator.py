# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Validate a video's container while its bytes arrive: its format, and whether it is complete. No I/O."""

from __future__ import annotations

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.containers.incremental import ChunkedInput, Parser
from airflow_provider_vidgen.landing.containers.matroska import EBML, MatroskaParser
from airflow_provider_vidgen.landing.containers.mp4 import Mp4Parser

_SIGNATURE_SIZE = 4


class ContainerValidator:
    """
    Parses a video fed in chunks of any size, buffering only its tables.

    Accepts MP4, QuickTime, WebM and Matroska. Most files state where they end. Some do not: WebM written as a
    live stream, with neither sizes nor an index, and fragmented MP4 with neither of the indexes ``sidx`` and
    ``mfra`` nor a duration in its header. Only the sender can confirm that those are complete, by the length
    it announces or by the end of a chunked body.
    """

    def __init__(self) -> None:
        self._size = 0
        self._parser: Mp4Parser | MatroskaParser | None = None
        self._input = ChunkedInput(self._parse())

    @property
    def format(self) -> ContainerFormat | None:
        """The container format; ``None`` until enough bytes have been read."""
        return None if self._parser is None else self._parser.format

    def feed(self, chunk: bytes) -> None:
        """
        Parse the next bytes.

        :raises NotAVideo: the bytes are not a video.
        :raises DownloadFailed: the video is damaged.
        """
        self._size += len(chunk)
        self._input.feed(chunk)

    def finish(self, *, length_announced: bool) -> None:
        """
        Validate the end of the file.

        :param length_announced: the sender has confirmed that the file ends here.
        :raises NotAVideo: the file is not a video.
        :raises DownloadFailed: the file is incomplete, or may be.
        """
        if not self._size:
            raise NotAVideo("The link returned an empty file")
        if self._parser is None or self.format is None:
            raise NotAVideo("The link returned a file that does not begin like a video")
        if not self._parser.is_complete(self._size) and not length_announced:
            raise DownloadFailed(
                "Neither the file nor the HTTP response states the file's length, so it may be truncated",
                next_step="A retry downloads again; no new video is made. If every retry fails like this, "
                "save the file by hand before its link expires, since it may be complete.",
            )

    def _parse(self) -> Parser:
        head = yield _SIGNATURE_SIZE
        self._parser = MatroskaParser() if head == EBML else Mp4Parser()
        yield from self._parser.parse(head)
