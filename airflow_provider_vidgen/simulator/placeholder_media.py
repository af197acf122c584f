# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Placeholder files, made without PyAV and Pillow: an MP4 with random media data, and a grey JPEG."""

from __future__ import annotations

import base64
import struct
from random import Random
from typing import Final

_TIMESCALE: Final = 1000
_MEDIA_BYTES: Final = 4096
_MATRIX: Final = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
# 16x9 grey pixels, as Pillow writes them.
_GREY_JPEG: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71"
    "////m8H////6/+b9//j/wAALCAAJABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oA"
    "CAEBAAA/AJwH/9k="
)
# End of the JFIF header, after which a comment segment is allowed.
_JFIF_HEADER_END: Final = 20


def placeholder_jpeg(comment: str) -> bytes:
    """Build a small grey JPEG.

    :param comment: written into the file, so that no two files are equal.
    """
    content = comment.encode()
    segment = b"\xff\xfe" + struct.pack(">H", len(content) + 2) + content
    return _GREY_JPEG[:_JFIF_HEADER_END] + segment + _GREY_JPEG[_JFIF_HEADER_END:]


def placeholder_mp4(note: str, seconds: int, width: int, height: int) -> bytes:
    """Build a complete MP4 of a few kilobytes.

    :param note: written into the ``free`` box, so that no two files are equal.
    :param seconds: duration in the headers.
    :param width: width in the headers.
    :param height: height in the headers.
    """
    # Enough media data for tests of interrupted downloads.
    media = Random(note).randbytes(_MEDIA_BYTES)
    return mp4_head(_MEDIA_BYTES, seconds, width, height, note=note.encode()) + media


def mp4_head(media: int, seconds: int, width: int, height: int, *, note: bytes = b"") -> bytes:
    """Build an MP4 without its media data: ``ftyp``, ``free``, ``moov`` and the header of ``mdat``.

    :param media: bytes of media data, which the sample tables describe as one sample of one video track.
    :param seconds: duration in the headers.
    :param width: width in the headers.
    :param height: height in the headers.
    :param note: the content of the ``free`` box.
    """
    duration = seconds * _TIMESCALE
    start = _box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2avc1mp41") + _box(b"free", note)
    mdat_header = struct.pack(">I4sQ", 1, b"mdat", media + 16)

    def moov(offset: int) -> bytes:
        return _box(b"moov", _movie_header(duration), _track(duration, width, height, media, offset))

    return start + moov(len(start + moov(0) + mdat_header)) + mdat_header


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + kind + content


def _full_box(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _movie_header(duration: int) -> bytes:
    return _full_box(
        b"mvhd",
        0,
        struct.pack(">4I", 0, 0, _TIMESCALE, duration),
        struct.pack(">IH10x", 0x10000, 0x100),
        _MATRIX,
        struct.pack(">24xI", 2),
    )


def _track(duration: int, width: int, height: int, media: int, offset: int) -> bytes:
    header = _full_box(
        b"tkhd",
        3,
        struct.pack(">5I8x4H", 0, 0, 1, 0, duration, 0, 0, 0, 0),
        _MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )
    media_header = _full_box(b"mdhd", 0, struct.pack(">4IHH", 0, 0, _TIMESCALE, duration, 0x55C4, 0))
    handler = _full_box(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\x00")
    location = _box(b"dinf", _full_box(b"dref", 0, struct.pack(">I", 1), _full_box(b"url ", 1)))
    # For Motion JPEG, players open the file without any codec configuration.
    codec = _box(
        b"jpeg",
        struct.pack(">6xH16x2H", 1, width, height),
        struct.pack(">2I4xH32xHh", 72 << 16, 72 << 16, 1, 24, -1),
    )
    samples = _box(
        b"stbl",
        _full_box(b"stsd", 0, struct.pack(">I", 1), codec),
        _full_box(b"stts", 0, struct.pack(">3I", 1, 1, duration)),
        _full_box(b"stsc", 0, struct.pack(">4I", 1, 1, 1, 1)),
        _full_box(b"stsz", 0, struct.pack(">II", media, 1)),
        _full_box(b"stco", 0, struct.pack(">2I", 1, offset)),
    )
    information = _box(b"minf", _full_box(b"vmhd", 1, bytes(8)), location, samples)
    return _box(b"trak", header, _box(b"mdia", media_header, handler, information))
