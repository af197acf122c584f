# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The poster of a landed video: the vendor's thumbnail, or the video's first frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, LandingError, LinkUnavailable, TargetExists
from airflow_provider_vidgen.http import result_links
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing.pyav import is_pyav_installed, open_video
from airflow_provider_vidgen.landing.storage import exists
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import atomic_writer, compare_with_existing

if TYPE_CHECKING:
    import av
    from airflow.sdk import ObjectStoragePath

_MAX_SIZE = 20 * 1024**2
_CHUNK_SIZE = 64 * 1024
#: Seconds between the attempts of a thumbnail, whose link may not be live yet.
_BACKOFF = (1.0, 2.0)
_TIMEOUT = timedelta(seconds=60)
#: Extension -> the first bytes of such an image, and those at offset 8.
_SIGNATURES = {
    "jpg": (b"\xff\xd8\xff", b""),
    "png": (b"\x89PNG\r\n\x1a\n", b""),
    "webp": (b"RIFF", b"WEBP"),
    "gif": (b"GIF8", b""),
}
_CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
#: Degrees counterclockwise by which players rotate a frame -> the FFmpeg filters that do it.
_ROTATION_FILTERS = {-90: ("transpose=clock",), 90: ("transpose=cclock",), 180: ("hflip", "vflip")}


class NoPoster(LandingError):
    """There is no image, or none that may be stored as a poster."""


def image_extension(content: bytes | bytearray) -> str:
    """
    Return the extension of an image, by its first bytes.

    :raises NoPoster: it is not one of the accepted formats, all of which are free of scripts.
    """
    for ext, (first, at_8) in _SIGNATURES.items():
        if content.startswith(first) and content.startswith(at_8, 8):
            return ext
    raise NoPoster("The thumbnail is not a JPEG, PNG, WebP or GIF image")


def get_poster(
    target: ObjectStoragePath,
    link: Any,
    settings: ConnectionSettings,
    *,
    sockets: OpenSockets,
    wait: Callable[[float], None],
    check_stopped: Callable[[], None],
    now: Callable[[], datetime],
) -> bytes | None:
    """
    Return the poster of a landed video.

    :param link: to the vendor's thumbnail; ``None`` if there is none.
    :param sockets: registers each connection, so that another thread can shut it down.
    :param wait: waits for this many seconds; an exception from it ends the attempts.
    :param check_stopped: called after each chunk; an exception from it ends the download.
    :param now: the clock.
    :return: ``None`` if there is neither a thumbnail nor PyAV.
    :raises Exception: neither source returned an image.
    """
    thumbnail_error: Exception | None = None
    if link is not None:
        try:
            return _fetch_with_retries(
                link, settings, sockets=sockets, wait=wait, check_stopped=check_stopped, now=now
            )
        except Exception as error:
            thumbnail_error = error
    if is_pyav_installed():
        return first_frame(target)
    if thumbnail_error is not None:
        raise thumbnail_error
    return None


def _fetch_with_retries(
    link: Any,
    settings: ConnectionSettings,
    *,
    sockets: OpenSockets,
    wait: Callable[[float], None],
    check_stopped: Callable[[], None],
    now: Callable[[], datetime],
) -> bytes:
    deadline = now() + _TIMEOUT

    def check_deadline() -> None:
        check_stopped()
        if now() > deadline:
            raise NoPoster(f"The thumbnail took longer than {_TIMEOUT.seconds} s")

    for delay in _BACKOFF:
        try:
            return fetch(link, settings, check_deadline, sockets)
        except (DownloadFailed, LinkUnavailable):
            wait(delay)
            check_deadline()
    return fetch(link, settings, check_deadline, sockets)


def fetch(
    link: str, settings: ConnectionSettings, on_chunk: Callable[[], None], sockets: OpenSockets
) -> bytes:
    """
    Fetch a thumbnail, under the same rules for its host as a video.

    :param sockets: registers the connection, so that another thread can shut it down.
    :param on_chunk: called after each chunk; an exception from it ends the download.
    :raises LandingError: the download failed, or returned no image.
    """
    content = bytearray()
    with result_links.open_link(link, settings, sockets=sockets) as response:
        for chunk in result_links.read_body(response, _CHUNK_SIZE, settings.timeout):
            content += chunk
            if len(content) > _MAX_SIZE:
                break
            on_chunk()
        else:
            if content:
                image_extension(content)
                return bytes(content)
    raise NoPoster(f"The thumbnail is empty, or larger than {_MAX_SIZE} bytes")


def first_frame(target: ObjectStoragePath) -> bytes:
    """
    Return the first frame of a landed video as a JPEG, rotated as players show it.

    :raises NoPoster: it has none.
    :raises Exception: it cannot be read.
    """
    with open_video(target) as (container, _):
        if container is not None and container.streams.video:
            stream = container.streams.video[0]
            # Each decoder thread would hold a frame in memory.
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                return _as_jpeg(frame)
    raise NoPoster("The video has no frame that can be decoded")


def _as_jpeg(frame: av.VideoFrame) -> bytes:
    import av
    from av.video.codeccontext import VideoCodecContext

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    filters = [
        text.partition("=") for text in (*_ROTATION_FILTERS.get(_rotation_of(frame), ()), "format=yuvj420p")
    ]
    nodes = [source, *(graph.add(name, args or None) for name, _, args in filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    frame.pts = 0
    graph.push(frame)
    rotated: Any = graph.pull()
    encoder: Any = VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = rotated.width, rotated.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.qmin, encoder.qmax = 2, 5
    return b"".join(bytes(packet) for packet in (*encoder.encode(rotated), *encoder.encode(None)))


def _rotation_of(frame: av.VideoFrame) -> int:
    return 180 if abs(frame.rotation) == 180 else frame.rotation


def poster_path(target: ObjectStoragePath, ext: str) -> ObjectStoragePath:
    """Return the path of a video's poster: the same name with another extension."""
    return target.parent / f"{PurePosixPath(target.name).stem}.{ext}"


def find_existing(target: ObjectStoragePath, recorded: Any) -> str | None:
    """
    Return the path of a video's poster, if it exists.

    :param recorded: the path of the poster in the sidecar, from which only the name is used.
    """
    name = PurePosixPath(recorded).name if isinstance(recorded, str) else ""
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
    Store the poster of a video in the same folder.

    :param overwrite: replace an existing file.
    :param metadata: stored with the object.
    :param upload_args: the user's arguments for the store, as for the video.
    :return: its path.
    :raises LandingError: it is no image, or another file exists.
    :raises Exception: the storage refused it.
    """
    ext = image_extension(content)
    path = poster_path(target, ext)
    if path.path == target.path:
        raise TargetExists(f"The poster would replace the video itself at {path}")
    options = UploadOptions(content_type=_CONTENT_TYPES[ext], metadata=metadata, upload_args=upload_args)
    with (
        compare_with_existing(path)
        if exists(path) and not overwrite
        else atomic_writer(path, overwrite=overwrite, options=options)
    ) as sink:
        sink.write(content)
    return str(path)
