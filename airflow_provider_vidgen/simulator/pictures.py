# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Pictures: how large a reference image is, and a thumbnail of a few bytes."""

from __future__ import annotations

import base64
import io
import struct
from typing import Final

from airflow_provider_vidgen.simulator.extras import can_render

# 16x9 grey pixels, as Pillow writes them.
_GREY: Final = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71"
    "////m8H////6/+b9//j/wAALCAAJABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oA"
    "CAEBAAA/AJwH/9k="
)
# Behind its first segment, which calls it a JPEG, a comment may stand.
_BEGIN: Final = 20


def picture_size(content: bytes) -> str | None:
    """Give width and height of a picture, as in ``600x800``; None where that cannot be told.

    :param content: the file; Pillow reads no more than its head.
    """
    if not can_render():
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            return f"{picture.width}x{picture.height}"
    except Exception:  # Pillow's readers raise whatever a damaged head leads them to
        return None


def tiny_jpeg(comment: str) -> bytes:
    """Give a small grey picture.

    :param comment: written into the file, so that no two are alike.
    """
    said = comment.encode()
    return _GREY[:_BEGIN] + b"\xff\xfe" + struct.pack(">H", len(said) + 2) + said + _GREY[_BEGIN:]
