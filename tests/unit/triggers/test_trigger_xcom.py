# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The one place where a trigger writes: progress, as Airflow wants it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from airflow.sdk.execution_time.xcom import XCom
from fakes import task_instance

from airflow_provider_vidgen import airflow_internals


def test_the_xcom_of_a_trigger_is_set_as_airflow_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    names = inspect.signature(XCom.aset)

    async def aset(**kwargs: Any) -> None:
        given.update(kwargs)

    monkeypatch.setattr(XCom, "aset", aset)
    asyncio.run(airflow_internals.push_xcom_from_trigger(task_instance(map_index=3), "progress", {"a": 1}))
    names.bind(**given)
    assert given == {
        "key": "progress",
        "value": {"a": 1},
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": 3,
    }
