# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Small playable videos in every container that can be landed, made with PyAV."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: By name: container, video codec, audio codec, and options of the muxer.
FORMATS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "mp4": ("mp4", "libx264", "aac", {}),
    "mp4, moov first": ("mp4", "libx264", "aac", {"movflags": "faststart"}),
    "mp4, fragmented": ("mp4", "libx264", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "mp4, fragmented, begun in moov": ("mp4", "libx264", "aac", {"movflags": "frag_keyframe"}),
    "mp4, fragmented, indexed": (
        "mp4",
        "libx264",
        "",
        {"movflags": "dash+frag_keyframe+global_sidx+skip_trailer"},
    ),
    "mov": ("mov", "libx264", "aac", {}),
    "webm": ("webm", "libvpx", "libopus", {}),
    "mkv": ("matroska", "libx264", "aac", {}),
}
#: A video whose length is not stored in its container, as in a live stream.
LIVE = ("webm", "libvpx", "libopus", {"live": "1"})
_FPS = 24


@functools.cache
def sample_video(name: str, *, frames: int = 36, width: int = 160, height: int = 96) -> bytes:
    """
    Return the bytes of a video; it is made at the first call.

    :param name: a key of :data:`FORMATS`, or ``live``.
    :param width: in pixels.
    :param height: in pixels.
    """
    import av
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

    container, video_codec, audio_codec, options = LIVE if name == "live" else FORMATS[name]
    with tempfile.TemporaryDirectory(prefix="vidgen-sample-") as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=options) as file:
            video = file.add_stream(video_codec, rate=_FPS)
            assert isinstance(video, VideoStream)
            video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", 8
            audio = file.add_stream(audio_codec, rate=48000) if audio_codec else None
            assert audio is None or isinstance(audio, AudioStream)
            for number in range(frames):
                image = av.VideoFrame(width, height, "yuv420p")
                for plane in image.planes:
                    plane.update(bytes([number * 7 % 256]) * plane.buffer_size)
                file.mux(video.encode(image))
                if audio is not None:
                    silence = av.AudioFrame(format="fltp", layout="stereo", samples=48000 // _FPS)
                    silence.sample_rate = 48000
                    for channel in silence.planes:
                        channel.update(bytes(channel.buffer_size))
                    file.mux(audio.encode(silence))
            file.mux(video.encode(None))
            if audio is not None:
                file.mux(audio.encode(None))
        return path.read_bytes()


def boundaries(content: bytes) -> list[int]:
    """Return the end offsets of all boxes or elements, nested ones included, without the end of the file."""
    parse = _matroska_elements if content.startswith(b"\x1aE\xdf\xa3") else _mp4_boxes
    return sorted(set(parse(content, 0, len(content))) - {0, len(content)})


def _mp4_boxes(content: bytes, start: int, end: int) -> Iterator[int]:
    while start + 8 <= end:
        size = int.from_bytes(content[start : start + 4])
        if content[start + 4 : start + 8] in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"):
            yield from _mp4_boxes(content, start + 8, start + size)
        start += size
        yield start


def _matroska_elements(content: bytes, start: int, end: int) -> Iterator[int]:
    while start < end:
        id_size = 9 - content[start].bit_length()
        element_id, start = content[start : start + id_size], start + id_size
        length = 9 - content[start].bit_length()
        size = int.from_bytes(content[start : start + length]) & ((1 << 7 * length) - 1)
        has_size = size != (1 << 7 * length) - 1
        start += length
        stop = start + size if has_size else end
        if element_id in (b"\x18S\x80g", b"\x1fC\xb6u"):  # Segment, Cluster
            yield start
            yield from _matroska_elements(content, start, stop)
        start = stop
        yield start
