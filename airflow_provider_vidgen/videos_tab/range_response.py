# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Send an opened file, or the range of it that a player asks for.

Starlette's ``FileResponse`` does this for paths of the local disk. Here the file may be in any store, and it
has to be the handle whose first bytes were checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: ``bytes=0-99``, ``bytes=100-`` or ``bytes=-100``; several ranges at once may be ignored (RFC 9110, 14.2).
_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)
#: One request to a store; the memory of one player.
_CHUNK_SIZE = 1024**2


class UnsatisfiableRange(Exception):
    """The range begins behind the end of the file."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """
    Return the first byte of a range, and the one behind its last.

    :param header: ``Range`` of the request.
    :param size: of the file, in bytes.
    :return: ``None`` for the whole file: there is no range, or none in a form that is served.
    :raises UnsatisfiableRange: the file has no such bytes.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.group(1, 2)
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return None
    if start >= size or start >= end:
        raise UnsatisfiableRange
    return start, end


class RangeResponse(Response):
    """
    A file, or a range of it; closes the file, also when the browser goes away.

    :param file: readable and seekable; it is read and closed in threads.
    :param size: of the file, in bytes.
    :param etag: of the file, for ``If-Range`` and ``If-None-Match``.
    :param limiter: bounds the number of threads.
    """

    def __init__(
        self,
        file: Any,
        *,
        size: int,
        content_type: str,
        etag: str,
        headers: Mapping[str, str],
        limiter: anyio.CapacityLimiter,
    ) -> None:
        super().__init__(headers={**headers, "Accept-Ranges": "bytes", "ETag": etag}, media_type=content_type)
        del self.headers["content-length"]
        self._file = file
        self._size = size
        self._etag = etag
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await self._respond(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._file.close, limiter=self._limiter)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Headers(scope=scope)
        if request.get("if-none-match") == self._etag:
            return await self._start(send, 304)
        has_changed = request.get("if-range", self._etag) != self._etag
        try:
            found = parse_range(None if has_changed else request.get("range"), self._size)
        except UnsatisfiableRange:
            self.headers["Content-Range"] = f"bytes */{self._size}"
            return await self._start(send, 416)
        start, end = found or (0, self._size)
        if found is not None:
            self.headers["Content-Range"] = f"bytes {start}-{end - 1}/{self._size}"
        self.headers["Content-Length"] = str(end - start)
        if scope["method"] == "HEAD":
            return await self._start(send, 206 if found else 200)
        await send(
            {
                "type": "http.response.start",
                "status": 206 if found else 200,
                "headers": self.raw_headers,
            }
        )
        async with anyio.create_task_group() as tasks:

            async def cancel_when_closed() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when_closed)
            await self._send_bytes(send, start, end)
            tasks.cancel_scope.cancel()

    async def _start(self, send: Send, status: int) -> None:
        """Send the headers, and no body."""
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})

    async def _send_bytes(self, send: Send, start: int, end: int) -> None:
        await anyio.to_thread.run_sync(self._file.seek, start, limiter=self._limiter)
        while start < end:
            count = min(_CHUNK_SIZE, end - start)
            chunk = await anyio.to_thread.run_sync(self._file.read, count, limiter=self._limiter)
            if not chunk:
                # The file has become shorter; the announced length tells the browser that it is incomplete.
                raise OSError("The file ended before its announced length")
            start += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": start < end})
