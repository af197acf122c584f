# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The tables of an MP4 file: its tracks, where their data ends and their duration. No I/O."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

#: A file that is this much shorter than its header announces is truncated.
_DURATION_TOLERANCE_SECONDS = 0.5
#: Videos have a handful of tracks; this bounds the memory.
_MAX_TRACKS = 1000
_SAMPLE_TABLES = frozenset({b"stsz", b"stz2", b"stts", b"stsc", b"stco", b"co64"})

Table = memoryview


class MovieBox:
    """
    The ``moov`` box and the fragments that follow it.

    :param content: the box without its header.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        self.is_fragmented = False
        #: Tables that could not be parsed: the end of the media data is unknown.
        self.has_unparsed_tables = False
        self.samples = 0
        self.media_end = 0
        self.announced_seconds = 0.0
        self._tracks: dict[int, _Track] = {}
        self._scale = 0
        #: A fragment does not state its duration.
        self._has_unknown_duration = False
        header_duration = extended_duration = 0
        for box_type, box in boxes(memoryview(content)):
            if box_type == b"mvhd":
                self._scale, header_duration = _scale_and_duration(box)
            elif box_type == b"trak":
                self._add_track(box)
            elif box_type == b"mvex":
                self.is_fragmented = True
                extended_duration = self._read_extends(box)
        if self._scale:
            seconds = header_duration / self._scale
            # The header of a fragmented file usually covers only the samples in moov itself.
            covers_fragments = seconds > self.seconds + _DURATION_TOLERANCE_SECONDS
            self.announced_seconds = extended_duration / self._scale or (seconds if covers_fragments else 0.0)

    @property
    def has_video(self) -> bool:
        """Whether one of the tracks is video."""
        return any(track.is_video for track in self._tracks.values())

    @property
    def is_rotated(self) -> bool:
        """Whether players rotate the video by 90 degrees."""
        return any(track.is_video and track.is_rotated for track in self._tracks.values())

    @property
    def seconds(self) -> float:
        """Duration of the longest track, as far as its samples are in the file."""
        return max((track.seconds for track in self._tracks.values()), default=0.0)

    def is_shorter_than_announced(self) -> bool:
        """Whether the samples end before the duration in the header."""
        return (
            not self._has_unknown_duration
            and self.seconds < self.announced_seconds - _DURATION_TOLERANCE_SECONDS
        )

    def has_announced_duration(self) -> bool:
        """Whether the samples reach the duration in the header."""
        shortest_sample = min((track.sample_seconds for track in self._tracks.values()), default=0.0)
        return (
            not self._has_unknown_duration
            and 0 < self.announced_seconds <= self.seconds + shortest_sample / 2
        )

    def add_fragment(self, content: bytes | bytearray, start: int) -> None:
        """
        Read a ``moof`` box.

        :param start: its offset in the file.
        """
        end = start
        for box_type, box in boxes(memoryview(content)):
            if box_type == b"traf":
                end = self._read_track_fragment(box, start, end)
                self.media_end = max(self.media_end, end)

    def _add_track(self, content: Table) -> None:
        number, track = 0, _Track()
        for box_type, box in boxes(content):
            if box_type == b"tkhd":
                is_64_bit = _is_64_bit(box)
                number = _integer(box, 20 if is_64_bit else 12)
                matrix = _integers(box[52 if is_64_bit else 40 :][:36])
                # The matrix maps the horizontal axis to the vertical one.
                track.is_rotated = len(matrix) == 9 and not matrix[0] and not matrix[4] and bool(matrix[1])
            elif box_type == b"mdia":
                for inner, part in boxes(box):
                    if inner == b"hdlr":
                        track.is_video = bytes(part[8:12]) == b"vide"
                    elif inner == b"mdhd":
                        track.scale, _ = _scale_and_duration(part)
                    elif inner == b"minf":
                        for table, content in boxes(part):
                            if table == b"stbl":
                                self._read_samples(track, content)
        if len(self._tracks) < _MAX_TRACKS:
            self._tracks[number] = track

    def _read_samples(self, track: _Track, content: Table) -> None:
        tables = {box_type: box for box_type, box in boxes(content) if box_type in _SAMPLE_TABLES}
        sizes = tables.get(b"stsz") or tables.get(b"stz2") or Table(b"")
        samples = _integer(sizes, 8)
        times = _integers(tables.get(b"stts", Table(b""))[8:])
        track.time = sum(count * duration for count, duration in zip(times[::2], times[1::2], strict=False))
        track.samples = samples
        if track.is_video:
            self.samples += samples
        if samples:
            end = _end_of_chunks(tables)
            self.has_unparsed_tables = self.has_unparsed_tables or end is None
            self.media_end = max(self.media_end, end or 0)

    def _read_extends(self, content: Table) -> int:
        """Return the announced duration, in units of 1/``scale`` second."""
        duration = 0
        for box_type, box in boxes(content):
            track = self._tracks.get(_integer(box, 4)) if box_type == b"trex" else None
            if track is not None:
                track.default_duration, track.default_size = _integer(box, 12), _integer(box, 16)
            if box_type == b"mehd":
                duration = _integer(box, 4, 8 if _is_64_bit(box) else 4)
        return duration

    def _read_track_fragment(self, content: Table, moof: int, last_end: int) -> int:
        """Return the offset at which a track's data in a fragment ends."""
        track, base, default_duration, default_size = _Track(), moof, 0, 0
        end = last_end
        for box_type, box in boxes(content):
            flags = _integer(box, 1, 3)
            if box_type == b"tfhd":
                track = self._tracks.get(_integer(box, 4), track)
                fields = _Fields(box, 8, flags)
                base = fields.take(0x1, 8, moof if flags & 0x20000 else last_end)
                fields.take(0x2, 4, 0)
                default_duration = fields.take(0x8, 4, track.default_duration)
                default_size = fields.take(0x10, 4, track.default_size)
                end = base
            elif box_type == b"tfdt":
                track.time = _integer(box, 4, 8 if _is_64_bit(box) else 4)
            elif box_type == b"trun":
                count, fields = _integer(box, 4), _Fields(box, 8, flags)
                offset = fields.take(0x1, 4, 0)
                end = base + (offset - (offset >> 31 << 32)) if flags & 0x1 else end
                fields.take(0x4, 4, 0)
                columns = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
                values = _integers(box[fields.at :][: 4 * count * len(columns)])
                track.time += _total(values, columns, 0x100, count, default_duration)
                self._has_unknown_duration = self._has_unknown_duration or not (
                    default_duration or flags & 0x100
                )
                track.samples += count
                end += _total(values, columns, 0x200, count, default_size)
        return end


