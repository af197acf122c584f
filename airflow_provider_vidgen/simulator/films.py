# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The videos of finished jobs: what each shows, made once and kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_vidgen.simulator.jobs import Job

_KEPT: Final = 128
_ENDINGS: Final = {"mp4": "mp4", "fragmented": "mp4", "webm": "webm", "mov": "mov", "jpeg": "jpg"}
_TYPES: Final = {
    "mp4": "video/mp4",
    "fragmented": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "jpeg": "image/jpeg",
}
#: No picture is so narrow that the long side is more than this many times the short one.
_NARROWEST: Final = 4


@dataclass(frozen=True)
class Film:
    """What a video shows.

    :param number: which of the job's results it is, from 1.
    :param form: its container, or ``jpeg`` for a picture of it.
    """

    task_id: str
    vendor: str
    model: str
    prompt: str
    seconds: int
    width: int
    height: int
    number: int = 1
    form: str = "mp4"

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.number}.{_ENDINGS[self.form]}"

    @property
    def content_type(self) -> str:
        """What the file is served as."""
        return _TYPES[self.form]


def film_of(job: Job, number: int = 1) -> Film:
    """Say what a video of a job shows.

    :param job: the job.
    :param number: which of its results, from 1.
    """
    order, form = job.order, job.script.container or "mp4"
    width, height = frame_size(order.aspect_ratio, order.resolution)
    return Film(
        job.task_id, job.vendor, order.model, order.prompt, order.seconds, width, height, number, form
    )


def thumbnail_of(job: Job) -> Film:
    """Say what the picture of a job's first video shows.

    :param job: the job.
    """
    return replace(film_of(job), form="jpeg")


def frame_size(aspect_ratio: str, resolution: str) -> tuple[int, int]:
    """Give width and height; the resolution is the short side, and both are even for the encoder.

    :param aspect_ratio: as in ``16:9``.
    :param resolution: as in ``720p``.
    """
    wide, high = map(int, aspect_ratio.split(":"))
    short = int(resolution.removesuffix("p"))
    long = round(short * min(_NARROWEST, max(wide, high) / min(wide, high)) / 2) * 2
    return (long, short) if wide >= high else (short, long)


class FilmStore:
    """Videos by what they show; the oldest are dropped and made again when asked for.

    :param make: makes one; called in a thread of its own.
    """

    def __init__(self, make: Callable[[Film], bytes]) -> None:
        self._make = make
        self._made: OrderedDict[Film, asyncio.Future[bytes]] = OrderedDict()
        # One thread: encoding must leave the other core to whoever is being tested.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="film")

    def start(self, film: Film) -> asyncio.Future[bytes]:
        """Begin a video, so that it is ready when it is asked for.

        :param film: what it shows.
        """
        future = self._made.get(film)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._make, film)
            self._made[film] = future
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return future

    def close(self) -> None:
        """Drop what is waiting to be made."""
        self._pool.shutdown(wait=False, cancel_futures=True)
