# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Decode a video file completely, to check that it plays and to measure it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DecodedVideo:
    """
    Measurements of a video file.

    :param seconds: duration.
    :param width: in pixels.
    :param height: in pixels.
    :param frames: number of decoded frames, which is all of them.
    """

    seconds: float
    width: int
    height: int
    frames: int


def decode_video(path: Path) -> DecodedVideo:
    """
    Decode every frame of a video file.

    :raises av.error.FFmpegError: the file cannot be decoded.
    :raises ValueError: the file contains no video stream or no frames.
    """
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} contains no video stream")
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        if not frames or container.duration is None:
            raise ValueError(f"{path} contains no frames")
        return DecodedVideo(container.duration / av.time_base, stream.width, stream.height, frames)
