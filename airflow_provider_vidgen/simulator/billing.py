# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The vendors' books: what was reserved, settled and refunded, and how often each request was accepted."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any


def request_hash(path: str, body: bytes) -> str:
    """Name a paid request by its content, so that a test can ask how often it was accepted.

    :param path: path of the request, with the vendor's prefix.
    :param body: the bytes received.
    """
    return hashlib.sha256(path.encode() + b"\n" + body).hexdigest()


def key_fingerprint(key: str) -> str:
    """Tell API keys apart without keeping them.

    :param key: the API key.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:12]


@dataclass
class Entry:
    """One accepted job in the books.

    :param at: virtual time of the last change of ``state``.
    """

    vendor: str
    task_id: str
    key_fingerprint: str
    request_hash: str
    state: str
    amount: float
    currency: str
    at: float


class Books:
    """All entries, in the order of acceptance."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._accepted: Counter[str] = Counter()

    def reserve(self, entry: Entry) -> None:
        """Write down an accepted job.

        :param entry: the new entry, with state ``reserved``.
        """
        self._entries[entry.task_id] = entry
        self._accepted[entry.request_hash] += 1

    def close(self, task_id: str, *, paid: bool, at: float) -> None:
        """Settle or refund a job at its end.

        :param task_id: which job.
        :param paid: it succeeded, so it costs.
        :param at: virtual time of its end.
        """
        entry = self._entries[task_id]
        entry.state, entry.at = ("settled" if paid else "refunded"), at

    def as_json(self) -> dict[str, Any]:
        """Give the books as the control API shows them."""
        return {
            "entries": [asdict(entry) for entry in self._entries.values()],
            "accepted_by_hash": dict(self._accepted),
        }
