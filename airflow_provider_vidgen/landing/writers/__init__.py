# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Write an object so that it appears under its name complete, or not at all.

Leaving ``with path.open("wb")`` by an exception commits the bytes written so far, on local files and in
object stores alike. So a writer commits nothing without an explicit :meth:`Writer.commit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from airflow.sdk import ObjectStoragePath

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing.storage import BUCKET_PROTOCOLS, exists, is_local, make_parent_folder
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import local, rename
from airflow_provider_vidgen.landing.writers.fsspec import PROBE_SIZE, FsspecWriter
from airflow_provider_vidgen.landing.writers.local import LocalWriter
from airflow_provider_vidgen.landing.writers.rename import RenameWriter
from airflow_provider_vidgen.landing.writers.s3 import S3Writer, is_s3

#: Protocols whose fsspec file systems show nothing before the commit, and refuse an existing name when the
#: file is opened as "xb". Others silently ignore autocommit=False, such as sshfs, ossfs and fsspec's own for
#: memory: they get a hidden part file.
_ATOMIC_UPLOAD_PROTOCOLS = frozenset({"gs", "gcs", "abfs", "abfss", "adl", "az"})


class Sink(Protocol):
    """Takes the bytes of one file."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Drop all bytes so far."""

    def add_metadata(self, name: str, value: str) -> None:
        """Store a metadata entry with the object, if the storage takes it this late."""


class Writer(Sink, Protocol):
    """A sink that stores its bytes, invisible under the final name until they are committed."""

    def commit(self) -> None:
        """
        Make the object visible under its name.

        :raises Exception: the storage refused, perhaps because the name exists.
        """

    def discard(self) -> None:
        """Remove whatever is not committed."""


@contextmanager
def atomic_writer(
    target: ObjectStoragePath,
    *,
    overwrite: bool,
    options: UploadOptions,
    now: Callable[[], datetime] = utcnow,
) -> Iterator[Sink]:
    """
    Open the target for writing; it appears under its name only if the ``with`` block ends without an error.

    :param options: sent to the store with the object.
    :param now: the clock, which decides whether part files of other workers are abandoned.
    :raises TargetExists: another writer has created the file in the meantime.
    """
    make_parent_folder(target)
    writer = _writer_for(target, overwrite, options, now)
    try:
        yield writer
        if not overwrite and exists(target):  # for storage that does not check by itself
            raise _created_meanwhile(target)
        try:
            writer.commit()
        except Exception as error:
            # Whatever the error: Azure reports missing blocks if another writer's commit has removed them.
            if not overwrite and (isinstance(error, FileExistsError) or exists(target)):
                raise _created_meanwhile(target) from error
            raise
    finally:
        writer.discard()


def _created_meanwhile(target: ObjectStoragePath) -> TargetExists:
    return TargetExists(f"Another task has created {target} in the meantime")


def _writer_for(
    target: ObjectStoragePath, overwrite: bool, options: UploadOptions, now: Callable[[], datetime]
) -> Writer:
    if is_local(target.fs):
        return LocalWriter(Path(target.path), overwrite=overwrite, now=now)
    if is_s3(target.fs):
        return S3Writer(target.fs, target.path, overwrite=overwrite, options=options)
    if target.protocol in _ATOMIC_UPLOAD_PROTOCOLS:
        return FsspecWriter(target, overwrite=overwrite, options=options)
    return RenameWriter(target.fs, target.path, overwrite=overwrite, now=now)


def check_upload(target: ObjectStoragePath, options: UploadOptions) -> None:
    """
    Begin an upload to an object store and abort it; nothing becomes visible, and nothing is left.

    :raises Exception: the store refused it.
    """
    if is_s3(target.fs):
        upload = S3Writer(target.fs, target.path, overwrite=True, options=options)
        try:
            upload.begin()
        finally:
            upload.discard()
    elif target.protocol in _ATOMIC_UPLOAD_PROTOCOLS:
        writer = FsspecWriter(target, overwrite=True, options=options, block_size=PROBE_SIZE)
        try:
            writer.write(bytes(PROBE_SIZE))
        finally:
            writer.discard()
    else:
        rename.check_rename(target.fs, target.parent.path, utcnow())


@contextmanager
def compare_with_existing(
    target: ObjectStoragePath, *, now: Callable[[], datetime] = utcnow
) -> Iterator[Sink]:
    """
    Open a sink that compares its bytes with those of an existing file, and writes nothing.

    :param now: the clock, which decides whether part files of other workers are abandoned.
    :raises TargetExists: the bytes differ.
    """
    if is_local(target.fs):
        local.remove_abandoned(Path(target.path).parent, now())
    elif target.protocol not in BUCKET_PROTOCOLS:
        rename.remove_abandoned(target.fs, target.parent.path, now())
    with target.fs.open(target.path, "rb") as existing:
        sink = _ComparingSink(target, existing)
        yield sink
        sink.finish()


class _ComparingSink:
    def __init__(self, target: ObjectStoragePath, existing: Any) -> None:
        self._target = target
        self._existing = existing

    def write(self, data: bytes) -> None:
        if self._existing.read(len(data)) != data:
            raise self._different()

    def restart(self) -> None:
        self._existing.seek(0)

    def add_metadata(self, name: str, value: str) -> None:
        """Ignore it: the existing object remains as it is."""

    def finish(self) -> None:
        if self._existing.read(1):
            raise self._different()

    def _different(self) -> TargetExists:
        return TargetExists(f"{self._target} already exists with different content")
