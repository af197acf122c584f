# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The billing ledger: amounts reserved, settled and refunded, and how often each request was accepted."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass


def request_hash(path: str, body: bytes) -> str:
    """Identify a paid request by its content, so that a test can count how often it was accepted.

    :param path: path of the request, with the vendor's prefix.
    :param body: the bytes received.
    """
    return hashlib.sha256(path.encode() + b"\n" + body).hexdigest()


def key_fingerprint(key: str) -> str:
    """Return a short hash that identifies an API key without storing it.

    :param key: the API key.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:12]


@dataclass
class BillingEntry:
    """The bill of one accepted job.

    :param state: ``reserved``, then ``settled`` or ``refunded``.
    :param updated_at: virtual time of the last change of ``state``.
    """

    vendor: str
    task_id: str
    key_fingerprint: str
    request_hash: str
    state: str
    amount: float
    currency: str
    updated_at: float


@dataclass(frozen=True)
class BillingReport:
    """The billing ledger as the control API serves it.

    :param entries: in the order of acceptance.
    :param accepted_by_hash: how often each request was accepted, by :func:`request_hash`.
    """

    entries: list[BillingEntry]
    accepted_by_hash: dict[str, int]


class BillingLedger:
    """The bills of all accepted jobs."""

    def __init__(self) -> None:
        self._entries: dict[str, BillingEntry] = {}
        self._accepted: Counter[str] = Counter()

    def reserve(self, entry: BillingEntry) -> None:
        """Add the bill of a newly accepted job.

        :param entry: the new entry, with state ``reserved``.
        """
        self._entries[entry.task_id] = entry
        self._accepted[entry.request_hash] += 1

    def close(self, task_id: str, *, succeeded: bool, now: float) -> None:
        """Settle the bill of a succeeded job, or refund that of any other.

        :param task_id: the vendor's id.
        :param succeeded: whether the job succeeded.
        :param now: virtual time of the job's end.
        """
        entry = self._entries[task_id]
        entry.state, entry.updated_at = ("settled" if succeeded else "refunded"), now

    def report(self) -> BillingReport:
        """Return all entries and counts."""
        return BillingReport(list(self._entries.values()), dict(self._accepted))
