# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Google Cloud Storage and Azure: fsspec's own upload, which is invisible until it is committed."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_provider_vidgen.landing.upload_options import UploadOptions

_log = logging.getLogger(__name__)

_BLOCK_SIZE = 5 * 1024**2
#: Google's minimum block size.
PROBE_SIZE = 256 * 1024


class FsspecWriter:
    """
    An upload by gcsfs or adlfs.

    :param options: sent to the store with the object.
    :param block_size: bytes per request.
    """

    def __init__(
        self,
        target: ObjectStoragePath,
        *,
        overwrite: bool,
        options: UploadOptions,
        block_size: int = _BLOCK_SIZE,
    ) -> None:
        self._target = target
        self._open_arguments = {
            "mode": "wb" if overwrite else "xb",
            "block_size": block_size,
            **options.for_protocol(target.protocol),
        }
        self._file: Any = None
        self.restart()

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        self._file.write(data)

    def restart(self) -> None:
        """Drop all bytes so far."""
        self.discard()
        # Not ObjectStoragePath.open, which would report each block as lineage, and every upload that is only
        # tried out. A transaction of the file system would include all files that land at the same time.
        self._file = self._target.fs.open(self._target.path, autocommit=False, **self._open_arguments)
        with suppress(ValueError):
            self._target.fs.transaction.files.remove(self._file)

    def add_metadata(self, name: str, value: str) -> None:
        """Store a metadata entry: Azure takes it at the end, Google only before the first block is sent."""
        self._file.metadata = {**self._file.metadata, name: value}

    def commit(self) -> None:
        """Make the object visible."""
        self._file.close()
        self._file.commit()
        self._file = None

    def discard(self) -> None:
        """Drop what was not committed; fsspec would commit it when the file is closed."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.discard()
        except Exception as error:
            _log.warning(
                "The incomplete upload of %s could not be aborted (%s)", self._target, type(error).__name__
            )
        finally:
            file.closed = True
