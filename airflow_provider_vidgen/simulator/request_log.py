# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The request log: every request to a vendor or the CDN, byte for byte, without API keys."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from aiohttp import web

_MAX_REQUESTS: Final = 20_000


@dataclass
class LoggedRequest:
    """One request to a vendor's API or to the CDN.

    :param seq: number of the request, from 1.
    :param host: ``api`` or ``cdn``.
    :param authorization: ``none``, ``good`` or ``bad``; the value itself is not stored.
    :param status: HTTP status of the response; None when the connection was closed without one.
    """

    seq: int
    host: str
    vendor: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    authorization: str
    body: str
    status: int | None
    virtual_time: float
    real_time: float


class RequestLog:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self.entries: deque[LoggedRequest] = deque(maxlen=_MAX_REQUESTS)
        self._count = 0

    async def add(self, request: web.Request, *, valid_key: bool, now: float) -> LoggedRequest:
        """Log a request as it is received, still without a status.

        :param request: the request.
        :param valid_key: whether its API key is valid.
        :param now: virtual time.
        """
        self._count += 1
        parts = request.path.split("/")
        host = "cdn" if parts[1] == "cdn" else "api"
        has_authorization = "Authorization" in request.headers
        entry = LoggedRequest(
            seq=self._count,
            host=host,
            vendor=parts[2] if host == "cdn" and len(parts) > 2 else parts[1],
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={
                name: value for name, value in request.headers.items() if name.lower() != "authorization"
            },
            authorization="none" if not has_authorization else "good" if valid_key else "bad",
            body=(await request.read()).decode("utf-8", "replace"),
            status=None,
            virtual_time=now,
            real_time=time.time(),
        )
        self.entries.append(entry)
        return entry
