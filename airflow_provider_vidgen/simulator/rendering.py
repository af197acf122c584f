# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Rendered videos: the prompt on a coloured background, with a progress bar. Needs PyAV and Pillow."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Final

import av
import av.codec
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont, ImageOps

from airflow_provider_vidgen.simulator.media import MediaFile

_FRAMES_PER_SECOND: Final = 8
#: Muxer and its options. Without ``bitexact`` the WebM muxer writes random ids and times into the file.
_MUXERS: Final = {
    "mp4": ("mp4", {}),
    "fragmented": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "webm": ("webm", {"fflags": "+bitexact"}),
    "mov": ("mov", {}),
}
_FAST_ENCODING: Final = {
    "libx264": {"preset": "ultrafast", "crf": "30"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "500k"},
}
_THUMBNAIL_SIDE: Final = 320
_MAX_PROMPT_LINES: Final = 8
_WHITE: Final = (255, 255, 255)


def render(file: MediaFile) -> bytes:
    """Make a playable video, or a thumbnail of its first frame.

    :param file: the content.
    """
    background = _background(file)
    frames = file.seconds * _FRAMES_PER_SECOND
    output = io.BytesIO()
    if file.format == "jpeg":
        picture = _with_progress_bar(background, 1 / frames)
        picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
        picture.save(output, "JPEG")
        return output.getvalue()

    to_frame: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    muxer, options = _MUXERS[file.format]
    with av.open(output, "w", format=muxer, options=options) as container:
        stream = container.add_stream(_encoder(file), rate=_FRAMES_PER_SECOND)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = file.width, file.height, "yuv420p"
        stream.gop_size = _FRAMES_PER_SECOND * 2
        # One thread makes the same bytes each time, so that an interrupted download can be resumed.
        stream.options = {"threads": "1", **_FAST_ENCODING.get(stream.codec.name, {})}
        for number in range(1, frames + 1):
            picture = _with_progress_bar(background, number / frames)
            container.mux(stream.encode(to_frame(picture)))
        container.mux(stream.encode(None))
    return output.getvalue()


def image_size(content: bytes) -> str | None:
    """Return width and height of an image, such as ``600x800``; None if it cannot be read.

    :param content: the file; Pillow reads its header only.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return f"{picture.width}x{picture.height}"
    except Exception:  # Pillow raises arbitrary exceptions for a damaged header
        return None


def _encoder(file: MediaFile) -> str:
    if file.format == "webm":
        return "libvpx"
    return "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"


def _background(file: MediaFile) -> Image.Image:
    hue = hashlib.sha256(file.task_id.encode()).digest()[0] * 360 // 256
    gradient = Image.linear_gradient("L").resize((file.width, file.height))
    picture = ImageOps.colorize(gradient, f"hsl({hue}, 55%, 38%)", f"hsl({hue}, 60%, 14%)")
    draw = ImageDraw.Draw(picture)
    short_side = min(file.width, file.height)
    margin = short_side // 12
    large, small = ImageFont.load_default(short_side // 16), ImageFont.load_default(short_side // 28)
    lines = _wrap(file.prompt, lambda text: draw.textlength(text, large) <= file.width - 2 * margin)
    prompt = "\n".join(lines[:_MAX_PROMPT_LINES])
    draw.multiline_text((margin, margin), prompt, _WHITE, large, spacing=short_side // 40)
    index = "" if file.index == 1 else f", {file.index}"
    details = (
        f"{file.vendor}, {file.model}",
        f"{file.seconds} s, {file.width}x{file.height}{index}",
        file.task_id,
    )
    position = (margin, file.height - 4 * margin)
    draw.multiline_text(position, "\n".join(details), _WHITE, small, spacing=short_side // 60)
    return picture


def _wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    lines = [""]
    for word in text.split():
        # A word can be longer than a line, for Chinese has no spaces between words.
        pieces = [f" {word}"] if fits(word) else [" ", *word]
        for piece in pieces:
            longer = (lines[-1] + piece).lstrip()
            if fits(longer):
                lines[-1] = longer
            else:
                lines.append(piece.lstrip())
    return lines


def _with_progress_bar(background: Image.Image, fraction: float) -> Image.Image:
    picture = background.copy()
    width, height = picture.size
    margin = min(width, height) // 12
    left, top, thickness = margin, height - margin, max(4, margin // 4)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, width - margin, top + thickness), outline=_WHITE)
    right = left + int((width - 2 * margin) * fraction)
    draw.rectangle((left, top, right, top + thickness), fill=_WHITE)
    return picture
