# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Video containers: detect the format of a file, and whether the file is complete. No I/O."""

from __future__ import annotations

from enum import Enum


class ContainerFormat(Enum):
    """A container format that counts as a video, with its file extension and content type."""

    MP4 = ("mp4", "video/mp4")
    MOV = ("mov", "video/quicktime")
    WEBM = ("webm", "video/webm")
    MKV = ("mkv", "video/x-matroska")

    def __init__(self, ext: str, content_type: str) -> None:
        self.ext = ext
        self.content_type = content_type
