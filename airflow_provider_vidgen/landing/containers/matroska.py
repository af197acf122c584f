# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""WebM and Matroska: EBML elements, one of which (``Segment``) contains the complete video. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.containers.incremental import Parser, Skip

EBML = b"\x1aE\xdf\xa3"
_DOC_TYPE = b"\x42\x82"
_DOC_TYPES = {b"webm": ContainerFormat.WEBM, b"matroska": ContainerFormat.MKV}
_SEGMENT, _CLUSTER, _CUES = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"
_INFO, _TRACKS, _TRACK, _TRACK_TYPE = b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae", b"\x83"
_TIMESTAMP_SCALE, _DURATION = b"\x2a\xd7\xb1", b"\x44\x89"
_TIME, _GROUP, _BLOCKS = b"\xe7", b"\xa0", (b"\xa3", b"\xa1")
_VIDEO = 1
#: A longer element cannot be an EBML header, or a list of tracks.
_MAX_HEADER_SIZE, _MAX_TABLE_SIZE = 4096, 256 * 1024
#: A file that is this much shorter than its header announces is truncated.
_DURATION_TOLERANCE_SECONDS = 0.5

#: A part of a parser: reads the ID and size of an element.
_ElementReader = Generator[int | Skip, bytearray, "tuple[bytes, int | None] | None"]


