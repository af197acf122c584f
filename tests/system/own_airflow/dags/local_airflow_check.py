# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A Dag for the tests of the local Airflow: XCom, the task state store, mapping, a deferral."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag, get_current_context, task


class Pause(BaseOperator):
    """Wait in the triggerer. A sensor would count from the run's date, so after a clear it would not wait."""

    def execute(self, context: Any) -> None:
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=6)), method_name="resume")

    def resume(self, context: Any, event: Any) -> str:
        return "resumed"


@dag(schedule=None)
def local_airflow_check() -> None:
    @task
    def remember() -> dict[str, int]:
        context: Any = get_current_context()
        store = context["task_state_store"]
        store.set("tries", [*store.get("tries", []), context["ti"].try_number])
        return {"answer": 42}

    @task
    def square(number: int) -> int:
        get_current_context()["task_state_store"].set("number", number)
        return number * number

    remember()
    square.expand(number=[3, 4])
    Pause(task_id="pause")


local_airflow_check()
