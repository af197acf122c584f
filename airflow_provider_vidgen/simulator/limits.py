# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Who may ask, and how often: API keys and rate limits."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from email.utils import formatdate
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.options import Options

NO_FUNDS: Final = "sim-nofunds"
_MINUTE: Final = 60.0


def bearer_key(request: web.Request) -> str | None:
    """Take the API key out of a request.

    :param request: the request.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def is_good(key: str | None, options: Options) -> bool:
    """Say whether a key opens the door.

    :param key: the API key, if there is one.
    :param options: the settings.
    """
    if key is None:
        return False
    if options.keys is None:
        return key.startswith("sim-")
    return key in options.keys or key == NO_FUNDS


class RateBook:
    """Requests of the last virtual minute, by vendor and key."""

    def __init__(self) -> None:
        self._times: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def wait(self, vendor: str, owner: str, now: float, options: Options) -> float:
        """Count a request, or say how many seconds too early it comes.

        :param vendor: at which vendor.
        :param owner: fingerprint of the key.
        :param now: virtual time.
        :param options: the settings.
        """
        allowed = options.requests_per_minute.get(vendor)
        times = self._times[vendor, owner]
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if allowed is not None and len(times) >= allowed:
            return times[0] + _MINUTE - now if times else _MINUTE
        times.append(now)
        return 0.0


def retry_headers(wait: float, now: float, options: Options) -> dict[str, str]:
    """Give the headers that tell a client when to come back.

    :param wait: virtual seconds from now.
    :param now: virtual time.
    :param options: the settings.
    """
    seconds = max(1, math.ceil(wait))
    match options.retry_after:
        case "seconds":
            return {"Retry-After": str(seconds)}
        case "date":
            # A date means nothing without the sender's own idea of now, which is the virtual clock's.
            return {
                "Retry-After": formatdate(now + seconds, usegmt=True),
                "Date": formatdate(now, usegmt=True),
            }
    return {}
