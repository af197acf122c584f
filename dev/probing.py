# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Look into a video file: does it play, how long is it, how large is its picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Probe:
    """
    What is in a video file.

    :param seconds: length.
    :param width: in pixels.
    :param height: in pixels.
    :param frames: how many were decoded, all of them.
    """

    seconds: float
    width: int
    height: int
    frames: int


def probe(path: Path) -> Probe:
    """
    Decode every frame of a video file.

    :raises av.error.FFmpegError: it does not play.
    :raises ValueError: it holds no video or no frames.
    """
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} holds no video")
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        if not frames or container.duration is None:
            raise ValueError(f"{path} holds no frames")
        return Probe(container.duration / av.time_base, stream.width, stream.height, frames)
