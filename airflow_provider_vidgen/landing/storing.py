# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Where the bytes go: an object appears under its name whole, or not at all.

Leaving ``with path.open("wb")`` by an exception commits what was written so far, on local files and in object
stores alike. So nothing here is committed but by saying so.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing import parts, renaming
from airflow_provider_vidgen.landing.described import Described
from airflow_provider_vidgen.landing.places import BUCKET_STORES, exists, is_local, make_folder
from airflow_provider_vidgen.landing.renaming import RenamedPart
from airflow_provider_vidgen.landing.s3 import S3Upload, is_s3

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

#: Those whose file systems show nothing before the end, and refuse a name that is taken when the file is
#: opened as "xb". Others take no notice of autocommit=False and do not say so, such as sshfs, ossfs and
#: fsspec's own for memory: they get a hidden name.
_HIDE_UPLOADS = frozenset({"gs", "gcs", "abfs", "abfss", "adl", "az"})
#: Handed to the store at once.
_UPLOAD_PART = 5 * 1024**2
#: The least that Google takes.
_TRIED_WITH = 256 * 1024
#: After each so many bytes the disk is told to begin with them.
_STRETCH = 8 * 1024**2


class Sink(Protocol):
    """Takes the bytes of one file."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes so far."""

    def add_metadata(self, name: str, value: str) -> None:
        """Have the store keep this with the object, too, if it takes that so late."""


@contextmanager
def whole_or_absent(
    target: ObjectStoragePath,
    *,
    overwrite: bool,
    described: Described,
    now: Callable[[], datetime] = utcnow,
) -> Iterator[Sink]:
    """
    Open the target for writing so that it appears under its name only if the block ends well.

    :param described: what the store is told of the object besides its bytes.
    :param now: the clock; tells which parts of others are abandoned.
    :raises TargetExists: somebody else has put a file there in the meantime.
    """
    make_folder(target)
    sink = _place_for(target, overwrite, described, now)
    try:
        yield sink
        if not overwrite and exists(target):  # for the stores that do not look themselves
            raise _taken(target)
        try:
            sink.commit()
        except Exception as error:
            # Whatever the store says of it: Azure misses blocks that the other's commit has swept away.
            if not overwrite and (isinstance(error, FileExistsError) or exists(target)):
                raise _taken(target) from error
            raise
    finally:
        sink.discard()


def _taken(target: ObjectStoragePath) -> TargetExists:
    return TargetExists(f"Another task has put a file at {target} in the meantime")


def try_upload(target: ObjectStoragePath, described: Described) -> None:
    """
    Begin an upload to a store of buckets, and take it back: nothing is shown, and nothing is left.

    :raises Exception: nothing could land there; what the store says of it.
    """
    if is_s3(target.fs):
        begun = S3Upload(target.fs, target.path, overwrite=True, described=described)
        try:
            begun.begin()
        finally:
            begun.discard()
    elif target.protocol in _HIDE_UPLOADS:
        upload = _Upload(target, overwrite=True, described=described, block_size=_TRIED_WITH)
        try:
            upload.write(bytes(_TRIED_WITH))
        finally:
            upload.discard()
    else:
        renaming.try_folder(target.fs, target.parent.path, utcnow())


def _place_for(
    target: ObjectStoragePath, overwrite: bool, described: Described, now: Callable[[], datetime]
) -> _LocalPart | S3Upload | _Upload | RenamedPart:
    if is_local(target.fs):
        return _LocalPart(Path(target.path), overwrite=overwrite, now=now)
    if is_s3(target.fs):
        return S3Upload(target.fs, target.path, overwrite=overwrite, described=described)
    if target.protocol in _HIDE_UPLOADS:
        return _Upload(target, overwrite=overwrite, described=described)
    return RenamedPart(target.fs, target.path, overwrite=overwrite, now=now)


