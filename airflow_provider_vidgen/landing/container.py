# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Is this a whole MP4 file? Told from the bytes as they pass, without keeping them. No I/O."""

from __future__ import annotations

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo

_HEAD = 8
_LARGE_HEAD = 16


class Mp4Check:
    """
    Walks over the boxes an MP4 file consists of, while its bytes pass in pieces of any size.

    A cut inside a box is seen even where the announced length is wrong as well. What stands behind the last
    box is left aside, as players do.
    """

    def __init__(self) -> None:
        self._position = 0
        #: Where the next box begins; ``None`` once it is not known any more.
        self._next: int | None = 0
        self._head = b""
        self._box = ""

    def take(self, piece: bytes) -> None:
        """
        Look at the next bytes.

        :raises NotAVideo: the file does not begin as an MP4 file does.
        """
        start, self._position = self._position, self._position + len(piece)
        while self._next is not None and self._next + len(self._head) < self._position:
            offset = max(0, self._next + len(self._head) - start)
            self._head += piece[offset : offset + _LARGE_HEAD - len(self._head)]
            if not self._read_head():
                return

    def end(self) -> None:
        """
        Judge the end of the file.

        :raises NotAVideo: there is no beginning of an MP4 file.
        :raises DownloadFailed: the file ends inside a box.
        """
        if not self._position:
            raise NotAVideo("The link gave an empty file")
        if not self._box:
            raise NotAVideo("What the link gave does not begin as an MP4 file does")
        if self._next is not None and self._next > self._position:
            raise DownloadFailed(f"The file ends inside its {self._box} box")

    def _read_head(self) -> bool:
        """Find the end of the box whose head is complete; ``False`` if there is nothing more to look for."""
        if len(self._head) < _HEAD:
            return False
        size, kind = int.from_bytes(self._head[:4]), self._head[4:8]
        if not self._box and kind != b"ftyp":
            raise NotAVideo("What the link gave does not begin as an MP4 file does")
        if size == 1:
            if len(self._head) < _LARGE_HEAD:
                return False
            size = int.from_bytes(self._head[8:])
        assert self._next is not None
        if size < _HEAD or not all(0x20 <= byte < 0x7F for byte in kind):
            # A size of 0 means "to the end of the file"; anything else is not a box.
            self._next = None
            self._box = self._box or "ftyp"
            return False
        self._next, self._head, self._box = self._next + size, b"", kind.decode()
        return True
