# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The tables of an MP4 film: which tracks it has, where their data ends and how long they last. No I/O."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

#: A film that is this much shorter than it says is cut.
_SECONDS_OFF = 0.5

#: Films have a handful; more would only take memory.
_MOST_TRACKS = 1000
_SAMPLE_TABLES = frozenset({b"stsz", b"stz2", b"stts", b"stsc", b"stco", b"co64"})

Table = memoryview


class Movie:
    """
    The ``moov`` box, and the fragments that follow it.

    :param content: of the box.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        self.is_fragmented = False
        #: Tables that could not be read: the end of the media data is not known.
        self.untold = False
        self.samples = 0
        self.media_end = 0
        self.announced_seconds = 0.0
        self._tracks: dict[int, _Track] = {}
        self._scale = 0
        #: A fragment does not say how long it lasts.
        self._timeless = False
        header = extends = 0
        for kind, box in boxes(memoryview(content)):
            if kind == b"mvhd":
                self._scale, header = _scale_and_duration(box)
            elif kind == b"trak":
                self._add_track(box)
            elif kind == b"mvex":
                self.is_fragmented = True
                extends = self._read_extends(box)
        if self._scale:
            seconds = header / self._scale
            # A header mostly tells only of the pictures that its own box names.
            of_all = seconds > self.seconds + _SECONDS_OFF
            self.announced_seconds = extends / self._scale or (seconds if of_all else 0.0)

    @property
    def has_video(self) -> bool:
        """Whether one of the tracks is video."""
        return any(track.is_video for track in self._tracks.values())

    @property
    def is_turned(self) -> bool:
        """Whether players show the pictures turned by a right angle."""
        return any(track.is_video and track.is_turned for track in self._tracks.values())

    @property
    def seconds(self) -> float:
        """Return how long the pictures and the sound last that are there."""
        return max((track.seconds for track in self._tracks.values()), default=0.0)

    def lacks_seconds(self) -> bool:
        """Whether the film is shorter than its header says."""
        return not self._timeless and self.seconds < self.announced_seconds - _SECONDS_OFF

    def has_all_seconds(self) -> bool:
        """Whether the film is as long as its header says."""
        shortest = min((track.sample_seconds for track in self._tracks.values()), default=0.0)
        return not self._timeless and 0 < self.announced_seconds <= self.seconds + shortest / 2

    def add_fragment(self, content: bytes | bytearray, start: int) -> None:
        """
        Read a ``moof`` box.

        :param start: where in the file it begins.
        """
        end = start
        for kind, box in boxes(memoryview(content)):
            if kind == b"traf":
                end = self._read_track_fragment(box, start, end)
                self.media_end = max(self.media_end, end)

    def _add_track(self, content: Table) -> None:
        number, track = 0, _Track()
        for kind, box in boxes(content):
            if kind == b"tkhd":
                long = _is_long(box)
                number = _number(box, 20 if long else 12)
                matrix = _words(box[52 if long else 40 :][:36])
                # What is to the right in the picture is shown above or below.
                track.is_turned = len(matrix) == 9 and not matrix[0] and not matrix[4] and bool(matrix[1])
            elif kind == b"mdia":
                for inner, part in boxes(box):
                    if inner == b"hdlr":
                        track.is_video = bytes(part[8:12]) == b"vide"
                    elif inner == b"mdhd":
                        track.scale, _ = _scale_and_duration(part)
                    elif inner == b"minf":
                        for table, content in boxes(part):
                            if table == b"stbl":
                                self._read_samples(track, content)
        if len(self._tracks) < _MOST_TRACKS:
            self._tracks[number] = track

    def _read_samples(self, track: _Track, content: Table) -> None:
        tables = {kind: box for kind, box in boxes(content) if kind in _SAMPLE_TABLES}
        sizes = tables.get(b"stsz") or tables.get(b"stz2") or Table(b"")
        samples = _number(sizes, 8)
        times = _words(tables.get(b"stts", Table(b""))[8:])
        track.time = sum(count * each for count, each in zip(times[::2], times[1::2], strict=False))
        track.samples = samples
        if track.is_video:
            self.samples += samples
        if samples:
            end = _end_of_chunks(tables)
            self.untold = self.untold or end is None
            self.media_end = max(self.media_end, end or 0)

    def _read_extends(self, content: Table) -> int:
        seconds = 0
        for kind, box in boxes(content):
            track = self._tracks.get(_number(box, 4)) if kind == b"trex" else None
            if track is not None:
                track.each_time, track.each_size = _number(box, 12), _number(box, 16)
            if kind == b"mehd":
                seconds = _number(box, 4, 8 if _is_long(box) else 4)
        return seconds

    def _read_track_fragment(self, content: Table, moof: int, last_end: int) -> int:
        """Return where the data of a track in a fragment ends."""
        track, base, each_time, each_size = _Track(), moof, 0, 0
        end = last_end
        for kind, box in boxes(content):
            flags = _number(box, 1, 3)
            if kind == b"tfhd":
                track = self._tracks.get(_number(box, 4), track)
                fields = _Fields(box, 8, flags)
                base = fields.take(0x1, 8, moof if flags & 0x20000 else last_end)
                fields.take(0x2, 4, 0)
                each_time = fields.take(0x8, 4, track.each_time)
                each_size = fields.take(0x10, 4, track.each_size)
                end = base
            elif kind == b"tfdt":
                track.time = _number(box, 4, 8 if _is_long(box) else 4)
            elif kind == b"trun":
                count, fields = _number(box, 4), _Fields(box, 8, flags)
                offset = fields.take(0x1, 4, 0)
                end = base + (offset - (offset >> 31 << 32)) if flags & 0x1 else end
                fields.take(0x4, 4, 0)
                columns = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
                words = _words(box[fields.at :][: 4 * count * len(columns)])
                track.time += _total(words, columns, 0x100, count, each_time)
                self._timeless = self._timeless or not (each_time or flags & 0x100)
                track.samples += count
                end += _total(words, columns, 0x200, count, each_size)
        return end


@dataclass(slots=True)
class _Track:
    """A track; times in its own units, ``scale`` of which are a second."""

    is_video: bool = False
    is_turned: bool = False
    scale: int = 0
    samples: int = 0
    time: int = 0
    each_time: int = 0
    each_size: int = 0

    @property
    def seconds(self) -> float:
        return self.time / self.scale if self.scale else 0.0

    @property
    def sample_seconds(self) -> float:
        return self.seconds / self.samples if self.samples else 0.0


class _Fields:
    """The fields of a box that are there if a flag says so."""

    def __init__(self, box: Table, at: int, flags: int) -> None:
        self.at = at
        self._box = box
        self._flags = flags

    def take(self, flag: int, size: int, otherwise: int) -> int:
        if not self._flags & flag:
            return otherwise
        self.at += size
        return _number(self._box, self.at - size, size)


def boxes(content: Table) -> Iterator[tuple[bytes, Table]]:
    """Yield the boxes inside another one, as far as they can be read."""
    while len(content) >= 8:
        size, head = _number(content, 0), 8
        if size == 1:
            size, head = _number(content, 8, 8), 16
        size = size or len(content)
        if size < head:
            return
        yield bytes(content[4:8]), content[head:size]
        content = content[size:]


def index_end(content: bytes | bytearray, end: int) -> tuple[int, int]:
    """
    Read a ``sidx`` box.

    :param end: where in the file it ends.
    :return: where the data ends that it tells of, and how many entries it has.
    """
    box = Table(content)
    width = 8 if _is_long(box) else 4
    first = _number(box, 12 + width, width)
    entries = _words(box[16 + 2 * width :][: 12 * _number(box, 14 + 2 * width, 2)])
    # The highest bit says whether it tells of media or of another index.
    return end + first + sum(size & 0x7FFFFFFF for size in entries[::3]), len(entries[::3])


def _end_of_chunks(tables: dict[bytes, Table]) -> int | None:
    """Return where the last of a track's chunks ends; ``None`` if the tables do not tell."""
    places = tables.get(b"stco")
    offsets = _words(places[8:]) if places else _words(tables.get(b"co64", Table(b""))[8:], "Q")
    runs = _words(tables.get(b"stsc", Table(b""))[8:])
    sizes = tables.get(b"stsz", Table(b""))
    each, count, table = _number(sizes, 4), _number(sizes, 8), _words(sizes[12:])
    if not offsets or not runs or not (each or len(table) >= count > 0):
        return None
    end, sample = 0, 0
    for run in range(0, len(runs) - 2, 3):
        first, in_chunk = runs[run], runs[run + 1]
        after = runs[run + 3] if run + 3 < len(runs) else len(offsets) + 1
        for offset in offsets[max(0, first - 1) : max(0, after - 1)]:
            if sample >= count:
                break
            here = min(in_chunk, count - sample)
            end = max(end, offset + (here * each or sum(table[sample : sample + here])))
            sample += here
    return end if sample == count else None


def _scale_and_duration(box: Table) -> tuple[int, int]:
    wide = _is_long(box)
    duration = _number(box, 24 if wide else 16, 8 if wide else 4)
    unknown = duration == (1 << 64 if wide else 1 << 32) - 1
    return _number(box, 20 if wide else 12), 0 if unknown else duration


def _total(words: array[int], columns: list[int], column: int, count: int, each: int) -> int:
    return sum(words[columns.index(column) :: len(columns)]) if column in columns else count * each


def _is_long(box: Table) -> bool:
    """Whether the times and places in a box have 64 bits."""
    return _number(box, 0, 1) == 1


def _number(box: Table, at: int, size: int = 4) -> int:
    return int.from_bytes(box[at : at + size])


def _words(table: Table, kind: str = "I") -> array[int]:
    found = array(kind)
    found.frombytes(table[: len(table) - len(table) % found.itemsize])
    if sys.byteorder == "little":
        found.byteswap()
    return found
