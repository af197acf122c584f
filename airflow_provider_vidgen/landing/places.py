# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Places in storage, reached through Airflow's connections.

The methods of an ``ObjectStoragePath`` itself are not used: where the path names no connection, they ask
another file system than the one attached (seen on Airflow 3.3.2 with universal-pathlib 0.3.10).
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from airflow_provider_vidgen.errors import InvalidRequest, Problem, StorageUnreachable
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

#: Of stores that have no folders, and buckets that nobody wants made by a slip of the pen.
_BUCKET_STORES = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss"})
_READ = 4 * 1024**2


def place_at(path: str) -> ObjectStoragePath:
    """Return the place that a path names."""
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

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
    if place.protocol not in _BUCKET_STORES:
        place.fs.makedirs(place.parent.path, exist_ok=True)


def check(output_path: str, *, overwrite: bool) -> None:
    """
    Look at a place as far as it is known before there is a job.

    :param output_path: with fields still to be filled in.
    :raises InvalidRequest: there is no such storage or bucket, or the path is fixed, occupied, and may not be
        overwritten.
    :raises StorageUnreachable: it cannot be looked at.
    """
    try:
        problem = _problem_with(output_path, overwrite)
    except Exception as error:
        raise StorageUnreachable(
            f"The storage of {redact(output_path)} could not be looked at", words=told(error)
        ) from error
    if problem:
        refused = Problem(field="output_path", value=redact(output_path), allowed=problem)
        raise InvalidRequest("The video could not be landed", [refused])


def told(error: Exception) -> str:
    """Return what a storage says of its trouble."""
    return redact(f"{type(error).__name__}: {error}")


def _problem_with(output_path: str, overwrite: bool) -> str:
    try:
        place = place_at(output_path)
        storage = place.fs
    except (ValueError, ImportError) as error:
        return f"must be in storage that is installed and set up ({told(error)})"
    known, field, _ = place.path.partition("{")
    fixed = not field and not output_path.endswith("/")
    if field:
        known = known.rpartition("/")[0]
    if not known:
        return ""
    if storage.exists(known):
        return "must be free: there is already a file" if fixed and not overwrite else ""
    bucket = known.partition("/")[0]
    if place.protocol in _BUCKET_STORES and not _may_exist(storage, bucket):
        return f"there is no bucket {bucket!r}"
    return ""


def _may_exist(storage: AbstractFileSystem, bucket: str) -> bool:
    try:
        storage.info(bucket)
    except FileNotFoundError:
        return False
    except Exception as error:  # not everybody who may write may look at the bucket itself
        _log.debug("The bucket %s could not be looked at (%s)", bucket, type(error).__name__)
    return True
