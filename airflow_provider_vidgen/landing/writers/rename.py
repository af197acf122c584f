# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Storage that shows files while they are written: a hidden part file in the same folder, then a rename.

This applies to SFTP and to every file system that is not known to hide an upload until its end. Relies on how
sshfs keeps its channels, beyond its documentation. Verified with: sshfs 2026.8.0.
"""

from __future__ import annotations

import logging
import posixpath
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from fsspec.asyn import sync  # type: ignore[import-untyped]

from airflow_provider_vidgen.landing.writers import part_files

_log = logging.getLogger(__name__)

#: Bytes per write: each one waits for the server's response.
_WRITE_SIZE = 4 * 1024**2


class RenameWriter:
    """
    A hidden part file in the folder of the final one, renamed when it is complete.

    Part files that killed workers have left in that folder are removed after an hour.

    :param storage: an fsspec file system.
    :param path: the final one, as the file system takes it.
    :param overwrite: replace an existing file.
    :param now: the clock.
    """

    def __init__(self, storage: Any, path: str, *, overwrite: bool, now: Callable[[], datetime]) -> None:
        self._storage = storage
        self._path = path
        self._overwrite = overwrite
        folder = posixpath.dirname(path)
        remove_abandoned(storage, folder, now())
        self._part_path = posixpath.join(folder, part_files.new_name())
        self._file: Any = None
        self._buffer = bytearray()
        self._committed = False
        self.restart()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data
        if len(self._buffer) >= _WRITE_SIZE:
            self._write_buffer()

    def restart(self) -> None:
        """Drop all bytes so far."""
        self._close()
        self._buffer.clear()
        self._file = self._storage.open(self._part_path, "wb")

    def add_metadata(self, name: str, value: str) -> None:
        """Ignore it: files have no metadata."""

    def commit(self) -> None:
        """
        Rename the file to its final name.

        :raises Exception: the storage refused, perhaps because the name exists.
        """
        self._write_buffer()
        if _is_sftp(self._storage):
            self._fsync()
        self._close()
        rename(self._storage, self._part_path, self._path, overwrite=self._overwrite)
        self._committed = True

    def discard(self) -> None:
        """Remove the part file if it was not committed."""
        if self._committed:
            return
        try:
            with suppress(Exception):  # such as a lost connection
                self._close()
            self._storage.rm_file(self._part_path)
        except FileNotFoundError:
            pass
        except Exception as error:
            _log.warning(
                "The incomplete file %s could not be removed (%s)", self._part_path, type(error).__name__
            )

    def _write_buffer(self) -> None:
        if self._buffer:
            self._file.write(bytes(self._buffer))
            self._buffer.clear()

    def _fsync(self) -> None:
        """Flush the file to the server's disk, so that its name cannot survive a power failure without it."""
        from asyncssh.sftp import SFTPOpUnsupported  # installed only with sshfs

        with suppress(SFTPOpUnsupported):
            self._file.fsync()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def check_rename(storage: Any, folder: str, now: datetime) -> None:
    """
    Create a file in a folder, rename it, and remove it.

    :raises NotImplementedError: the storage does not rename files atomically.
    :raises Exception: the storage refused.
    """
    remove_abandoned(storage, folder, now)
    first, second = (posixpath.join(folder, part_files.new_name()) for _ in range(2))
    try:
        with storage.open(first, "wb") as file:
            file.write(b"vidgen")
        rename(storage, first, second, overwrite=False)
        if storage.exists(first) or storage.cat_file(second) != b"vidgen":
            raise NotImplementedError("a renamed file is missing or incomplete")
    finally:
        for path in (first, second):
            with suppress(Exception):
                storage.rm_file(path)


def rename(storage: Any, path: str, final_path: str, *, overwrite: bool) -> None:
    """
    Rename a file; without ``overwrite`` an existing file is kept, where the storage can check that.

    :raises Exception: the storage refused.
    """
    if _is_sftp(storage):
        sync(storage.loop, _rename_on_sftp, storage, path, final_path, overwrite)
        return
    try:
        storage.mv(path, final_path)
    except FileExistsError:
        if not overwrite:
            raise
        storage.rm_file(final_path)
        storage.mv(path, final_path)
    storage.invalidate_cache(posixpath.dirname(final_path))


async def _rename_on_sftp(storage: Any, path: str, final_path: str, overwrite: bool) -> None:
    """Rename by the server's own operation; sshfs's ``mv`` replaces an existing file, or copies."""
    from asyncssh.sftp import SFTPOpUnsupported  # installed only with sshfs

    async with storage._pool.get() as channel:
        if overwrite:
            try:
                await channel.posix_rename(path, final_path)
                return
            except SFTPOpUnsupported:
                if await channel.exists(final_path):
                    await channel.remove(final_path)
        await channel.rename(path, final_path)


def remove_abandoned(storage: Any, folder: str, now: datetime) -> None:
    """Remove part files that killed workers have left in a folder; an error here never fails a landing."""
    try:
        paths = [
            path
            for path in storage.ls(folder, detail=False)
            if part_files.is_part_file(posixpath.basename(path))
        ]
    except Exception as error:
        _log.debug("%s could not be listed (%s)", folder, type(error).__name__)
        return
    for path in paths:
        try:
            modified = storage.modified(path)
            if part_files.is_abandoned(modified if modified.tzinfo else modified.replace(tzinfo=UTC), now):
                storage.rm_file(path)
        except Exception as error:
            _log.debug("The abandoned file %s could not be removed (%s)", path, type(error).__name__)


def _is_sftp(storage: Any) -> bool:
    sshfs = sys.modules.get("sshfs")
    return sshfs is not None and isinstance(storage, sshfs.SSHFileSystem)
