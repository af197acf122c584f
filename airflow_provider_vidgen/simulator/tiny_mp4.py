# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""An MP4 whose pictures are noise: for tests that want a file, its length and its hash."""

from __future__ import annotations

import struct
from random import Random
from typing import Final

_TIMESCALE: Final = 1000
_FILLING: Final = 4096
_MATRIX: Final = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def tiny_mp4(task_id: str, seconds: int, width: int, height: int) -> bytes:
    """Build a whole file of a few kilobytes.

    :param task_id: written into the ``free`` box, so that no two files are alike.
    :param seconds: the length that the headers tell.
    :param width: width of the picture that is not there.
    :param height: its height.
    """
    # Filling gives downloads something to be cut in.
    filling = Random(task_id).randbytes(_FILLING)
    return mp4_head(_FILLING, seconds, width, height, note=task_id.encode()) + filling


def mp4_head(media: int, seconds: int, width: int, height: int, *, note: bytes = b"") -> bytes:
    """Build all of a file but its media data: ``ftyp``, ``free``, ``moov`` and the head of ``mdat``.

    :param media: bytes of media data, which the tables name as one sample of the one video track.
    :param seconds: the length that the headers tell.
    :param width: width of the picture.
    :param height: its height.
    :param note: the content of the ``free`` box.
    """
    duration = seconds * _TIMESCALE
    start = _box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2avc1mp41") + _box(b"free", note)
    end = struct.pack(">I4sQ", 1, b"mdat", media + 16)

    def movie(offset: int) -> bytes:
        return _box(b"moov", _movie_header(duration), _track(duration, width, height, media, offset))

    return start + movie(len(start + movie(0) + end)) + end


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + kind + content


def _full(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _movie_header(duration: int) -> bytes:
    return _full(
        b"mvhd",
        0,
        struct.pack(">4I", 0, 0, _TIMESCALE, duration),
        struct.pack(">IH10x", 0x10000, 0x100),
        _MATRIX,
        struct.pack(">24xI", 2),
    )


def _track(duration: int, width: int, height: int, media: int, offset: int) -> bytes:
    header = _full(
        b"tkhd",
        3,
        struct.pack(">5I8x4H", 0, 0, 1, 0, duration, 0, 0, 0, 0),
        _MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )
    media_header = _full(b"mdhd", 0, struct.pack(">4IHH", 0, 0, _TIMESCALE, duration, 0x55C4, 0))
    handler = _full(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\x00")
    location = _box(b"dinf", _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1)))
    # Motion JPEG needs no more than its name for players to open the file.
    codec = _box(
        b"jpeg",
        struct.pack(">6xH16x2H", 1, width, height),
        struct.pack(">2I4xH32xHh", 72 << 16, 72 << 16, 1, 24, -1),
    )
    samples = _box(
        b"stbl",
        _full(b"stsd", 0, struct.pack(">I", 1), codec),
        _full(b"stts", 0, struct.pack(">3I", 1, 1, duration)),
        _full(b"stsc", 0, struct.pack(">4I", 1, 1, 1, 1)),
        _full(b"stsz", 0, struct.pack(">II", media, 1)),
        _full(b"stco", 0, struct.pack(">2I", 1, offset)),
    )
    information = _box(b"minf", _full(b"vmhd", 1, bytes(8)), location, samples)
    return _box(b"trak", header, _box(b"mdia", media_header, handler, information))
