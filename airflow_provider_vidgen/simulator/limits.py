# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""API keys and their rate limits."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from email.utils import formatdate
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.options import Options

#: The API key of an account without credit.
NO_FUNDS_KEY: Final = "sim-nofunds"
_MINUTE: Final = 60.0


def bearer_key(request: web.Request) -> str | None:
    """Return the API key of a request, or None.

    :param request: the request.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def is_valid_key(key: str | None, options: Options) -> bool:
    """Return whether an API key is accepted.

    :param key: the API key, if any.
    :param options: the settings.
    """
    if key is None:
        return False
    if options.api_keys is None:
        return key.startswith("sim-")
    return key in options.api_keys or key == NO_FUNDS_KEY


class RequestRates:
    """Requests of the last virtual minute, by vendor and account."""

    def __init__(self) -> None:
        self._times: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def acquire(self, vendor: str, account: str, now: float, options: Options) -> float:
        """Count a request, and return 0; over the rate limit, return the seconds to wait instead.

        :param vendor: name of the vendor.
        :param account: fingerprint of the API key.
        :param now: virtual time.
        :param options: the settings.
        """
        limit = options.requests_per_minute.get(vendor)
        times = self._times[vendor, account]
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if limit is not None and len(times) >= limit:
            return times[0] + _MINUTE - now if times else _MINUTE
        times.append(now)
        return 0.0


def retry_after_headers(delay: float, now: float, options: Options) -> dict[str, str]:
    """Return the ``Retry-After`` header in the configured format, or no header.

    :param delay: virtual seconds from now.
    :param now: virtual time.
    :param options: the settings.
    """
    seconds = max(1, math.ceil(delay))
    match options.retry_after:
        case "seconds":
            return {"Retry-After": str(seconds)}
        case "date":
            # The client can interpret the date only together with the server's time, which is virtual.
            return {
                "Retry-After": formatdate(now + seconds, usegmt=True),
                "Date": formatdate(now, usegmt=True),
            }
    return {}
