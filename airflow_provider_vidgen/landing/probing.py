# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is in a landed video, and is it what was asked for. Looked into with PyAV where that is installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import NotAVideo
from airflow_provider_vidgen.landing.isobmff import IsoFilm
from airflow_provider_vidgen.landing.pieces import steps
from airflow_provider_vidgen.landing.playing import opened, told_of

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

#: The next whole second is twice as far away.
_SECONDS_OFF = 0.5
#: Vendors round sizes to what their encoders like; the next ratio or resolution is further away.
_SHARE_OFF = 0.05
#: What is said of a file that no player can read.
DOES_NOT_PLAY = "it does not play"


@dataclass(frozen=True)
class Probe:
    """
    What a video file says of itself.

    :param width: and ``height`` in pixels, as players show it.
    :param duration_seconds: ``None`` where the file does not tell.
    :param codec: as FFmpeg calls it, such as ``h264``.
    """

    duration_seconds: float | None
    width: int
    height: int
    codec: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def look_into(target: ObjectStoragePath, asked: Mapping[str, Any]) -> dict[str, Any]:
    """
    Look into a landed file. Whatever happens, it has landed, and there may be no link to land it again.

    :param asked: see :func:`mismatches`.
    :return: ``probe`` and ``mismatches`` of its manifest; empty where nothing could be found out.
    """
    try:
        found = probe(target)
    except Exception as error:
        _log.warning("%s could not be looked into (%s)", target, told_of(error))
        return {}
    return {"probe": found and found.to_dict(), "mismatches": mismatches(found, asked)}


def probe(target: ObjectStoragePath) -> Probe | None:
    """
    Read the heads of a video file; its frames are not decoded.

    :return: ``None`` if it does not play.
    :raises Unreadable: the storage does not give the file back.
    :raises Exception: this PyAV does not know the codec.
    """
    with opened(target) as (container, file):
        if container is None or not container.streams.video:
            return None
        stream = container.streams.video[0]
        wide = stream.sample_aspect_ratio or 1
        size = round(stream.width * wide), stream.height
        width, height = reversed(size) if _is_turned(file) else size
        seconds = None if container.duration is None else container.duration / 1e6
        return Probe(seconds and round(seconds, 3), width, height, stream.codec_context.name)


def _is_turned(file: Any) -> bool:
    """Whether players show the picture turned by a right angle, as a phone's; PyAV does not tell."""
    file.seek(0)
    film = IsoFilm()
    with suppress(NotAVideo):
        for _ in steps(film.parse(bytearray()), file):
            if film.movie is not None:
                return film.movie.is_turned
    return False


def mismatches(found: Probe | None, asked: Mapping[str, Any]) -> list[str]:
    """
    Hold a video against what was asked for; what was not asked for is not judged.

    :param asked: ``duration``, ``aspect_ratio`` and ``resolution`` as in a request.
    """
    if found is None:
        return [DOES_NOT_PLAY]
    odd = []
    seconds, wanted = found.duration_seconds, _number(asked.get("duration"))
    if seconds is not None and wanted and abs(seconds - wanted) > _SECONDS_OFF:
        odd.append(f"it lasts {seconds:g} s, not {wanted:g} s")
    wide, _, high = str(asked.get("aspect_ratio")).partition(":")
    across, up = _number(wide), _number(high)
    if across and up and found.height and _off(found.width / found.height, across / up):
        odd.append(f"its picture is {found.width}x{found.height}, not {wide}:{high}")
    lines = _number(str(asked.get("resolution")).lower().removesuffix("p"))
    if lines and _off(min(found.width, found.height), lines):
        odd.append(f"its picture is {found.width}x{found.height}, not {lines:g}p")
    return odd


def _off(found: float, wanted: float) -> bool:
    return abs(found / wanted - 1) > _SHARE_OFF


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
