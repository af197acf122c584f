# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Places in storage, reached through Airflow's connections.

The methods of an ``ObjectStoragePath`` itself are not used: where the path names no connection, they ask
another file system than the one attached (seen on Airflow 3.3.2 with universal-pathlib 0.3.10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

#: Of stores that have no folders, and buckets that nobody wants made by a slip of the pen.
BUCKET_STORES = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss"})
_READ = 4 * 1024**2


def place_at(path: str) -> ObjectStoragePath:
    """Return the place that a path names."""
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

    if path.startswith("~/"):
        # Only some of the ways to a local file know this shorthand.
        path = str(Path(path).expanduser())
    place = ObjectStoragePath(path)
    if place.protocol in ("", "file"):
        # Airflow would import the storage of every installed provider, a quarter of a second for S3.
        attach("file", place.conn_id, fs=LocalFileSystem())
    return place


def exists(place: ObjectStoragePath) -> bool:
    """Whether something is there."""
    return bool(place.fs.exists(place.path))


def sha256_of(place: ObjectStoragePath) -> str:
    """Read what is there, and return its checksum."""
    with place.fs.open(place.path, "rb", block_size=_READ) as there:
        return hashlib.file_digest(there, "sha256").hexdigest()


def make_folder(place: ObjectStoragePath) -> None:
    """Make the folder that a file is to be put into, where the storage has folders."""
    if place.protocol not in BUCKET_STORES:
        place.fs.makedirs(place.parent.path, exist_ok=True)


def is_local(storage: AbstractFileSystem) -> bool:
    """Whether this is a disk of the worker."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(storage, LocalFileSystem)


def hold(files: Sequence[Mapping[str, Any]]) -> bool:
    """
    Whether each of some files is at its path with its size and checksum; reads all of them.

    :param files: with ``path``, ``bytes`` and ``sha256``.
    :raises StorageUnreachable: a storage cannot be asked.
    """
    return bool(files) and all(_holds(file.get("path"), file) for file in files)


def _holds(path: Any, told_of_it: Mapping[str, Any]) -> bool:
    if not isinstance(path, str) or not path:
        return False
    try:
        place = place_at(path)
        same_size = place.fs.size(place.path) == told_of_it.get("bytes")
        return same_size and sha256_of(place) == told_of_it.get("sha256")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    except Exception as error:
        raise StorageUnreachable(
            f"Whether {redact(path)} is still there could not be found out",
            words=told(error),
            next_step="Check the storage and its connection; a retry looks again.",
        ) from error


def told(error: Exception) -> str:
    """Return what a storage says of its trouble."""
    return redact(f"{type(error).__name__}: {error}")
