# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The task state store without its expiry."""

from __future__ import annotations

from typing import Any


class KeptStore:
    """
    The task state store as the ledger needs it.

    By default Airflow deletes what is older than ``[state_store] default_retention_days``, and a task that
    comes back after that would pay again. These few hundred bytes live as long as their Dag run.

    :param store: what the task context holds.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, key: str) -> Any:
        """Return a value, or ``None``."""
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        """Write a value that does not expire."""
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        self._store.set(key, value, retention=NEVER_EXPIRE)
