# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The picture beside a landed video: the one that its vendor gave, or the first of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, LandingError, LinkUnavailable, TargetExists
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing.described import Described
from airflow_provider_vidgen.landing.places import exists
from airflow_provider_vidgen.landing.playing import can_play, opened
from airflow_provider_vidgen.landing.storing import compared, whole_or_absent

if TYPE_CHECKING:
    import av
    from airflow.sdk import ObjectStoragePath

_LARGEST = 20 * 1024**2
_PIECE = 64 * 1024
#: Seconds between the tries of a thumbnail, which may come alive late.
_BACKOFF = (1.0, 2.0)
_LONGEST = timedelta(seconds=60)
#: Extension -> what such a picture begins with, and what follows eight bytes later.
_BEGINNINGS = {
    "jpg": (b"\xff\xd8\xff", b""),
    "png": (b"\x89PNG\r\n\x1a\n", b""),
    "webp": (b"RIFF", b"WEBP"),
    "gif": (b"GIF8", b""),
}
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
#: Degrees against the clock by which players turn a picture -> how that is done.
_TURNS = {-90: ("transpose=clock",), 90: ("transpose=cclock",), 180: ("hflip", "vflip")}


class NoPoster(LandingError):
    """There is no picture, or none that may stand beside a video."""


def kind_of(content: bytes | bytearray) -> str:
    """
    Return the extension of a picture, by its own bytes.

    :raises NoPoster: it is none of those that show a picture and do nothing else.
    """
    for ext, (first, then) in _BEGINNINGS.items():
        if content.startswith(first) and content.startswith(then, 8):
            return ext
    raise NoPoster("The thumbnail is no JPEG, PNG, WebP or GIF picture")


def picture_of(
    target: ObjectStoragePath,
    link: Any,
    settings: ConnectionSettings,
    *,
    connections: OpenSockets,
    wait: Callable[[float], None],
    go_on: Callable[[], None],
    now: Callable[[], datetime],
) -> bytes | None:
    """
    Return the picture that is to stand beside a landed video.

    :param link: the vendor's; ``None`` if it gave none.
    :param connections: takes in each connection, so that another thread can cut it.
    :param wait: waits for so many seconds; what it raises ends the tries.
    :param go_on: called after each piece; what it raises ends the download.
    :param now: the clock.
    :return: ``None`` if there is none, and none was to be expected.
    :raises Exception: it cannot be had.
    """
    trouble: Exception | None = None
    if link is not None:
        try:
            return _fetch_patiently(link, settings, connections=connections, wait=wait, go_on=go_on, now=now)
        except Exception as error:
            trouble = error
    if can_play():
        return first_frame(target)
    if trouble is not None:
        raise trouble
    return None


def _fetch_patiently(
    link: Any,
    settings: ConnectionSettings,
    *,
    connections: OpenSockets,
    wait: Callable[[float], None],
    go_on: Callable[[], None],
    now: Callable[[], datetime],
) -> bytes:
    until = now() + _LONGEST

    def in_time() -> None:
        go_on()
        if now() > until:
            raise NoPoster(f"The thumbnail took longer than {_LONGEST.seconds} s")

    for seconds in _BACKOFF:
        try:
            return fetch(link, settings, in_time, connections)
        except (DownloadFailed, LinkUnavailable):
            wait(seconds)
            in_time()
    return fetch(link, settings, in_time, connections)


def fetch(
    link: str, settings: ConnectionSettings, go_on: Callable[[], None], connections: OpenSockets
) -> bytes:
    """
    Fetch a thumbnail, from where a video may be fetched.

    :param connections: takes in the connection, so that another thread can cut it.
    :param go_on: called after each piece; what it raises ends the download.
    :raises LandingError: it cannot be had, or is no picture.
    """
    from airflow_provider_vidgen.http.download import open_link, read_body

    content = bytearray()
    with open_link(link, settings, connections=connections) as reply:
        for piece in read_body(reply, _PIECE, settings.timeout):
            content += piece
            if len(content) > _LARGEST:
                break
            go_on()
        else:
            if content:
                kind_of(content)
                return bytes(content)
    raise NoPoster(f"The thumbnail is empty, or larger than {_LARGEST} bytes")


def first_frame(target: ObjectStoragePath) -> bytes:
    """
    Return the first picture of a landed video as a JPEG, turned as players show it.

    :raises NoPoster: it has none.
    :raises Exception: it cannot be read.
    """
    with opened(target) as (container, _):
        if container is not None and container.streams.video:
            stream = container.streams.video[0]
            # A picture for each thread would be held in memory.
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                return _as_jpeg(frame)
    raise NoPoster("The video has no picture that can be read")


def _as_jpeg(frame: av.VideoFrame) -> bytes:
    import av
    from av.video.codeccontext import VideoCodecContext

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    steps = [step.partition("=") for step in (*_TURNS.get(_turn(frame), ()), "format=yuvj420p")]
    nodes = [source, *(graph.add(name, how or None) for name, _, how in steps), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    frame.pts = 0
    graph.push(frame)
    turned: Any = graph.pull()
    encoder: Any = VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = turned.width, turned.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.qmin, encoder.qmax = 2, 5
    return b"".join(bytes(packet) for packet in (*encoder.encode(turned), *encoder.encode(None)))


def _turn(frame: av.VideoFrame) -> int:
    return 180 if abs(frame.rotation) == 180 else frame.rotation


def beside(target: ObjectStoragePath, ext: str) -> ObjectStoragePath:
    """Return where the poster of a video is: its name with another extension."""
    return target.parent / f"{PurePosixPath(target.name).stem}.{ext}"


def kept(target: ObjectStoragePath, told: Any) -> str | None:
    """
    Return where the poster of a video is that is there already.

    :param told: what its sidecar says of that.
    :return: ``None`` if there is none.
    """
    name = PurePosixPath(told).name if isinstance(told, str) else ""
    if not name or not exists(target.parent / name):
        return None
    return str(target.parent / name)


def write(
    target: ObjectStoragePath,
    content: bytes,
    *,
    overwrite: bool,
    metadata: Mapping[str, str],
    upload_args: Mapping[str, Any],
) -> str:
    """
    Put a poster beside its video.

    :param overwrite: replace another file.
    :param metadata: what the store keeps with it.
    :param upload_args: the user's arguments for the store, as for the video.
    :return: where it is.
    :raises LandingError: it is no picture, or another file is there.
    :raises Exception: the storage does not take it.
    """
    ext = kind_of(content)
    place = beside(target, ext)
    if place.path == target.path:
        raise TargetExists(f"The video itself is at {place}")
    there = exists(place) and not overwrite
    described = Described(content_type=_TYPES[ext], metadata=metadata, upload_args=upload_args)
    with (
        compared(place) if there else whole_or_absent(place, overwrite=overwrite, described=described)
    ) as sink:
        sink.write(content)
    return str(place)
