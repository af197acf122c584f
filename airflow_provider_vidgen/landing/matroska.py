# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""WebM and Matroska: elements of EBML, of which one segment has all of a film. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.kinds import Kind
from airflow_provider_vidgen.landing.pieces import Parser, Skip

EBML = b"\x1aE\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
_DOC_TYPES = {b"webm": Kind.WEBM, b"matroska": Kind.MKV}
_SEGMENT, _CLUSTER, _CUES = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"
_INFO, _TRACKS, _TRACK, _TRACK_TYPE = b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae", b"\x83"
_SCALE, _DURATION = b"\x2a\xd7\xb1", b"\x44\x89"
_TIME, _GROUP, _BLOCKS = b"\xe7", b"\xa0", (b"\xa3", b"\xa1")
_VIDEO = 1
#: What is longer than this is no head of a file, and no list of tracks.
_LONGEST_HEAD, _LONGEST_TABLE = 4096, 256 * 1024
#: A film that is this much shorter than it says is cut.
_SECONDS_OFF = 0.5

#: Reads something on behalf of a parser.
_Reader = Generator[int | Skip, bytearray, "tuple[bytes, int | None] | None"]


class MatroskaFilm:
    """
    What has been seen of such a film.

    A segment mostly says how long it is. A live stream's does not; then an index (``Cues``) behind its
    pictures shows that nothing was to follow.
    """

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self._at = 0
        #: Where the element begins that is being read.
        self._border = 0
        self._end: int | None = None
        self._segment = self._has_video = self._index = self._lost = False
        self._clusters = 0
        self._scale, self._duration = 1_000_000, 0.0
        self._cluster_time = self._last_time = self._longest_gap = 0

    def parse(self, head: bytearray) -> Parser:
        """
        Follow the bytes of a file.

        :param head: its first four.
        :raises NotAVideo: it is none of these.
        """
        self._at = len(head)
        size = yield from self._size()
        if size is None or size > _LONGEST_HEAD:
            raise NotAVideo("What the link gave does not begin as a video does")
        told = dict(_children((yield size)))
        self._at += size
        self.kind = _DOC_TYPES.get(told.get(_DOC_TYPE, b"").rstrip(b"\0"))
        if self.kind is None:
            raise NotAVideo("What the link gave is neither WebM nor Matroska")
        while not self._lost and not (self._segment and self._end is not None and self._at >= self._end):
            self._border = self._at
            element = yield from self._element()
            if element is None:
                self._lost = True
            else:
                yield from self._look_into(*element)
        if self._end is not None and self._at < self._end:
            yield Skip(self._end - self._at)

    def is_whole(self, size: int) -> bool:
        """
        Judge the end of the file.

        :param size: of all of it.
        :return: whether it is certain that it is whole.
        :raises NotAVideo: it has no video.
        :raises DownloadFailed: it is certain that it is cut.
        """
        if not self._segment:
            raise DownloadFailed("The file ends before its pictures begin")
        if self._end is not None and size < self._end:
            raise DownloadFailed(f"The file ends at byte {size} of {self._end}")
        if self._end is None and not self._lost and size > self._border:
            raise DownloadFailed("The file ends inside one of its elements")
        if not self._has_video:
            raise NotAVideo("What the link gave has no video track")
        if not self._clusters:
            raise DownloadFailed("The file has no pictures")
        if self._end is not None:
            return True
        seconds, last = self._duration * self._scale / 1e9, self._seconds(self._last_time)
        if last + self._seconds(self._longest_gap) < seconds - _SECONDS_OFF:
            raise DownloadFailed(f"The file ends after {last:.1f} of {seconds:.1f} s")
        return self._index

    def _seconds(self, time: int) -> float:
        return time * self._scale / 1e9

    def _look_into(self, key: bytes, size: int | None) -> Parser:
        if key == _SEGMENT and not self._segment:
            self._segment = True
            self._end = None if size is None else self._at + size
        elif key == _CLUSTER:
            self._clusters += 1
            if size is not None and self._end is not None:
                yield from self._skip(size)
        elif key in (_INFO, _TRACKS) and size is not None and size <= _LONGEST_TABLE:
            (self._read_info if key == _INFO else self._read_tracks)(bytes((yield size)))
            self._at += size
        elif key == _TIME and size is not None and size <= 8:
            self._cluster_time = int.from_bytes((yield size))
            self._at += size
        elif key in _BLOCKS and size is not None and size >= 4:
            yield from self._read_block(size)
        elif key == _GROUP and self._end is None:
            pass  # what it has is looked at as if it stood alone
        elif size is None:
            self._lost = True
        else:
            yield from self._skip(size)
            self._index = self._index or (key == _CUES and self._clusters > 0)

    def _read_block(self, size: int) -> Parser:
        head = yield 4
        # Behind the number of the track; one of two bytes is read wrongly, and no film has so many tracks.
        time = self._cluster_time + int.from_bytes(head[1:3], signed=True)
        if time > self._last_time:
            self._longest_gap = max(self._longest_gap, time - self._last_time)
            self._last_time = time
        yield Skip(size - 4)
        self._at += size

    def _read_info(self, content: bytes) -> None:
        told = dict(_children(content))
        self._scale = int.from_bytes(told.get(_SCALE, b"\x0f\x42\x40")[-8:])
        duration = told.get(_DURATION, b"")
        if len(duration) in (4, 8):
            (self._duration,) = struct.unpack(">f" if len(duration) == 4 else ">d", duration)

    def _read_tracks(self, content: bytes) -> None:
        for key, track in _children(content):
            if key == _TRACK and int.from_bytes(dict(_children(track)).get(_TRACK_TYPE, b"")) == _VIDEO:
                self._has_video = True

    def _skip(self, size: int) -> Parser:
        yield Skip(size)
        self._at += size

    def _element(self) -> _Reader:
        """Read the head of the next element; ``None`` if there is none."""
        first = yield 1
        length = 9 - first[0].bit_length()
        if length > 4:
            return None
        key = bytes(first)
        if length > 1:
            key += yield length - 1
        self._at += length
        return key, (yield from self._size())

    def _size(self) -> Generator[int | Skip, bytearray, int | None]:
        """Read a size; ``None`` stands for one that is not known."""
        first = yield 1
        length = 9 - first[0].bit_length()
        if length > 8:
            self._lost = True
            return None
        value = bytes(first)
        if length > 1:
            value += yield length - 1
        self._at += length
        bits = (1 << 7 * length) - 1
        size = int.from_bytes(value) & bits
        return None if size == bits else size


def _children(content: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Yield the elements inside another one, as far as they can be read."""
    at = 0
    while at < len(content):
        length = 9 - content[at].bit_length()
        key, at = bytes(content[at : at + length]), at + length
        if at >= len(content):
            return
        length = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + length]) & ((1 << 7 * length) - 1)
        at += length
        yield key, bytes(content[at : at + size])
        at += size
