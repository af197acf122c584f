# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The request log: what reached the vendors, exactly, but never a key."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiohttp import web

_KEPT: Final = 20_000


@dataclass
class Visit:
    """One request to a vendor or to the store of results.

    :param host: ``api`` or ``cdn``.
    :param authorization: ``none``, ``good`` or ``bad``; the value itself is not kept.
    :param status: what was answered; None for nothing.
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


class Journal:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self._visits: deque[Visit] = deque(maxlen=_KEPT)
        self._count = 0

    async def open(self, request: web.Request, *, good_key: bool, now: float) -> Visit:
        """Write down a request as it comes in.

        :param request: the request.
        :param good_key: whether its key is good.
        :param now: virtual time.
        """
        self._count += 1
        parts = request.path.split("/")
        host = "cdn" if parts[1] == "cdn" else "api"
        given = "Authorization" in request.headers
        visit = Visit(
            seq=self._count,
            host=host,
            vendor=parts[2] if host == "cdn" and len(parts) > 2 else parts[1],
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={
                name: value for name, value in request.headers.items() if name.lower() != "authorization"
            },
            authorization="none" if not given else "good" if good_key else "bad",
            body=(await request.read()).decode("utf-8", "replace"),
            status=None,
            virtual_time=now,
            real_time=time.time(),
        )
        self._visits.append(visit)
        return visit

    def as_json(self) -> list[dict[str, Any]]:
        """Give the log as the control API shows it."""
        return [asdict(visit) for visit in self._visits]
