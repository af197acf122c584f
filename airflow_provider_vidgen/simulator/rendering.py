# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Real videos: the prompt on a coloured ground, with a bar that runs to the end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from airflow_provider_vidgen.simulator.films import Film

if TYPE_CHECKING:
    from PIL import Image

FPS: Final = 8
_WHITE: Final = (255, 255, 255)


def can_render() -> bool:
    """Say whether the extra ``simulator`` is installed."""
    return find_spec("av") is not None and find_spec("PIL") is not None


def render(film: Film) -> bytes:
    """Make a playable MP4.

    :param film: what it shows.
    """
    import av
    from av.video.stream import VideoStream

    to_frame: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    ground = _ground(film)
    frames = film.seconds * FPS
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(_encoder(), rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        stream.gop_size = FPS * 2
        if stream.codec.name == "libx264":
            # One thread gives the same bytes every time, so that an interrupted download can go on.
            stream.options = {"preset": "ultrafast", "crf": "30", "threads": "1"}
        for number in range(frames):
            picture = _with_bar(ground, (number + 1) / frames)
            container.mux(stream.encode(to_frame(picture)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _encoder() -> str:
    import av.codec

    return "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"


def _ground(film: Film) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    hue = hashlib.sha256(film.task_id.encode()).digest()[0] * 360 // 256
    light = Image.linear_gradient("L").resize((film.width, film.height))
    picture = ImageOps.colorize(light, f"hsl({hue}, 55%, 38%)", f"hsl({hue}, 60%, 14%)")
    draw = ImageDraw.Draw(picture)
    side = min(film.width, film.height)
    margin = side // 12
    large, small = ImageFont.load_default(side // 16), ImageFont.load_default(side // 28)
    wrapped = _wrap(film.prompt, lambda text: draw.textlength(text, large) <= film.width - 2 * margin)
    draw.multiline_text((margin, margin), "\n".join(wrapped[:8]), _WHITE, large, spacing=side // 40)
    told = (
        f"{film.vendor}, {film.model}",
        f"{film.seconds} s, {film.width}x{film.height}",
        film.task_id,
    )
    draw.multiline_text(
        (margin, film.height - 4 * margin), "\n".join(told), _WHITE, small, spacing=side // 60
    )
    return picture


def _wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    lines = [""]
    for word in text.split():
        # Chinese has no spaces between its words, so a word can be longer than a line.
        pieces = [f" {word}"] if fits(word) else [" ", *word]
        for piece in pieces:
            longer = (lines[-1] + piece).lstrip()
            if fits(longer):
                lines[-1] = longer
            else:
                lines.append(piece.lstrip())
    return lines


def _with_bar(ground: Image.Image, share: float) -> Image.Image:
    from PIL import ImageDraw

    picture = ground.copy()
    width, height = picture.size
    margin = min(width, height) // 12
    left, top, thick = margin, height - margin, max(4, margin // 4)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, width - margin, top + thick), outline=_WHITE)
    draw.rectangle((left, top, left + int((width - 2 * margin) * share), top + thick), fill=_WHITE)
    return picture