class _LocalPart:
    """
    A file beside the final one: in the same folder, so that one step makes it the final one.

    It is locked while its writer lives. One without a lock that nobody has written to for a while was left by
    a worker that was killed, and the next landing in the same folder removes it.
    """

    def __init__(self, final: Path, *, overwrite: bool, now: Callable[[], datetime]) -> None:
        self._final = final
        self._overwrite = overwrite
        _remove_abandoned(final.parent, now())
        self._path = final.with_name(parts.new_name())
        self._file = self._path.open("xb", buffering=0)
        self._begun = 0
        _lock(self._file)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        written = self._file.tell()
        if written - self._begun >= _STRETCH:
            _move_to_disk(self._file.fileno(), max(0, self._begun - _STRETCH), written)
            self._begun = written

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._begun = 0

    def add_metadata(self, name: str, value: str) -> None:
        """Drop it: a disk has no place for it."""

    def commit(self) -> None:
        # Else the name could outlive a power cut, and the bytes not.
        os.fsync(self._file.fileno())
        self._give_name()
        _flush_folder(self._final.parent)

    def _give_name(self) -> None:
        if not self._overwrite:
            try:
                # A link, unlike a rename, is refused where the name is taken.
                return os.link(self._path, self._final)
            except FileExistsError:
                raise
            except OSError as error:
                _log.debug("%s has no hard links (%s)", self._final.parent, error)
        self._path.replace(self._final)

    def discard(self) -> None:
        """Remove what was not committed."""
        with suppress(OSError):  # such as the disk still being full
            self._file.close()
        self._path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Write a new name to the disk: what is recorded as delivered must outlive a power cut of this worker."""
    with suppress(OSError):  # such as a file system that cannot flush folders
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _move_to_disk(file: int, start: int, end: int) -> None:
    """
    Have the disk begin with some bytes, and the memory freed that holds those it has got already.

    Without waiting for either. So little is left to flush at the end, and a long film passes through the same
    few pages instead of pushing everything else out of memory.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(file, start, end - start, os.POSIX_FADV_DONTNEED)


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another, or a file system that knows no locks
        return False
    return True


def _remove_abandoned(folder: Path, now: datetime) -> None:
    """
    Remove what workers that were killed have left in a folder.

    The lock alone does not tell: some network file systems do not share it between hosts.
    """
    for left in folder.glob(".*.part"):
        # For writing, though nothing is written: NFS locks no others.
        with suppress(OSError), left.open("r+b") as file:
            written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            if parts.is_part(left.name) and parts.is_abandoned(written, now) and _lock(file):
                left.unlink()


class _Upload:
    """An object at Google or Azure: uploaded as fsspec does it, and shown to nobody until it is committed."""

    def __init__(
        self,
        target: ObjectStoragePath,
        *,
        overwrite: bool,
        described: Described,
        block_size: int = _UPLOAD_PART,
    ) -> None:
        self._target = target
        self._how = {
            "mode": "wb" if overwrite else "xb",
            "block_size": block_size,
            **described.for_protocol(target.protocol),
        }
        self._file: Any = None
        self.restart()

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def restart(self) -> None:
        self.discard()
        # The file system's own transaction would be shared by all files that land at the same time.
        self._file = self._target.open(autocommit=False, **self._how)  # type: ignore[no-untyped-call]
        with suppress(ValueError):
            self._target.fs.transaction.files.remove(_raw(self._file))

    def add_metadata(self, name: str, value: str) -> None:
        # Azure is told all of it at the end, Google when the upload begins: of a small file, that is the end.
        raw = _raw(self._file)
        raw.metadata = {**raw.metadata, name: value}

    def commit(self) -> None:
        self._file.close()
        self._file.commit()
        self._file = None

    def discard(self) -> None:
        """Drop what was not committed; fsspec would write it out when the file is closed."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.discard()
        except Exception as error:
            _log.warning("An unfinished upload could not be taken back (%s)", type(error).__name__)
        finally:
            _raw(file).closed = True


def _raw(file: Any) -> Any:
    """Return the file inside Airflow's wrapper, which passes on calls but no assignments."""
    return getattr(file, "_obj", file)


@contextmanager
def compared(target: ObjectStoragePath, *, now: Callable[[], datetime] = utcnow) -> Iterator[Sink]:
    """
    Take bytes that must be those of a file that is there already.

    :param now: the clock; tells which parts of others are abandoned.
    :raises TargetExists: they are other ones.
    """
    if is_local(target.fs):
        _remove_abandoned(Path(target.path).parent, now())
    elif target.protocol not in BUCKET_STORES:
        renaming.remove_abandoned(target.fs, target.parent.path, now())
    with target.fs.open(target.path, "rb") as there:
        sink = _Comparing(target, there)
        yield sink
        sink.end()


class _Comparing:
    def __init__(self, target: ObjectStoragePath, there: Any) -> None:
        self._target = target
        self._there = there

    def write(self, data: bytes) -> None:
        if self._there.read(len(data)) != data:
            raise self._other()

    def restart(self) -> None:
        self._there.seek(0)

    def add_metadata(self, name: str, value: str) -> None:
        """Drop it: the file stays as it is."""

    def end(self) -> None:
        if self._there.read(1):
            raise self._other()

    def _other(self) -> TargetExists:
        return TargetExists(f"There is already another file at {self._target}")
