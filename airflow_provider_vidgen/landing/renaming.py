# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Files on storage that shows what is being written: under a hidden name beside the final one, then renamed.

That is SFTP, and every file system that is not known to hide an upload until its end. Leans on how sshfs
keeps its channels, beyond what it documents. Seen on: sshfs 2026.8.0.
"""

from __future__ import annotations

import logging
import posixpath
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airflow_provider_vidgen.landing import parts

_log = logging.getLogger(__name__)

#: Written at once: each write waits for the server's answer.
_STRETCH = 4 * 1024**2


class RenamedPart:
    """
    A file that grows under a hidden name in the folder of the final one, and is renamed when it is whole.

    What killed workers have left in that folder is removed, once nobody has written to it for a while.

    :param storage: an fsspec file system.
    :param path: the final one, as that takes it.
    :param overwrite: replace another file of that name.
    :param now: the clock.
    """

    def __init__(self, storage: Any, path: str, *, overwrite: bool, now: Callable[[], datetime]) -> None:
        self._storage = storage
        self._final = path
        self._overwrite = overwrite
        folder = posixpath.dirname(path)
        remove_abandoned(storage, folder, now())
        self._path = posixpath.join(folder, parts.new_name())
        self._file: Any = None
        self._waiting = bytearray()
        self._committed = False
        self.restart()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._waiting += data
        if len(self._waiting) >= _STRETCH:
            self._send()

    def restart(self) -> None:
        """Forget all bytes so far."""
        self._close()
        self._waiting.clear()
        self._file = self._storage.open(self._path, "wb")

    def add_metadata(self, name: str, value: str) -> None:
        """Drop it: files have no place for it."""

    def commit(self) -> None:
        """
        Have the file appear under its name.

        :raises Exception: it could not be renamed, perhaps because the name is taken.
        """
        self._send()
        if _is_sftp(self._storage):
            self._flush()
        self._close()
        rename(self._storage, self._path, self._final, overwrite=self._overwrite)
        self._committed = True

    def discard(self) -> None:
        """Remove what was not committed."""
        if self._committed:
            return
        try:
            with suppress(Exception):  # such as a connection that is gone
                self._close()
            self._storage.rm_file(self._path)
        except FileNotFoundError:
            pass
        except Exception as error:
            _log.warning("An unfinished file could not be removed (%s)", type(error).__name__)

    def _send(self) -> None:
        if self._waiting:
            self._file.write(bytes(self._waiting))
            self._waiting.clear()

    def _flush(self) -> None:
        """Have the server write the bytes to its disk: else the name could outlive a power cut, they not."""
        from asyncssh.sftp import SFTPOpUnsupported

        with suppress(SFTPOpUnsupported):
            self._file.fsync()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def try_folder(storage: Any, folder: str, now: datetime) -> None:
    """
    Put a file into a folder, rename it, and remove it.

    :raises Exception: nothing could land there; what the storage says of it.
    """
    remove_abandoned(storage, folder, now)
    first, second = (posixpath.join(folder, parts.new_name()) for _ in range(2))
    try:
        with storage.open(first, "wb") as file:
            file.write(b"vidgen")
        rename(storage, first, second, overwrite=False)
        if storage.exists(first) or storage.cat_file(second) != b"vidgen":
            raise NotImplementedError("a file that was renamed is not there, or not whole")
    finally:
        for path in (first, second):
            with suppress(Exception):
                storage.rm_file(path)


def rename(storage: Any, path: str, final: str, *, overwrite: bool) -> None:
    """
    Rename a file; a name that is taken is refused where the storage can do that, unless it is to be replaced.

    :raises Exception: it could not be done.
    """
    if _is_sftp(storage):
        from fsspec.asyn import sync  # type: ignore[import-untyped]

        sync(storage.loop, _rename_on_sftp, storage, path, final, overwrite)
        return
    try:
        storage.mv(path, final)
    except FileExistsError:
        if not overwrite:
            raise
        storage.rm_file(final)
        storage.mv(path, final)
    storage.invalidate_cache(posixpath.dirname(final))


async def _rename_on_sftp(storage: Any, path: str, final: str, overwrite: bool) -> None:
    """Rename as the server itself does; sshfs's own way replaces a file that is there, or copies."""
    from asyncssh.sftp import SFTPOpUnsupported

    async with storage._pool.get() as channel:
        if overwrite:
            try:
                await channel.posix_rename(path, final)
                return
            except SFTPOpUnsupported:
                if await channel.exists(final):
                    await channel.remove(final)
        await channel.rename(path, final)


def remove_abandoned(storage: Any, folder: str, now: datetime) -> None:
    """Remove what workers that were killed have left in a folder. Nothing here fails a landing."""
    try:
        names = [
            found for found in storage.ls(folder, detail=False) if parts.is_part(posixpath.basename(found))
        ]
    except Exception as error:
        _log.debug("%s could not be looked through (%s)", folder, type(error).__name__)
        return
    for name in names:
        try:
            written = storage.modified(name)
            if parts.is_abandoned(written if written.tzinfo else written.replace(tzinfo=UTC), now):
                storage.rm_file(name)
        except Exception as error:
            _log.debug("What is left at %s stays (%s)", name, type(error).__name__)


def _is_sftp(storage: Any) -> bool:
    sshfs = sys.modules.get("sshfs")
    return sshfs is not None and isinstance(storage, sshfs.SSHFileSystem)
