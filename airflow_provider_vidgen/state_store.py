# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The task state store, as the ledger needs it: values do not expire, outdated tries cannot write."""

from __future__ import annotations

from typing import Any

from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

from airflow_provider_vidgen import airflow_internals


class NonExpiringStateStore:
    """
    The task state store on a worker.

    By default Airflow deletes values older than ``[state_store] default_retention_days``, and a task that is
    retried or cleared after that would pay again. These few hundred bytes live as long as their Dag run.

    With ``[workers] state_store_backend`` Airflow writes a value to that backend before it checks whether the
    try is outdated, so an outdated try could replace the record of a newer one. Therefore values are written
    to the row in Airflow's own database, which refuses outdated tries.

    :param store: the ``task_state_store`` of the task context.
    :param ti_id: the id of this try's task instance.
    """

    def __init__(self, store: Any, ti_id: Any) -> None:
        self._store = store
        self._ti_id = ti_id

    def get(self, key: str) -> Any:
        """Return a value, or ``None``."""
        if airflow_internals.has_state_store_backend():
            return airflow_internals.get_state_row(self._ti_id, key)
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        """Write a value that does not expire."""
        if airflow_internals.has_state_store_backend():
            airflow_internals.set_state_row(self._ti_id, key, value)
            return
        self._store.set(key, value, retention=NEVER_EXPIRE)
