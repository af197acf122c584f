# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""MP4 and QuickTime: boxes, one of which (``moov``) has the tables and others the media data. No I/O."""

from __future__ import annotations

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.containers.incremental import Parser, Skip
from airflow_provider_vidgen.landing.containers.mp4_tables import MovieBox, read_segment_index

_HEADER_SIZE = 8
#: QuickTime files from before ``ftyp`` existed begin with one of these.
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_IMAGE_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
    | {b"avif", b"avis", b"avci", b"avcs", b"jpeg", b"jpgs", b"crx ", b"miaf"}
)
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
#: A file that ends inside one of these is truncated; an unknown box may be garbage appended to the file.
_KNOWN_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"ssix", b"styp", b"free", b"skip", b"wide"}
    | {b"udta", b"meta", b"uuid", b"emsg", b"prft", b"pdin", b"pnot"}
)
#: Larger tables, those of many hours of video, are not parsed.
_MAX_TABLE_SIZE = 8 * 1024**2


class Mp4Parser:
    """
    Parses one MP4 or QuickTime file.

    The tables of a plain file state the offset of every frame, so all of them must be there. A fragmented
    file alternates tables and frames; an index before (``sidx``) or behind them (``mfra``), or a duration in
    its header, shows whether some are missing.
    """

    def __init__(self) -> None:
        self.format: ContainerFormat | None = None
        #: ``None`` until it has been parsed.
        self.movie: MovieBox | None = None
        self._box_type = b""
        #: Offsets of the current box; its end is ``None`` if it extends to the end of the file.
        self._box_start = 0
        self._box_end: int | None = 0
        self._fragments = 0
        self._indexed_end = 0
        self._has_index = self._has_unparsed_tables = False

    def parse(self, head: bytearray) -> Parser:
        """
        Parse a file.

        :param head: its first four bytes.
        :raises NotAVideo: it is neither MP4 nor QuickTime, or has no video.
        """
        while True:
            head += yield _HEADER_SIZE - len(head)
            size, box_type, header_size = int.from_bytes(head[:4]), bytes(head[4:]), _HEADER_SIZE
            if not self._box_start and box_type != b"ftyp" and box_type not in _OLD_QUICKTIME:
                raise NotAVideo("The link returned a file that does not begin like a video")
            if size == 1:
                size, header_size = int.from_bytes((yield _HEADER_SIZE)), 2 * _HEADER_SIZE
            if (size and size < header_size) or not all(0x20 <= byte < 0x7F for byte in box_type):
                return  # not a box; players ignore what follows the last one
            self._box_type, self._box_end = box_type, self._box_start + size if size else None
            if not self._box_start:
                self.format = self.format if box_type == b"ftyp" else ContainerFormat.MOV
            yield from self._parse_box(box_type, size - header_size if size else None)
            assert self._box_end is not None  # otherwise the skip above never returns
            self._box_start, self._box_type, head = self._box_end, b"", bytearray()

    def is_complete(self, size: int) -> bool:
        """
        Validate the end of the file.

        :param size: of the complete file, in bytes.
        :return: whether the file is certainly complete.
        :raises NotAVideo: the file has no video.
        :raises DownloadFailed: the file is certainly incomplete.
        """
        name = self._box_type.decode("ascii", "replace")
        if self._box_end is not None and size < self._box_end and self._box_type in _KNOWN_BOXES:
            raise DownloadFailed(f"The file is truncated: it ends inside its {name} box")
        if self.movie is None:
            if self._has_unparsed_tables:
                return False
            raise DownloadFailed("The file has no moov box, without which it cannot be played")
        movie = self.movie
        if not movie.has_video:
            raise NotAVideo("The link returned a file without a video track")
        if not (movie.samples or self._fragments):
            raise DownloadFailed("The file has no frames")
        needed = max(movie.media_end, self._indexed_end)
        if needed > size:
            raise DownloadFailed(
                f"The file is truncated: it has {size} bytes, its frames need {needed} or more"
            )
        if not (movie.is_fragmented or self._fragments):
            return not self._has_unparsed_tables and not movie.has_unparsed_tables
        if movie.is_shorter_than_announced():
            raise DownloadFailed(
                f"The file is truncated: it has frames for {movie.seconds:.1f} of "
                f"{movie.announced_seconds:.1f} s"
            )
        return self._has_index or movie.has_announced_duration()

    def _parse_box(self, box_type: bytes, size: int | None) -> Parser:
        if box_type == b"ftyp" and not self._box_start:
            brand = bytes((yield 4 if size is None else min(size, 4)))
            self._read_brand(brand)
            yield Skip(None if size is None else size - len(brand))
        elif box_type in (b"moov", b"moof", b"sidx") and size is not None and size <= _MAX_TABLE_SIZE:
            self._read_table(box_type, (yield size))
        else:
            self._has_unparsed_tables = self._has_unparsed_tables or box_type in (b"moov", b"moof")
            self._fragments += box_type == b"moof"
            yield Skip(size)
            self._has_index = self._has_index or (box_type == b"mfra" and self._fragments > 0)

    def _read_brand(self, brand: bytes) -> None:
        if brand in _IMAGE_BRANDS:
            raise NotAVideo("The link returned an image")
        if brand in _AUDIO_BRANDS:
            raise NotAVideo("The link returned audio without video")
        self.format = ContainerFormat.MOV if brand == b"qt  " else ContainerFormat.MP4

    def _read_table(self, box_type: bytes, content: bytearray) -> None:
        if box_type == b"moov":
            self.movie = self.movie or MovieBox(content)
        elif box_type == b"sidx":
            assert self._box_end is not None
            end, entries = read_segment_index(content, self._box_end)
            self._indexed_end = max(self._indexed_end, end)
            # An index with one entry, or behind a fragment, covers that fragment only.
            self._has_index = self._has_index or (entries > 1 and not self._fragments)
        else:
            self._fragments += 1
            if self.movie is not None:
                self.movie.add_fragment(content, self._box_start)
