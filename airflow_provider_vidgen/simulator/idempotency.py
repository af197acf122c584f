# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIMart's ``Idempotency-Key``: a repeated request gets the first response, and no second bill."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_vidgen.simulator.responses import SimulatedResponse

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_VALID_KEY: Final = re.compile(r"[\x21-\x7e]{1,191}")


class IdempotencyKeyConflict(Exception):
    """The key belongs to a different request, or to one still in flight."""


class IdempotencyKeyInvalid(Exception):
    """The key does not consist of 1 to 191 visible ASCII characters."""


@dataclass
class IdempotentRequest:
    """An accepted request with an idempotency key.

    :param response: the first response; None while the request is in flight.
    """

    request_hash: str
    response: SimulatedResponse | None = None


class IdempotentRequests:
    """Accepted requests by account and idempotency key."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], IdempotentRequest] = {}

    def replay(self, account: str, key: str, request_hash: str) -> SimulatedResponse | None:
        """Return the first response to a repeated request, marked as a replay; None for a new request.

        :param account: fingerprint of the API key.
        :param key: the idempotency key.
        :param request_hash: hash of the request.
        :raises IdempotencyKeyInvalid: the key is not valid.
        :raises IdempotencyKeyConflict: the key belongs to a different request, or to one in flight.
        """
        if not _VALID_KEY.fullmatch(key):
            raise IdempotencyKeyInvalid
        first = self._requests.get((account, key))
        if first is None:
            return None
        if first.request_hash != request_hash or first.response is None:
            raise IdempotencyKeyConflict
        return replace(first.response, headers={**first.response.headers, "Idempotency-Replayed": "true"})

    def add(self, account: str, key: str, request_hash: str) -> IdempotentRequest:
        """Store an accepted request, still without a response.

        :param account: fingerprint of the API key.
        :param key: the idempotency key.
        :param request_hash: hash of the request.
        """
        request = IdempotentRequest(request_hash)
        self._requests[account, key] = request
        return request
