# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Videos and thumbnails of jobs: their content, and a cache of the files."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_vidgen.simulator.jobs import Job
from airflow_provider_vidgen.simulator.options import can_render
from airflow_provider_vidgen.simulator.placeholder_media import placeholder_jpeg, placeholder_mp4

_MAX_CACHED: Final = 128
_EXTENSIONS: Final = {"mp4": "mp4", "fragmented": "mp4", "webm": "webm", "mov": "mov", "jpeg": "jpg"}
_CONTENT_TYPES: Final = {
    "mp4": "video/mp4",
    "fragmented": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "jpeg": "image/jpeg",
}
#: Limit of the ratio of the long side to the short one, for extreme reference images.
_MAX_SIDE_RATIO: Final = 4


@dataclass(frozen=True)
class MediaFile:
    """A video or thumbnail, described by its content.

    :param seconds: duration.
    :param index: number of the video among those of the job, from 1.
    :param format: container of the video, or ``jpeg`` for its thumbnail.
    """

    task_id: str
    vendor: str
    model: str
    prompt: str
    seconds: int
    width: int
    height: int
    index: int = 1
    format: str = "mp4"

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.index}.{_EXTENSIONS[self.format]}"

    @property
    def content_type(self) -> str:
        """The media type."""
        return _CONTENT_TYPES[self.format]


def videos_of(job: Job) -> list[MediaFile]:
    """Return the videos of a job.

    :param job: the job.
    """
    request = job.request
    width, height = frame_size(request.aspect_ratio, request.resolution)
    first = MediaFile(
        task_id=job.task_id,
        vendor=job.vendor,
        model=request.model,
        prompt=request.prompt,
        seconds=request.seconds,
        width=width,
        height=height,
        format=job.script.container or "mp4",
    )
    return [replace(first, index=index) for index in range(1, (job.script.videos or 1) + 1)]


def thumbnail_of(job: Job) -> MediaFile:
    """Return the thumbnail of a job's first video.

    :param job: the job.
    """
    return replace(videos_of(job)[0], format="jpeg")


def frame_size(aspect_ratio: str, resolution: str) -> tuple[int, int]:
    """Return width and height; the resolution is the short side, and both are even, as encoders require.

    :param aspect_ratio: such as ``16:9``.
    :param resolution: such as ``720p``.
    """
    width, height = map(int, aspect_ratio.split(":"))
    short = int(resolution.removesuffix("p"))
    ratio = min(_MAX_SIDE_RATIO, max(width, height) / min(width, height))
    long = round(short * ratio / 2) * 2
    return (long, short) if width >= height else (short, long)


def image_size(content: bytes) -> str | None:
    """Return width and height of an image, such as ``600x800``; None without Pillow, or if it cannot be read.

    :param content: the file.
    """
    if not can_render():
        return None
    from airflow_provider_vidgen.simulator import rendering

    return rendering.image_size(content)


def render(file: MediaFile) -> bytes:
    """Make a playable video or its thumbnail; needs the extra ``simulator``.

    :param file: the content.
    """
    # PyAV and Pillow are optional, and slow to import.
    from airflow_provider_vidgen.simulator import rendering

    return rendering.render(file)


def placeholder(file: MediaFile) -> bytes:
    """Make a small file without a picture; formats other than MP4 and JPEG are rendered.

    :param file: the content.
    """
    match file.format:
        case "mp4":
            note = file.task_id if file.index == 1 else f"{file.task_id}/{file.index}"
            return placeholder_mp4(note, file.seconds, file.width, file.height)
        case "jpeg":
            return placeholder_jpeg(file.task_id)
    return render(file)


class MediaCache:
    """Files by content. The oldest are dropped, and made again on request.

    :param make: makes a file; called in a separate thread.
    """

    def __init__(self, make: Callable[[MediaFile], bytes]) -> None:
        self._make = make
        self._files: OrderedDict[MediaFile, asyncio.Future[bytes]] = OrderedDict()
        # One thread: encoding must not take all cores from the code under test.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="media")

    def prepare(self, file: MediaFile) -> asyncio.Future[bytes]:
        """Start to make a file unless it is cached, and return a future of its bytes.

        :param file: the content.
        """
        future = self._files.get(file)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._make, file)
            self._files[file] = future
            if len(self._files) > _MAX_CACHED:
                self._files.popitem(last=False)
        return future

    def close(self) -> None:
        """Cancel the files that are not yet being made."""
        self._pool.shutdown(wait=False, cancel_futures=True)
