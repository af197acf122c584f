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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

#: Of stores that have no folders, and buckets that nobody wants made by a slip of the pen.
BUCKET_STORES = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss"})
_READ = 4 * 1024**2
#: S3 says 403 of a token whose time has passed, too; that is no rule about who may do what.
_NOT_FOR_EVER = frozenset({"ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"})
#: SFTP's code of "permission denied".
_SFTP_DENIED = 3


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
    """
    Whether something is there, as far as this account may know.

    S3 and Google say 403 of what is not there to an account that may write and not list.
    """
    try:
        return bool(place.fs.exists(place.path))
    except Exception as error:
        if not is_forbidden(error):
            raise
        _log.debug("Whether something is at %s may not be known by this account", place)
        return False


def has_content(place: ObjectStoragePath, sha256: str) -> bool:
    """Read what is there, and tell whether it has this checksum, as far as this account may know."""
    try:
        return sha256_of(place) == sha256
    except Exception as error:
        if not is_forbidden(error):
            raise
        _log.debug("What is at %s may not be read by this account", place)
        return False


def is_forbidden(error: BaseException) -> bool:
    """Whether a storage says that this account may not do this."""
    if token_has_expired(error):
        return False
    status = status_of(error)
    if status is not None:
        return status == 403
    for each in _chain(error):
        if isinstance(each, PermissionError) or getattr(each, "code", None) == _SFTP_DENIED:
            return True
        # As gcsfs tells it.
        if isinstance(each, OSError) and str(each).startswith("Forbidden: "):
            return True
    return False


def token_has_expired(error: BaseException) -> bool:
    """Whether S3 says that the account's token, or its clock, is behind: another try may have a new one."""
    return bool(_NOT_FOR_EVER & {_s3_code(each) for each in _chain(error)})


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a store has answered with, where the error tells it."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # botocore's
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for found in (response, getattr(each, "status_code", None), getattr(each, "code", None)):
            if isinstance(found, int) and 100 <= found < 600:
                return found
    return None


def _s3_code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def sha256_of(place: ObjectStoragePath) -> str:
    """Read what is there, and return its checksum."""
    digest = hashlib.sha256()
    # Not file_digest: sshfs's files have no readinto.
    with place.fs.open(place.path, "rb", block_size=_READ) as there:
        while piece := there.read(_READ):
            digest.update(piece)
    return digest.hexdigest()


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
            vendor_message=told(error),
            next_step="Check the storage and its connection; a retry looks again.",
        ) from error


def told(error: Exception) -> str:
    """Return what a storage says of its trouble."""
    return redact(" ".join(f"{type(error).__name__}: {error}".split()))
