# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Errors of storage: classify and describe them, and convert them to ``StorageError``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from airflow_provider_vidgen.errors import StorageError, VidgenError
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_vidgen.landing.writers import Sink

#: S3 answers 403 to an expired token, too, which a later try may replace.
_TEMPORARY_S3_CODES = frozenset({"ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"})
#: SFTP's status code SSH_FX_PERMISSION_DENIED.
_SFTP_PERMISSION_DENIED = 3


def is_forbidden(error: BaseException) -> bool:
    """Whether the storage refused this account the permission."""
    if token_has_expired(error):
        return False
    status = http_status_of(error)
    if status is not None:
        return status == 403
    for cause in _chain(error):
        if isinstance(cause, PermissionError) or getattr(cause, "code", None) == _SFTP_PERMISSION_DENIED:
            return True
        # gcsfs's form of a 403.
        if isinstance(cause, OSError) and str(cause).startswith("Forbidden: "):
            return True
    return False


def token_has_expired(error: BaseException) -> bool:
    """Whether S3 refused an expired token or a skewed clock: a later try may have a valid one."""
    return bool(_TEMPORARY_S3_CODES & {_s3_code(cause) for cause in _chain(error)})


def http_status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the storage's response, if the error has it."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping):  # botocore's
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for status in (response, getattr(cause, "status_code", None), getattr(cause, "code", None)):
            if isinstance(status, int) and 100 <= status < 600:
                return status
    return None


def describe(error: Exception) -> str:
    """Return a storage's error, redacted, on one line."""
    return redact(" ".join(f"{type(error).__name__}: {error}".split()))


@contextmanager
def as_storage_error(target: ObjectStoragePath) -> Iterator[None]:
    """
    Convert errors of the ``with`` block, which must call nothing but the storage.

    :raises StorageError: the storage raised an error.
    """
    try:
        yield
    except VidgenError:
        raise
    except Exception as error:
        raise StorageError(f"{target} could not be stored", vendor_message=describe(error)) from error


@contextmanager
def sink_errors_as_storage_errors(
    target: ObjectStoragePath, context: AbstractContextManager[Sink]
) -> Iterator[Sink]:
    """
    Open a sink whose own errors become ``StorageError``, while those of the ``with`` block stay as they are.

    :raises StorageError: the storage raised an error.
    """
    with as_storage_error(target):
        sink = context.__enter__()
    try:
        yield _ConvertingSink(target, sink)
    except BaseException:
        with as_storage_error(target):
            suppressed = context.__exit__(*sys.exc_info())
        if not suppressed:
            raise
    else:
        with as_storage_error(target):
            context.__exit__(None, None, None)


class _ConvertingSink:
    def __init__(self, target: ObjectStoragePath, sink: Sink) -> None:
        self._target = target
        self._sink = sink

    def write(self, data: bytes) -> None:
        with as_storage_error(self._target):
            self._sink.write(data)

    def restart(self) -> None:
        with as_storage_error(self._target):
            self._sink.restart()

    def add_metadata(self, name: str, value: str) -> None:
        with as_storage_error(self._target):
            self._sink.add_metadata(name, value)


def _s3_code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
