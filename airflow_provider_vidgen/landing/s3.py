# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A multipart upload to S3 with several parts on their way at once; s3fs by itself sends one after the other.

Leans on how s3fs calls S3, beyond what it documents. Seen on: s3fs 2026.9.0.
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

from airflow_provider_vidgen.landing.described import Described

_log = logging.getLogger(__name__)

#: S3 takes 10,000 of them and counts each as a request; some other stores want them all of one size.
_PART = 8 * 1024**2
#: Filled and sent in turn; this bounds the memory.
_PARTS = 3


def is_s3(storage: Any) -> bool:
    """Whether this fsspec file system is s3fs's."""
    s3fs = sys.modules.get("s3fs")
    return s3fs is not None and isinstance(storage, s3fs.S3FileSystem)


class S3Upload:
    """
    An object that S3 shows to nobody until its parts are put together.

    :param storage: an ``s3fs.S3FileSystem``.
    :param path: as that takes it.
    :param overwrite: replace another object of that name.
    :param described: what S3 is told of the object besides its bytes.
    """

    _upload: dict[str, str] | None
    _part: io.BytesIO
    _sent: list[Future[Any]]
    _full: deque[io.BytesIO]

    def __init__(self, storage: Any, path: str, *, overwrite: bool, described: Described) -> None:
        self._storage = storage
        self._described = described.for_s3()
        self._overwrite = overwrite
        self._path = path
        bucket, key, _ = storage.split_path(path)
        self._object = {"Bucket": bucket, "Key": key}
        self._forget()

    def write(self, data: bytes) -> None:
        """
        Take the next bytes; waits while as many parts are on their way as may be.

        :raises Exception: a part was not taken.
        """
        rest = memoryview(data)
        while rest:
            taken = self._part.write(rest[: _PART - self._part.tell()])
            rest = rest[taken:]
            if self._part.tell() == _PART:
                self._send_part()
                self._part = self._empty_part()

    def restart(self) -> None:
        """Forget all bytes so far."""
        self.discard()

    def add_metadata(self, name: str, value: str) -> None:
        """Keep it with an object of less than a part; S3 takes it only when an upload begins."""
        self._described["Metadata"][name] = value

    def begin(self) -> None:
        """
        Have S3 expect parts, if it does not yet.

        :raises Exception: S3 would not take the object, or not with what it is told of it.
        """
        if self._upload is None:
            begun = self._call("create_multipart_upload", **self._object, **self._checksum())
            self._upload = {**self._object, "UploadId": begun["UploadId"]}

    def commit(self) -> None:
        """
        Put the parts together: the object appears.

        :raises FileExistsError: the name is taken, perhaps by this very object: S3 may have put it there and
            its answer been lost.
        :raises Exception: a part, or all of them, were not taken.
        """
        if self._upload is None:
            self._part.truncate()
            self._show("put_object", **self._object, Body=self._part.getvalue())
        else:
            if self._part.tell():
                self._part.truncate()
                self._send_part()
            parts = [_taken(number, sent.result()) for number, sent in enumerate(self._sent, start=1)]
            self._show("complete_multipart_upload", **self._upload, MultipartUpload={"Parts": parts})
            self._upload = None
        self._storage.invalidate_cache(self._path)

    def discard(self) -> None:
        """Drop what was not committed."""
        upload, on_their_way = self._upload, self._sent
        self._forget()
        if upload is None:
            return
        for sent in on_their_way:
            sent.cancel()
        try:
            self._call("abort_multipart_upload", **upload)
        except Exception as error:
            _log.warning("An unfinished upload could not be taken back (%s)", type(error).__name__)

    def _forget(self) -> None:
        self._upload, self._part, self._sent, self._full = None, _new_part(), [], deque()

    def _send_part(self) -> None:
        self.begin()
        assert self._upload is not None
        self._part.seek(0)
        self._sent.append(self._begin(self._upload_part(self._upload, len(self._sent) + 1, self._part)))
        self._full.append(self._part)

    def _empty_part(self) -> io.BytesIO:
        """Return the part that was sent first, so that its memory is used again, or a new one."""
        if len(self._full) < _PARTS:
            return _new_part()
        self._sent[-_PARTS].result()
        part = self._full.popleft()
        part.seek(0)
        return part

    async def _upload_part(self, upload: dict[str, str], number: int, part: io.BytesIO) -> Any:
        # s3fs's own way of repeating a call would send a file from where the last try has left it; botocore
        # rewinds it. Bytes would be safe with both, and copied once more by the network library.
        client = await self._storage.get_s3(upload["Bucket"])
        return await client.upload_part(
            **self._storage._get_s3_method_kwargs(
                client.upload_part, *self._options(), **upload, PartNumber=number, Body=part
            )
        )

    def _show(self, method: str, **arguments: Any) -> None:
        """Have the object appear, where the name may not be taken under that condition."""
        condition = {} if self._overwrite else {"IfNoneMatch": "*"}
        try:
            self._call(method, **condition, **arguments)
        except OSError as error:
            code = _code(error)
            if code == "PreconditionFailed":
                raise FileExistsError(self._path) from error
            if code != "NotImplemented" or not condition:
                raise
            _log.debug("This S3 knows no conditions: %s", error)
            self._call(method, **arguments)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._begin(self._storage._call_s3(method, *self._options(), **arguments)).result()

    def _options(self) -> tuple[dict[str, Any], ...]:
        """Return what goes with every call that takes it, such as encryption."""
        payer = {"RequestPayer": "requester"} if self._storage.requester_pays else {}
        return self._storage.s3_additional_kwargs, self._described, payer

    def _checksum(self) -> dict[str, str]:
        """
        Return the kind of checksum that botocore sends with each part, for S3 to keep it with the object.

        Unsaid, S3 works out another one of the whole. boto3's own uploads say it, too.
        """
        if self._storage.s3.meta.config.request_checksum_calculation != "when_supported":
            return {}
        return {"ChecksumAlgorithm": self._storage.s3_additional_kwargs.get("ChecksumAlgorithm", "CRC32")}

    def _begin(self, call: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._storage.loop)


def _new_part() -> io.BytesIO:
    """Return a part with all the memory that it will need; one that grows would need more."""
    return io.BytesIO(bytes(_PART))


def _taken(number: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what S3 wants to hear of a part that it took, when they are put together."""
    known = {name: value for name, value in answer.items() if name == "ETag" or name.startswith("Checksum")}
    return {"PartNumber": number, **known}


def _code(error: OSError) -> str:
    """Return the code that S3 has given its answer."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", {})
    return str(answer.get("Error", {}).get("Code", ""))
