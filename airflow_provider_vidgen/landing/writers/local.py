# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Local files: written to a hidden, locked part file in the same folder, which is then linked or renamed."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from airflow_provider_vidgen.landing.writers import part_files

_log = logging.getLogger(__name__)

#: Bytes between two writeback hints.
_WRITEBACK_INTERVAL = 8 * 1024**2


class LocalWriter:
    """
    A part file in the folder of the final one, so that one atomic step gives it its name.

    It is locked while its writer lives. A part file without a lock that has not been written to for an hour
    was left by a worker that was killed; the next landing in the same folder removes it.
    """

    def __init__(self, path: Path, *, overwrite: bool, now: Callable[[], datetime]) -> None:
        self._path = path
        self._overwrite = overwrite
        remove_abandoned(path.parent, now())
        self._part_path = path.with_name(part_files.new_name())
        self._file = self._part_path.open("xb", buffering=0)
        self._written_back = 0
        _lock(self._file)

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        written = self._file.tell()
        if written - self._written_back >= _WRITEBACK_INTERVAL:
            start = max(0, self._written_back - _WRITEBACK_INTERVAL)
            _start_writeback(self._file.fileno(), start, written)
            self._written_back = written

    def restart(self) -> None:
        """Drop all bytes so far."""
        self._file.seek(0)
        self._file.truncate()
        self._written_back = 0

    def add_metadata(self, name: str, value: str) -> None:
        """Ignore it: local files have no metadata."""

    def commit(self) -> None:
        """
        Give the file its final name.

        :raises FileExistsError: the name exists.
        """
        # Otherwise the name could survive a power failure without the bytes.
        os.fsync(self._file.fileno())
        self._move_to_final_name()
        _fsync_folder(self._path.parent)

    def _move_to_final_name(self) -> None:
        if not self._overwrite:
            try:
                # Unlike a rename, a hard link is refused if the name exists.
                return os.link(self._part_path, self._path)
            except FileExistsError:
                raise
            except OSError as error:
                _log.debug("%s does not support hard links (%s)", self._path.parent, error)
        self._part_path.replace(self._path)

    def discard(self) -> None:
        """Remove the part file."""
        with suppress(OSError):  # such as the disk still being full
            self._file.close()
        self._part_path.unlink(missing_ok=True)


def remove_abandoned(folder: Path, now: datetime) -> None:
    """
    Remove part files that killed workers have left in a folder.

    The lock alone does not prove that the writer is dead: some network file systems do not share it between
    hosts.
    """
    for path in folder.glob(".*.part"):
        # Opened for writing, though nothing is written: NFS locks no other files.
        with suppress(OSError), path.open("r+b") as file:
            modified = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            if part_files.is_part_file(path.name) and part_files.is_abandoned(modified, now) and _lock(file):
                path.unlink()


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked by another process, or a file system without locks
        return False
    return True


def _start_writeback(file: int, start: int, end: int) -> None:
    """
    Start writeback, and drop pages already written from the cache, without waiting for either.

    This leaves little to flush at the end, and keeps a large file from evicting the rest of the page cache.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(file, start, end - start, os.POSIX_FADV_DONTNEED)


def _fsync_folder(folder: Path) -> None:
    """Flush a new name to the disk: a file that is recorded as delivered must survive a power failure."""
    with suppress(OSError):  # such as a file system that cannot flush folders
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
