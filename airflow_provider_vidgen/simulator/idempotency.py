# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""APIMart's Idempotency-Key: the same key and body get the first answer again, and nothing is billed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_vidgen.simulator.answers import Answer

HEADER: Final = "Idempotency-Key"
_VALID: Final = re.compile(r"[\x21-\x7e]{1,191}")


class KeyConflict(Exception):
    """The key is in use for another request, or for this one at this moment."""


class KeyMalformed(Exception):
    """The key is not one to 191 visible ASCII characters."""


@dataclass
class Keyed:
    """A request that came with a key.

    :param answer: the first answer; None while it is still being worked on.
    """

    request_hash: str
    answer: Answer | None = None


class Replays:
    """Accepted requests by owner and key."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Keyed] = {}

    def earlier(self, owner: str, key: str, request_hash: str) -> Answer | None:
        """Give the first answer to this request, marked as a replay; None when it is new.

        :param owner: fingerprint of the API key.
        :param key: the idempotency key.
        :param request_hash: what is asked.
        """
        if not _VALID.fullmatch(key):
            raise KeyMalformed
        known = self._known.get((owner, key))
        if known is None:
            return None
        if known.request_hash != request_hash or known.answer is None:
            raise KeyConflict
        return replace(known.answer, headers={**known.answer.headers, "Idempotency-Replayed": "true"})

    def begin(self, owner: str, key: str, request_hash: str) -> Keyed:
        """Take note that a request is accepted and its answer under way.

        :param owner: fingerprint of the API key.
        :param key: the idempotency key.
        :param request_hash: what is asked.
        """
        keyed = Keyed(request_hash)
        self._known[owner, key] = keyed
        return keyed
