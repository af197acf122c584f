# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""MP4 and QuickTime: boxes, of which one has the tables of a film and others its media data. No I/O."""

from __future__ import annotations

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.kinds import Kind
from airflow_provider_vidgen.landing.movie import Movie, index_end
from airflow_provider_vidgen.landing.pieces import Parser, Skip

_HEAD = 8
#: Files of before there was an ``ftyp`` begin with one of these.
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_IMAGES = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
    | {b"avif", b"avis", b"avci", b"avcs", b"jpeg", b"jpgs", b"crx ", b"miaf"}
)
_SOUND = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
#: A file that ends inside one of these is cut; inside anything else it may have something odd behind its end.
_KNOWN = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"ssix", b"styp", b"free", b"skip", b"wide"}
    | {b"udta", b"meta", b"uuid", b"emsg", b"prft", b"pdin", b"pnot"}
)
#: Tables longer than this are not looked at: they are those of many hours.
_LONGEST_TABLE = 8 * 1024**2


class IsoFilm:
    """
    What has been seen of such a film.

    A plain one names the place of each picture, so all of them must be there. A fragmented one has pictures
    and their tables in turn; then an index before (``sidx``) or behind them (``mfra``), or a length in its
    header, shows whether some are missing.
    """

    def __init__(self) -> None:
        self.kind: Kind | None = None
        #: Its tables; ``None`` until they have been seen.
        self.movie: Movie | None = None
        self._box = b""
        #: Where the box begins that is being read, and where it ends; ``None``: with the file.
        self._start = 0
        self._end: int | None = 0
        self._fragments = 0
        self._index_end = 0
        self._index = self._untold = False

    def parse(self, head: bytearray) -> Parser:
        """
        Follow the bytes of a file.

        :param head: its first four.
        :raises NotAVideo: it is none of these.
        """
        while True:
            head += yield _HEAD - len(head)
            size, kind, length = int.from_bytes(head[:4]), bytes(head[4:]), _HEAD
            if not self._start and kind != b"ftyp" and kind not in _OLD_QUICKTIME:
                raise NotAVideo("What the link gave does not begin as a video does")
            if size == 1:
                size, length = int.from_bytes((yield _HEAD)), 2 * _HEAD
            if (size and size < length) or not all(0x20 <= byte < 0x7F for byte in kind):
                return  # no box; players leave aside what stands behind the last one
            self._box, self._end = kind, self._start + size if size else None
            if not self._start:
                self.kind = self.kind if kind == b"ftyp" else Kind.MOV
            yield from self._look_into(kind, size - length if size else None)
            assert self._end is not None  # else there was no end to what was passed over
            self._start, self._box, head = self._end, b"", bytearray()

    def is_whole(self, size: int) -> bool:
        """
        Judge the end of the file.

        :param size: of all of it.
        :return: whether it is certain that it is whole.
        :raises NotAVideo: it has no video.
        :raises DownloadFailed: it is certain that it is cut.
        """
        name = self._box.decode("ascii", "replace")
        if self._end is not None and size < self._end and self._box in _KNOWN:
            raise DownloadFailed(f"The file ends inside its {name} box")
        if self.movie is None:
            if self._untold:
                return False
            raise DownloadFailed("The file has no moov box, without which it does not play")
        movie = self.movie
        if not movie.has_video:
            raise NotAVideo("What the link gave has no video track")
        if not (movie.samples or self._fragments):
            raise DownloadFailed("The file has no pictures")
        needed = max(movie.media_end, self._index_end)
        if needed > size:
            raise DownloadFailed(f"The file ends at byte {size}, and its pictures at byte {needed} or later")
        if not (movie.is_fragmented or self._fragments):
            return not self._untold and not movie.untold
        if movie.lacks_seconds():
            raise DownloadFailed(
                f"The file has pictures for {movie.seconds:.1f} of {movie.announced_seconds:.1f} s"
            )
        return self._index or movie.has_all_seconds()

    def _look_into(self, kind: bytes, size: int | None) -> Parser:
        if kind == b"ftyp" and not self._start:
            brand = bytes((yield 4 if size is None else min(size, 4)))
            self._read_brand(brand)
            yield Skip(None if size is None else size - len(brand))
        elif kind in (b"moov", b"moof", b"sidx") and size is not None and size <= _LONGEST_TABLE:
            self._read_table(kind, (yield size))
        else:
            self._untold = self._untold or kind in (b"moov", b"moof")
            self._fragments += kind == b"moof"
            yield Skip(size)
            self._index = self._index or (kind == b"mfra" and self._fragments > 0)

    def _read_brand(self, brand: bytes) -> None:
        if brand in _IMAGES:
            raise NotAVideo("What the link gave is an image")
        if brand in _SOUND:
            raise NotAVideo("What the link gave is sound without pictures")
        self.kind = Kind.MOV if brand == b"qt  " else Kind.MP4

    def _read_table(self, kind: bytes, content: bytearray) -> None:
        if kind == b"moov":
            self.movie = self.movie or Movie(content)
        elif kind == b"sidx":
            assert self._end is not None
            end, entries = index_end(content, self._end)
            self._index_end = max(self._index_end, end)
            # One that stands before each fragment tells of that one only.
            self._index = self._index or (entries > 1 and not self._fragments)
        else:
            self._fragments += 1
            if self.movie is not None:
                self.movie.add_fragment(content, self._start)