@dataclass(slots=True)
class _Track:
    """A track; its times are in units of 1/``scale`` second."""

    is_video: bool = False
    is_rotated: bool = False
    scale: int = 0
    samples: int = 0
    time: int = 0
    default_duration: int = 0
    default_size: int = 0

    @property
    def seconds(self) -> float:
        return self.time / self.scale if self.scale else 0.0

    @property
    def sample_seconds(self) -> float:
        return self.seconds / self.samples if self.samples else 0.0


class _Fields:
    """The optional fields of a box, each of which is present if its flag is set."""

    def __init__(self, box: Table, at: int, flags: int) -> None:
        self.at = at
        self._box = box
        self._flags = flags

    def take(self, flag: int, size: int, default: int) -> int:
        if not self._flags & flag:
            return default
        self.at += size
        return _integer(self._box, self.at - size, size)


def boxes(content: Table) -> Iterator[tuple[bytes, Table]]:
    """Yield the type and content of each child box, as far as they can be parsed."""
    while len(content) >= 8:
        size, head = _integer(content, 0), 8
        if size == 1:
            size, head = _integer(content, 8, 8), 16
        size = size or len(content)
        if size < head:
            return
        yield bytes(content[4:8]), content[head:size]
        content = content[size:]


def read_segment_index(content: bytes | bytearray, end: int) -> tuple[int, int]:
    """
    Read a ``sidx`` box.

    :param end: the offset in the file at which the box ends.
    :return: the offset at which the indexed data ends, and the number of entries.
    """
    box = Table(content)
    width = 8 if _is_64_bit(box) else 4
    first = _integer(box, 12 + width, width)
    entries = _integers(box[16 + 2 * width :][: 12 * _integer(box, 14 + 2 * width, 2)])
    # The highest bit distinguishes media from another index.
    return end + first + sum(size & 0x7FFFFFFF for size in entries[::3]), len(entries[::3])


def _end_of_chunks(tables: dict[bytes, Table]) -> int | None:
    """Return the offset at which a track's last chunk ends; ``None`` if the tables do not state it."""
    offset_table = tables.get(b"stco")
    offsets = (
        _integers(offset_table[8:]) if offset_table else _integers(tables.get(b"co64", Table(b""))[8:], "Q")
    )
    runs = _integers(tables.get(b"stsc", Table(b""))[8:])
    sizes = tables.get(b"stsz", Table(b""))
    fixed_size, count, table = _integer(sizes, 4), _integer(sizes, 8), _integers(sizes[12:])
    if not offsets or not runs or not (fixed_size or len(table) >= count > 0):
        return None
    end, sample = 0, 0
    for run in range(0, len(runs) - 2, 3):
        first, in_chunk = runs[run], runs[run + 1]
        next_first = runs[run + 3] if run + 3 < len(runs) else len(offsets) + 1
        for offset in offsets[max(0, first - 1) : max(0, next_first - 1)]:
            if sample >= count:
                break
            in_this_chunk = min(in_chunk, count - sample)
            end = max(
                end, offset + (in_this_chunk * fixed_size or sum(table[sample : sample + in_this_chunk]))
            )
            sample += in_this_chunk
    return end if sample == count else None


def _scale_and_duration(box: Table) -> tuple[int, int]:
    is_64_bit = _is_64_bit(box)
    duration = _integer(box, 24 if is_64_bit else 16, 8 if is_64_bit else 4)
    unknown = duration == (1 << 64 if is_64_bit else 1 << 32) - 1
    return _integer(box, 20 if is_64_bit else 12), 0 if unknown else duration


def _total(values: array[int], columns: list[int], column: int, count: int, default: int) -> int:
    """Return the sum of a column of a table, or of its default where the table does not have it."""
    return sum(values[columns.index(column) :: len(columns)]) if column in columns else count * default


def _is_64_bit(box: Table) -> bool:
    """Whether the times and offsets in a box have 64 bits."""
    return _integer(box, 0, 1) == 1


def _integer(box: Table, at: int, size: int = 4) -> int:
    return int.from_bytes(box[at : at + size])


def _integers(table: Table, typecode: str = "I") -> array[int]:
    found = array(typecode)
    found.frombytes(table[: len(table) - len(table) % found.itemsize])
    if sys.byteorder == "little":
        found.byteswap()
    return found
