# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Probe a landed video with PyAV, where that is installed, and compare it with the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import NotAVideo
from airflow_provider_vidgen.landing.containers.incremental import run_on_file
from airflow_provider_vidgen.landing.containers.mp4 import Mp4Parser
from airflow_provider_vidgen.landing.pyav import loggable, open_video

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

#: Half of the distance to the next whole second.
_DURATION_TOLERANCE_SECONDS = 0.5
#: Vendors round sizes to what their encoders need; the next ratio or resolution is further away.
_SIZE_TOLERANCE = 0.05
#: The mismatch of a file that cannot be played.
NOT_PLAYABLE = "it cannot be played"


@dataclass(frozen=True)
class Probe:
    """
    Properties of a video file.

    :param width: and ``height`` in pixels, as players show it.
    :param duration_seconds: ``None`` where the file does not state it.
    :param codec: FFmpeg's name, such as ``h264``.
    """

    duration_seconds: float | None
    width: int
    height: int
    codec: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def probe_and_compare(target: ObjectStoragePath, requested: Mapping[str, Any]) -> dict[str, Any]:
    """
    Probe a landed file; an error here never fails the landing, since the link may have expired by now.

    :param requested: see :func:`mismatches`.
    :return: ``probe`` and ``mismatches`` of its manifest; empty if the probe failed.
    """
    try:
        probed = probe(target)
    except Exception as error:
        _log.warning("%s has landed, but could not be probed (%s)", target, loggable(error))
        return {}
    return {"probe": probed and probed.to_dict(), "mismatches": mismatches(probed, requested)}


def probe(target: ObjectStoragePath) -> Probe | None:
    """
    Read the headers of a video file; its frames are not decoded.

    :return: ``None`` if it cannot be played.
    :raises StorageReadError: the storage did not return the file.
    :raises Exception: this PyAV does not support the codec.
    """
    with open_video(target) as (container, file):
        if container is None or not container.streams.video:
            return None
        stream = container.streams.video[0]
        pixel_ratio = stream.sample_aspect_ratio or 1
        size = round(stream.width * pixel_ratio), stream.height
        width, height = reversed(size) if _is_rotated(file) else size
        seconds = None if container.duration is None else container.duration / 1e6
        return Probe(seconds and round(seconds, 3), width, height, stream.codec_context.name)


def _is_rotated(file: Any) -> bool:
    """Whether players rotate the video by 90 degrees, as those of phones; PyAV does not report it."""
    file.seek(0)
    parser = Mp4Parser()
    with suppress(NotAVideo):
        for _ in run_on_file(parser.parse(bytearray()), file):
            if parser.movie is not None:
                return parser.movie.is_rotated
    return False


def mismatches(probed: Probe | None, requested: Mapping[str, Any]) -> list[str]:
    """
    Compare a video with the request; what was not requested is not compared.

    :param probed: ``None`` if the file cannot be played.
    :param requested: ``duration``, ``aspect_ratio`` and ``resolution`` as in a request.
    """
    if probed is None:
        return [NOT_PLAYABLE]
    found = []
    seconds, requested_seconds = probed.duration_seconds, _to_float(requested.get("duration"))
    if (
        seconds is not None
        and requested_seconds
        and abs(seconds - requested_seconds) > _DURATION_TOLERANCE_SECONDS
    ):
        found.append(f"its duration is {seconds:g} s, not {requested_seconds:g} s")
    ratio_width, _, ratio_height = str(requested.get("aspect_ratio")).partition(":")
    across, up = _to_float(ratio_width), _to_float(ratio_height)
    if across and up and probed.height and _differs(probed.width / probed.height, across / up):
        found.append(f"its size is {probed.width}x{probed.height}, not {ratio_width}:{ratio_height}")
    lines = _to_float(str(requested.get("resolution")).lower().removesuffix("p"))
    if lines and _differs(min(probed.width, probed.height), lines):
        found.append(f"its size is {probed.width}x{probed.height}, not {lines:g}p")
    return found


def _differs(actual: float, requested: float) -> bool:
    return abs(actual / requested - 1) > _SIZE_TOLERANCE


def _to_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
