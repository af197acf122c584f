# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Ledgers in memory, their records, and the decisions taken from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_vidgen.decision import Decision, decide
from airflow_provider_vidgen.ledger import Ledger, Phase, Record, entry_key
from airflow_provider_vidgen.models import VideoJob
from tests.support.state_store import FakeStateStore

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
API_KEY_HASH = "hash-of-the-api-key"
JOB = VideoJob(vendor="apimart", base_url="https://api.example.com", model="m", task_id="task_1")


class UnreachableStore:
    """A task state store whose reads and writes fail."""

    def get(self, key: str) -> Any:
        raise ConnectionError("the API server is unreachable")

    def set(self, key: str, value: Any) -> None:
        raise ConnectionError("the API server is unreachable")


def record(phase: Phase = Phase.SUBMITTED, **fields: Any) -> Record:
    """Return a record; its fields have usable defaults."""
    values: dict[str, Any] = {
        "phase": phase,
        "fingerprint": "fingerprint",
        "vendor": "apimart",
        "base_url": "https://api.example.com",
        "model": "m",
        "idempotency_key": "vidgen-1",
        "idempotency_key_sent_at": NOW.isoformat(),
        "submitted_at": NOW.isoformat(),
        "deadline": (NOW + HOUR).isoformat(),
        "max_tries": 2,
        "api_key_hash": API_KEY_HASH,
        "task_id": "" if phase in (Phase.NOT_ACCEPTED, Phase.SUBMITTING, Phase.UNKNOWN) else "task_1",
    }
    return Record(**{**values, **fields})


def ledger_with(value: Any = None, *, max_tries: int = 2, now: datetime = NOW) -> Ledger:
    """Return a ledger whose only entry is a record, or the value of an invalid one."""
    store = FakeStateStore()
    if value is not None:
        store.set(entry_key(1), value.to_json() if isinstance(value, Record) else value)
    return ledger_on(store, max_tries=max_tries, now=now)


def ledger_on(store: Any, *, max_tries: int = 2, now: datetime = NOW) -> Ledger:
    """Return a ledger in a store, at a time that does not pass."""
    return Ledger(store, max_tries=max_tries, now=lambda: now)


def decide_in(
    ledger: Ledger,
    fingerprint: str = "fingerprint",
    *,
    key_window: timedelta | None = None,
    api_key_hash: str = API_KEY_HASH,
    **options: Any,
) -> Decision:
    """Decide what a new try does about the newest record of a ledger."""
    earlier = ledger.read()
    return decide(
        earlier,
        fingerprint,
        cleared=earlier is not None and ledger.is_cleared(earlier),
        key_is_valid=earlier is not None
        and ledger.key_is_valid(earlier, key_window, api_key_hash=api_key_hash),
        **{"on_unknown": "fail", "on_clear": "reuse", **options},
    )


def decide_on(
    value: Any, *, key_window: timedelta | None = None, api_key_hash: str = API_KEY_HASH, **options: Any
) -> Decision:
    """Decide what a new try does about one record."""
    return decide_in(ledger_with(value, **options), key_window=key_window, api_key_hash=api_key_hash)


def record_intent(ledger: Ledger, **options: Any) -> Record:
    """Record the intent to submit :data:`JOB`."""
    fingerprint = options.pop("fingerprint", "fingerprint")
    arguments = {"api_key_hash": API_KEY_HASH, "deadline": NOW + HOUR, "supports_keys": True, **options}
    return ledger.record_intent(fingerprint, JOB, **arguments)
