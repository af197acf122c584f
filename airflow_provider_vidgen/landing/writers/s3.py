# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A multipart upload to S3 with several parts in flight; s3fs by itself sends one after the other.

Relies on how s3fs calls S3, beyond its documentation. Verified with: s3fs 2026.9.0.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from airflow_provider_vidgen.landing.upload_options import UploadOptions

_log = logging.getLogger(__name__)

#: S3 takes 10,000 parts and bills each as a request; some compatible stores require parts of equal size.
_PART_SIZE = 8 * 1024**2
#: Part buffers that are filled and sent in turn; this bounds the memory.
_MAX_BUFFERS = 3


def is_s3(storage: Any) -> bool:
    """Whether this fsspec file system is s3fs's."""
    s3fs = sys.modules.get("s3fs")
    return s3fs is not None and isinstance(storage, s3fs.S3FileSystem)


class S3Writer:
    """
    A multipart upload, which S3 shows once it is completed; an object smaller than a part is a single PUT.

    :param storage: an ``s3fs.S3FileSystem``.
    :param path: as the file system takes it.
    :param overwrite: replace an existing object.
    :param options: sent to S3 with the object.
    """

    _upload: dict[str, str] | None
    _buffer: io.BytesIO
    _sent: list[Future[Any]]
    _sent_buffers: deque[io.BytesIO]

    def __init__(self, storage: Any, path: str, *, overwrite: bool, options: UploadOptions) -> None:
        self._storage = storage
        self._options = options.for_s3()
        self._overwrite = overwrite
        self._path = path
        bucket, key, _ = storage.split_path(path)
        self._object = {"Bucket": bucket, "Key": key}
        self._reset()

    def write(self, data: bytes) -> None:
        """
        Take the next bytes; blocks while all buffers are in flight.

        :raises Exception: S3 refused a part.
        """
        rest = memoryview(data)
        while rest:
            taken = self._buffer.write(rest[: _PART_SIZE - self._buffer.tell()])
            rest = rest[taken:]
            if self._buffer.tell() == _PART_SIZE:
                self._send_part()
                self._buffer = self._free_buffer()

    def restart(self) -> None:
        """Drop all bytes so far."""
        self.discard()

    def add_metadata(self, name: str, value: str) -> None:
        """Store a metadata entry with an object smaller than a part; S3 takes none later."""
        self._options["Metadata"][name] = value

    def begin(self) -> None:
        """
        Create the multipart upload, if there is none yet.

        :raises Exception: S3 refused the object, or one of its options.
        """
        if self._upload is None:
            created = self._call("create_multipart_upload", **self._object, **self._checksum_algorithm())
            self._upload = {**self._object, "UploadId": created["UploadId"]}

    def commit(self) -> None:
        """
        Complete the upload, so that the object appears.

        :raises FileExistsError: the name exists, perhaps as this very object: S3 may have completed the
            upload and its response was lost.
        :raises Exception: S3 refused a part or the completion.
        """
        if self._upload is None:
            self._buffer.truncate()
            self._call_if_absent("put_object", **self._object, Body=self._buffer.getvalue())
        else:
            if self._buffer.tell():
                self._buffer.truncate()
                self._send_part()
            parts = [
                _completed_part(number, future.result()) for number, future in enumerate(self._sent, start=1)
            ]
            self._call_if_absent(
                "complete_multipart_upload", **self._upload, MultipartUpload={"Parts": parts}
            )
            self._upload = None
        self._storage.invalidate_cache(self._path)

    def discard(self) -> None:
        """Abort what was not committed."""
        upload, in_flight = self._upload, self._sent
        self._reset()
        if upload is None:
            return
        for future in in_flight:
            future.cancel()
        try:
            self._call("abort_multipart_upload", **upload)
        except Exception as error:
            _log.warning(
                "The incomplete upload of %s could not be aborted (%s)", self._path, type(error).__name__
            )

    def _reset(self) -> None:
        self._upload, self._buffer, self._sent, self._sent_buffers = None, _new_buffer(), [], deque()

    def _send_part(self) -> None:
        self.begin()
        assert self._upload is not None
        self._buffer.seek(0)
        part_number = len(self._sent) + 1
        self._sent.append(self._start(self._upload_part(self._upload, part_number, self._buffer)))
        self._sent_buffers.append(self._buffer)

    def _free_buffer(self) -> io.BytesIO:
        """Return the buffer that was sent first, so that its memory is reused, or a new one."""
        if len(self._sent_buffers) < _MAX_BUFFERS:
            return _new_buffer()
        self._sent[-_MAX_BUFFERS].result()
        buffer = self._sent_buffers.popleft()
        buffer.seek(0)
        return buffer

    async def _upload_part(self, upload: dict[str, str], part_number: int, buffer: io.BytesIO) -> Any:
        # s3fs's own retries would send a file from where the last attempt stopped; botocore's rewind it.
        # Bytes would be safe with both, but the network library would copy them once more.
        client = await self._storage.get_s3(upload["Bucket"])
        return await client.upload_part(
            **self._storage._get_s3_method_kwargs(
                client.upload_part, *self._common_options(), **upload, PartNumber=part_number, Body=buffer
            )
        )

    def _call_if_absent(self, method: str, **arguments: Any) -> None:
        """Call S3 on the condition that the object does not exist yet, unless it may be replaced."""
        condition = {} if self._overwrite else {"IfNoneMatch": "*"}
        try:
            self._call(method, **condition, **arguments)
        except OSError as error:
            code = _error_code(error)
            if code == "PreconditionFailed":
                raise FileExistsError(self._path) from error
            if code != "NotImplemented" or not condition:
                raise
            _log.debug("This S3-compatible store does not support conditional writes: %s", error)
            self._call(method, **arguments)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._start(self._storage._call_s3(method, *self._common_options(), **arguments)).result()

    def _common_options(self) -> tuple[dict[str, Any], ...]:
        """Return the options of every call that takes them, such as encryption."""
        payer = {"RequestPayer": "requester"} if self._storage.requester_pays else {}
        return self._storage.s3_additional_kwargs, self._options, payer

    def _checksum_algorithm(self) -> dict[str, str]:
        """
        Return the algorithm of the checksum that botocore sends with each part, so that S3 stores it.

        Without it S3 computes another checksum of the complete object. boto3 sends it, too.
        """
        if self._storage.s3.meta.config.request_checksum_calculation != "when_supported":
            return {}
        return {"ChecksumAlgorithm": self._storage.s3_additional_kwargs.get("ChecksumAlgorithm", "CRC32")}

    def _start(self, call: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._storage.loop)


def _new_buffer() -> io.BytesIO:
    """Return a buffer allocated at its full size; one that grows would need more memory."""
    return io.BytesIO(bytes(_PART_SIZE))


def _completed_part(number: int, response: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a part in CompleteMultipartUpload."""
    kept = {name: value for name, value in response.items() if name == "ETag" or name.startswith("Checksum")}
    return {"PartNumber": number, **kept}


def _error_code(error: OSError) -> str:
    """Return S3's error code."""
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