class MatroskaParser:
    """
    Parses one WebM or Matroska file.

    Most segments state their size. That of a live stream does not; then an index (``Cues``) behind the
    clusters shows that nothing is missing.
    """

    def __init__(self) -> None:
        self.format: ContainerFormat | None = None
        self._offset = 0
        #: Offset of the current element.
        self._element_start = 0
        self._segment_end: int | None = None
        self._in_segment = self._has_video = self._has_index = self._unparsable = False
        self._clusters = 0
        self._timestamp_scale, self._duration = 1_000_000, 0.0
        self._cluster_time = self._last_time = self._longest_gap = 0

    def parse(self, head: bytearray) -> Parser:
        """
        Parse a file.

        :param head: its first four bytes.
        :raises NotAVideo: it is neither WebM nor Matroska.
        """
        self._offset = len(head)
        size = yield from self._read_size()
        if size is None or size > _MAX_HEADER_SIZE:
            raise NotAVideo("The link returned a file that does not begin like a video")
        header = dict(_children((yield size)))
        self._offset += size
        self.format = _DOC_TYPES.get(header.get(_DOC_TYPE, b"").rstrip(b"\0"))
        if self.format is None:
            raise NotAVideo("The link returned an EBML file that is neither WebM nor Matroska")
        while not self._unparsable and not (
            self._in_segment and self._segment_end is not None and self._offset >= self._segment_end
        ):
            self._element_start = self._offset
            element = yield from self._read_element_header()
            if element is None:
                self._unparsable = True
            else:
                yield from self._parse_element(*element)
        if self._segment_end is not None and self._offset < self._segment_end:
            yield Skip(self._segment_end - self._offset)

    def is_complete(self, size: int) -> bool:
        """
        Validate the end of the file.

        :param size: of the complete file, in bytes.
        :return: whether the file is certainly complete.
        :raises NotAVideo: the file has no video.
        :raises DownloadFailed: the file is certainly incomplete.
        """
        if not self._in_segment:
            raise DownloadFailed("The file is truncated: it ends before its frames begin")
        if self._segment_end is not None and size < self._segment_end:
            raise DownloadFailed(f"The file is truncated: it has {size} of {self._segment_end} bytes")
        if self._segment_end is None and not self._unparsable and size > self._element_start:
            raise DownloadFailed("The file is truncated: it ends inside an element")
        if not self._has_video:
            raise NotAVideo("The link returned a file without a video track")
        if not self._clusters:
            raise DownloadFailed("The file has no frames")
        if self._segment_end is not None:
            return True
        seconds, last = self._duration * self._timestamp_scale / 1e9, self._to_seconds(self._last_time)
        if last + self._to_seconds(self._longest_gap) < seconds - _DURATION_TOLERANCE_SECONDS:
            raise DownloadFailed(f"The file is truncated: it ends after {last:.1f} of {seconds:.1f} s")
        return self._has_index

    def _to_seconds(self, time: int) -> float:
        return time * self._timestamp_scale / 1e9

    def _parse_element(self, element_id: bytes, size: int | None) -> Parser:
        if element_id == _SEGMENT and not self._in_segment:
            self._in_segment = True
            self._segment_end = None if size is None else self._offset + size
        elif element_id == _CLUSTER:
            self._clusters += 1
            if size is not None and self._segment_end is not None:
                yield from self._skip(size)
        elif element_id in (_INFO, _TRACKS) and size is not None and size <= _MAX_TABLE_SIZE:
            (self._read_info if element_id == _INFO else self._read_tracks)(bytes((yield size)))
            self._offset += size
        elif element_id == _TIME and size is not None and size <= 8:
            self._cluster_time = int.from_bytes((yield size))
            self._offset += size
        elif element_id in _BLOCKS and size is not None and size >= 4:
            yield from self._read_block(size)
        elif element_id == _GROUP and self._segment_end is None:
            pass  # its children are parsed as if they were outside of it
        elif size is None:
            self._unparsable = True
        else:
            yield from self._skip(size)
            self._has_index = self._has_index or (element_id == _CUES and self._clusters > 0)

    def _read_block(self, size: int) -> Parser:
        head = yield 4
        # The time follows the track number, which is assumed to be one byte long: no video has more than 126
        # tracks.
        time = self._cluster_time + int.from_bytes(head[1:3], signed=True)
        if time > self._last_time:
            self._longest_gap = max(self._longest_gap, time - self._last_time)
            self._last_time = time
        yield Skip(size - 4)
        self._offset += size

    def _read_info(self, content: bytes) -> None:
        info = dict(_children(content))
        self._timestamp_scale = int.from_bytes(info.get(_TIMESTAMP_SCALE, b"\x0f\x42\x40")[-8:])
        duration = info.get(_DURATION, b"")
        if len(duration) in (4, 8):
            (self._duration,) = struct.unpack(">f" if len(duration) == 4 else ">d", duration)

    def _read_tracks(self, content: bytes) -> None:
        for element_id, track in _children(content):
            if (
                element_id == _TRACK
                and int.from_bytes(dict(_children(track)).get(_TRACK_TYPE, b"")) == _VIDEO
            ):
                self._has_video = True

    def _skip(self, size: int) -> Parser:
        yield Skip(size)
        self._offset += size

    def _read_element_header(self) -> _ElementReader:
        """Read the ID and size of the next element; ``None`` if the bytes are not an element."""
        first = yield 1
        length = 9 - first[0].bit_length()
        if length > 4:
            return None
        element_id = bytes(first)
        if length > 1:
            element_id += yield length - 1
        self._offset += length
        return element_id, (yield from self._read_size())

    def _read_size(self) -> Generator[int | Skip, bytearray, int | None]:
        """Read a size; ``None`` is an unknown size."""
        first = yield 1
        length = 9 - first[0].bit_length()
        if length > 8:
            self._unparsable = True
            return None
        value = bytes(first)
        if length > 1:
            value += yield length - 1
        self._offset += length
        bits = (1 << 7 * length) - 1
        size = int.from_bytes(value) & bits
        return None if size == bits else size


def _children(content: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Yield the ID and content of each child element, as far as they can be parsed."""
    offset = 0
    while offset < len(content):
        length = 9 - content[offset].bit_length()
        element_id, offset = bytes(content[offset : offset + length]), offset + length
        if offset >= len(content):
            return
        length = 9 - content[offset].bit_length()
        size = int.from_bytes(content[offset : offset + length]) & ((1 << 7 * length) - 1)
        offset += length
        yield element_id, bytes(content[offset : offset + size])
        offset += size
