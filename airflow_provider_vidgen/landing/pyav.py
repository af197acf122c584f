# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Open a landed file with PyAV, where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.landing.containers.matroska import EBML

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from av.container import InputContainer

_READ_SIZE = 1024 * 1024
#: Part of an error message.
NEEDS_PYAV = "needs PyAV: pip install airflow-provider-vidgen[verify]"


class StorageReadError(Exception):
    """The storage did not return a landed file."""


def loggable(error: Exception) -> str:
    """Return what may be logged of an error: its text only where it is known to hold no secret."""
    if isinstance(error, VidgenError):
        return error.summary
    return str(error) if isinstance(error, StorageReadError) else type(error).__name__


def is_pyav_installed() -> bool:
    """Whether PyAV is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def open_video(target: ObjectStoragePath) -> Iterator[tuple[InputContainer | None, Any]]:
    """
    Open a landed file.

    :return: PyAV's container, ``None`` if the file cannot be played, and the file itself.
    :raises StorageReadError: the storage did not return the file, so nothing is known about it.
    """
    import av

    file = _StorageFile(lambda: target.fs.open(target.path, "rb", block_size=_READ_SIZE))
    try:
        head = file.read(len(EBML))
        file.seek(0)
        try:
            # Without an explicit format, FFmpeg would also open playlists, and fetch the URLs in them.
            container = av.open(file, "r", format="matroska" if head == EBML else "mp4")
        except av.FFmpegError:
            yield None, file
        else:
            with container:
                yield container, file
    finally:
        file.close()
        if file.error is not None:
            raise StorageReadError(type(file.error).__name__) from None


class _StorageFile:
    """
    A file in storage that appears to end where reading it fails.

    PyAV would print the storage's exception, with its text, and report the video as damaged.
    """

    def __init__(self, open_file: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self._file: Any = None
        self._file = self._call(open_file, None)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._call(lambda: self._file.read(size), b""))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._call(lambda: self._file.seek(offset, whence), 0))

    def tell(self) -> int:
        return int(self._call(lambda: self._file.tell(), 0))

    def close(self) -> None:
        self._call(lambda: self._file.close(), None)

    def _call(self, method: Callable[[], Any], default: Any) -> Any:
        if self.error is not None:
            return default
        try:
            return method()
        except Exception as error:
            self.error = error
            return default
