# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A landed file as PyAV sees it, where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.landing.matroska import EBML

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from av.container import InputContainer

_READ = 1024 * 1024


class Unreadable(Exception):
    """The storage does not give a file back just now."""


def told_of(error: Exception) -> str:
    """Return what may be logged of an error with a landed file, whose words may be anything."""
    if isinstance(error, VidgenError):
        return error.summary
    return str(error) if isinstance(error, Unreadable) else type(error).__name__


def can_play() -> bool:
    """Whether PyAV is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def opened(target: ObjectStoragePath) -> Iterator[tuple[InputContainer | None, Any]]:
    """
    Open a landed file with PyAV.

    :return: what PyAV sees, ``None`` if the file does not play, and the file itself.
    :raises Unreadable: the storage does not give the file back; nothing else is known then.
    """
    import av

    file = _Reader(lambda: target.fs.open(target.path, "rb", block_size=_READ))
    try:
        head = file.read(len(EBML))
        file.seek(0)
        try:
            # Without a format named, FFmpeg would also take playlists, and fetch what those name.
            container = av.open(file, "r", format="matroska" if head == EBML else "mp4")
        except av.FFmpegError:
            yield None, file
        else:
            with container:
                yield container, file
    finally:
        file.close()
        if file.error is not None:
            raise Unreadable(type(file.error).__name__) from None


class _Reader:
    """
    A file in a storage that ends where it cannot be read.

    What a storage raises would be printed by PyAV, with all its words, and taken for a damage of the film.
    """

    def __init__(self, open_file: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self._file: Any = None
        self._file = self._tried(open_file, None)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._tried(lambda: self._file.read(size), b""))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._tried(lambda: self._file.seek(offset, whence), 0))

    def tell(self) -> int:
        return int(self._tried(lambda: self._file.tell(), 0))

    def close(self) -> None:
        self._tried(lambda: self._file.close(), None)

    def _tried(self, call: Callable[[], Any], otherwise: Any) -> Any:
        if self.error is not None:
            return otherwise
        try:
            return call()
        except Exception as error:
            self.error = error
            return otherwise
