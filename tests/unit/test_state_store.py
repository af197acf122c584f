# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Values in the task state store do not expire, and an outdated try cannot replace them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import context as context_module
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    GetTaskStateStore,
    OKResponse,
    SetTaskStateStore,
    TaskStateStoreResult,
)
from airflow.sdk.execution_time.context import TaskStateStoreAccessor

from airflow_provider_vidgen.state_store import NonExpiringStateStore

TI_ID = "01938f4e-0000-7000-8000-000000000001"


class Supervisor:
    """Airflow's supervisor, with one row that an outdated try can neither read nor write."""

    def __init__(self) -> None:
        self.row: Any = None
        self.expires_at: list[Any] = []
        self.outdated = False

    def send(self, msg: Any) -> Any:
        if self.outdated:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status": 404}))
        if isinstance(msg, SetTaskStateStore):
            self.row = msg.value
            self.expires_at.append(msg.expires_at)
            return OKResponse(ok=True)
        assert isinstance(msg, GetTaskStateStore)
        if self.row is None:
            return ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        return TaskStateStoreResult(value=self.row)


class ExternalBackend:
    """A state store backend outside of Airflow's database, which accepts every write."""

    written: ClassVar[list[Any]] = []

    def serialize_task_state_store_to_ref(self, *, value: Any, key: str, scope: Any) -> str:
        ExternalBackend.written.append(value)
        return "ref"


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    ExternalBackend.written.clear()
    context_module._get_worker_state_store_backend.cache_clear()
    yield supervisor
    context_module._get_worker_state_store_backend.cache_clear()


@pytest.fixture(params=["the row", "an external backend"])
def store(
    request: pytest.FixtureRequest, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> NonExpiringStateStore:
    if request.param == "an external backend":
        monkeypatch.setenv("AIRFLOW__WORKERS__STATE_STORE_BACKEND", f"{__name__}.ExternalBackend")
    return NonExpiringStateStore(TaskStateStoreAccessor(TI_ID, scope=None), TI_ID)  # type: ignore[arg-type]


def test_a_record_is_read_back_and_never_expires(
    store: NonExpiringStateStore, supervisor: Supervisor
) -> None:
    assert store.get("vidgen") is None
    store.set("vidgen", {"phase": "submitted"})
    assert store.get("vidgen") == {"phase": "submitted"}
    # With Airflow's default of 30 days, a later clear would pay again.
    assert supervisor.expires_at == [None]


def test_an_outdated_try_cannot_write(store: NonExpiringStateStore, supervisor: Supervisor) -> None:
    store.set("vidgen", {"phase": "submitted"})
    supervisor.outdated = True
    with pytest.raises(AirflowRuntimeError):
        store.set("vidgen", {"phase": "submitting"})
    assert supervisor.row == {"phase": "submitted"}
    # Airflow writes to an external backend before it refuses the try.
    assert ExternalBackend.written == []


def test_an_unreadable_row_is_not_treated_as_empty(
    store: NonExpiringStateStore, supervisor: Supervisor
) -> None:
    supervisor.outdated = True
    with pytest.raises(AirflowRuntimeError):
        store.get("vidgen")


def test_the_retention_is_airflows_never_expire() -> None:
    class Accessor:
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            assert retention is NEVER_EXPIRE

    NonExpiringStateStore(Accessor(), TI_ID).set("vidgen", {})
