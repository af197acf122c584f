# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Real videos: the prompt on a coloured ground, with a bar that runs to the end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from airflow_provider_vidgen.simulator.films import Film
from airflow_provider_vidgen.simulator.pictures import tiny_jpeg
from airflow_provider_vidgen.simulator.tiny_mp4 import tiny_mp4

if TYPE_CHECKING:
    from PIL import Image

FPS: Final = 8
#: Muxers write chance and the time into files unless told to be exact.
_FORMS: Final = {
    "mp4": ("mp4", {}),
    "fragmented": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "webm": ("webm", {"fflags": "+bitexact"}),
    "mov": ("mov", {}),
}
_FAST: Final = {
    "libx264": {"preset": "ultrafast", "crf": "30"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "500k"},
}
_THUMBNAIL: Final = 320
_WHITE: Final = (255, 255, 255)


def light(film: Film) -> bytes:
    """Make a file without a picture, as far as that can be done for its form.

    :param film: what it would show.
    """
    match film.form:
        case "mp4":
            name = film.task_id if film.number == 1 else f"{film.task_id}/{film.number}"
            return tiny_mp4(name, film.seconds, film.width, film.height)
        case "jpeg":
            return tiny_jpeg(film.task_id)
    return render(film)


def render(film: Film) -> bytes:
    """Make a playable video, or a picture of its beginning.

    :param film: what it shows.
    """
    ground = _ground(film)
    frames = film.seconds * FPS
    file = io.BytesIO()
    if film.form == "jpeg":
        picture = _with_bar(ground, 1 / frames)
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        picture.save(file, "JPEG")
        return file.getvalue()

    import av
    from av.video.stream import VideoStream

    to_frame: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    form, settings = _FORMS[film.form]
    with av.open(file, "w", format=form, options=settings) as container:
        stream = container.add_stream("libvpx" if form == "webm" else _encoder(), rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        stream.gop_size = FPS * 2
        # One thread gives the same bytes every time, so that an interrupted download can go on.
        stream.options = {"threads": "1", **_FAST.get(stream.codec.name, {})}
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
    which = "" if film.number == 1 else f", {film.number}"
    told = (
        f"{film.vendor}, {film.model}",
        f"{film.seconds} s, {film.width}x{film.height}{which}",
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
