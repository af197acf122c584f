# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Objects in storage, through fsspec and Airflow's connections.

The methods of ``ObjectStoragePath`` itself are not used: where the path names no connection, they use another
file system than the attached one (seen on Airflow 3.3.2 with universal-pathlib 0.3.10).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing.storage_errors import describe, is_forbidden
from airflow_provider_vidgen.redaction import redact

_log = logging.getLogger(__name__)

#: Object stores: they have no folders, and a bucket must not be created because of a typing error.
BUCKET_PROTOCOLS = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss"})
_READ_SIZE = 4 * 1024**2


def storage_path(path: str) -> ObjectStoragePath:
    """Return a path in storage, with its file system attached."""
    if path.startswith("~/"):
        # Only some of fsspec's functions for local files expand this.
        path = str(Path(path).expanduser())
    target = ObjectStoragePath(path)
    if target.protocol in ("", "file"):
        # Airflow would import the file systems of every installed provider, 0.25 s for S3's.
        attach("file", target.conn_id, fs=LocalFileSystem())
    return target


def is_local(storage: AbstractFileSystem) -> bool:
    """Whether this is a file system of the worker."""
    return isinstance(storage, LocalFileSystem)


def exists(target: ObjectStoragePath) -> bool:
    """
    Whether a file exists; ``False`` where the account may not check that.

    S3 and Google answer 403 for a missing object if the account may write but not list.
    """
    try:
        return bool(target.fs.exists(target.path))
    except Exception as error:
        if not is_forbidden(error):
            raise
        _log.debug("This account may not check whether %s exists", target)
        return False


def has_content(target: ObjectStoragePath, sha256: str) -> bool:
    """Read a file, and return whether it has this checksum; ``False`` where the account may not read it."""
    try:
        return sha256_of(target) == sha256
    except Exception as error:
        if not is_forbidden(error):
            raise
        _log.debug("This account may not read %s", target)
        return False


def sha256_of(target: ObjectStoragePath) -> str:
    """Read a file, and return its checksum."""
    digest = hashlib.sha256()
    # Not hashlib.file_digest: sshfs's files have no readinto.
    with target.fs.open(target.path, "rb", block_size=_READ_SIZE) as file:
        while chunk := file.read(_READ_SIZE):
            digest.update(chunk)
    return digest.hexdigest()


def server_of(target: ObjectStoragePath) -> str:
    """Return the server that a path does not name: Azure's account, or a host, or empty text."""
    server = getattr(target.fs, "account_name", None) or target.fs.storage_options.get("host")
    return server if isinstance(server, str) else ""


def make_parent_folder(target: ObjectStoragePath) -> None:
    """Create the folder of a file, where the storage has folders."""
    if target.protocol not in BUCKET_PROTOCOLS:
        target.fs.makedirs(target.parent.path, exist_ok=True)


def files_exist(manifests: Sequence[Mapping[str, Any]]) -> bool:
    """
    Whether each landed file still exists with its size and checksum; reads all of them.

    :param manifests: with ``path``, ``bytes`` and ``sha256``.
    :raises StorageUnreachable: a storage did not answer.
    """
    return bool(manifests) and all(_file_exists(manifest.get("path"), manifest) for manifest in manifests)


def _file_exists(path: Any, manifest: Mapping[str, Any]) -> bool:
    if not isinstance(path, str) or not path:
        return False
    try:
        target = storage_path(path)
        same_size = target.fs.size(target.path) == manifest.get("bytes")
        return same_size and sha256_of(target) == manifest.get("sha256")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    except Exception as error:
        raise StorageUnreachable(
            f"Whether the landed file {redact(path)} still exists could not be checked",
            vendor_message=describe(error),
            next_step="Check the storage and its connection; a retry checks again.",
        ) from error
