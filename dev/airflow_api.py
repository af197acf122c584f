# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Airflow's public REST API, in the words a system test or a demo uses."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dev.airflow_rest import ApiError, RestClient

FINISHED_RUN = frozenset({"success", "failed"})
FINISHED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

_POLL = 0.2


class AirflowApi(RestClient):
    """What a test or a demo asks of one Airflow. The parameters are :class:`RestClient`'s."""

    # Dags and runs

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the Dag files that could not be imported, each with ``filename`` and ``stack_trace``."""
        found = self.api("GET", "/importErrors", params={"limit": 100})
        errors: list[dict[str, Any]] = found["import_errors"]
        return errors

    def wait_for_dag(self, dag_id: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until the dag processor has written the Dag to the database, and return it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                dag: dict[str, Any] = self.api("GET", f"/dags/{_q(dag_id)}/details")
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                return dag
            if time.monotonic() > deadline:
                errors = "\n".join(f"{e['filename']}: {e['stack_trace']}" for e in self.import_errors())
                raise TimeoutError(f"no Dag {dag_id!r} after {timeout} s; import errors: {errors or 'none'}")
            time.sleep(_POLL)

    def unpause(self, dag_id: str) -> None:
        """Let the Dag run."""
        self.api("PATCH", f"/dags/{_q(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run of an unpaused Dag.

        :returns: The run's id.
        """
        body: dict[str, Any] = {"logical_date": datetime.now(UTC).isoformat(), "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.api("POST", f"/dags/{_q(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def start_run(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        timeout: float = 30,
    ) -> str:
        """Wait for the Dag, unpause it, start a run, and return the run's id."""
        self.wait_for_dag(dag_id, timeout)
        self.unpause(dag_id)
        return self.trigger(dag_id, conf, run_id)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.api("GET", _run(dag_id, run_id))["state"])

    def wait_for_run(
        self, dag_id: str, run_id: str, timeout: float = 120, on_poll: Callable[[], Any] | None = None
    ) -> str:
        """Wait until a run is over.

        :param on_poll: Called at each look, for tests that watch something meanwhile.
        :returns: ``success`` or ``failed``.
        :raises TimeoutError: with the states of the run's tasks.
        """
        deadline = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in FINISHED_RUN:
            if on_poll is not None:
                on_poll()
            if time.monotonic() > deadline:
                tasks = {
                    f"{task['task_id']}[{task['map_index']}]": task["state"]
                    for task in self.task_instances(dag_id, run_id)
                }
                raise TimeoutError(f"{dag_id} {run_id} is {state} after {timeout} s, its tasks are {tasks}")
            time.sleep(_POLL)
        return state

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, of mapped tasks each one."""
        path = f"{_run(dag_id, run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", path, params={"limit": 100, "offset": len(found), "order_by": "id"})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance; while it is deferred, with ``trigger`` and ``triggerer_job``."""
        found: dict[str, Any] = self.api("GET", _task(dag_id, run_id, task_id, map_index))
        return found

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: str | set[str] | frozenset[str] = FINISHED_TASK,
        timeout: float = 60,
        map_index: int = -1,
        try_number: int = 0,
    ) -> dict[str, Any]:
        """Wait until a task instance is in one of the states, and return it.

        :param states: One state, or several; by default the final ones.
        :param try_number: The least try that counts; a wait after a clear must not see the try before it.
        """
        wanted = {states} if isinstance(states, str) else states
        deadline = time.monotonic() + timeout
        seen = "absent"
        while True:
            try:
                found = self.task_instance(dag_id, run_id, task_id, map_index)
            except ApiError as error:
                # A mapped instance exists only once its upstream is done.
                if error.status != 404:
                    raise
            else:
                seen = f"{found['state']}, try {found['try_number']}"
                if found["state"] in wanted and found["try_number"] >= try_number:
                    return found
            if time.monotonic() > deadline:
                name = f"{task_id}[{map_index}] of {run_id}"
                raise TimeoutError(f"{name} is {seen} after {timeout} s, not one of {sorted(wanted)}")
            time.sleep(_POLL)

    def tries(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[dict[str, Any]]:
        """Return all tries of a task instance, the latest included."""
        path = f"{_task(dag_id, run_id, task_id, map_index)}/tries"
        found: list[dict[str, Any]] = self.api("GET", path)["task_instances"]
        return found

    def clear(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int | None = None,
        downstream: bool = False,
        timeout: float = 60,
    ) -> list[dict[str, Any]]:
        """Clear a task of a run as a person does in the UI; without ``map_index``, all its mapped instances.

        A scheduler that ends the run in the same moment does not see the clear, and nobody starts the task
        (seen on 3.3.2 with SQLite: the run is over, the task has no state). A person clears again then, and
        so does this.

        :returns: The task instances that were cleared.
        :raises TimeoutError: if the task is not taken up.
        """
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": run_id,
            "task_ids": [task_id if map_index is None else [task_id, map_index]],
            "include_downstream": downstream,
        }
        path = f"/dags/{_q(dag_id)}/clearTaskInstances"
        cleared: list[dict[str, Any]] = self.api("POST", path, json=body)["task_instances"]
        own = [task["map_index"] for task in cleared if task["task_id"] == task_id]
        deadline = time.monotonic() + timeout
        while any(self.task_instance(dag_id, run_id, task_id, index)["state"] is None for index in own):
            run = self.run_state(dag_id, run_id)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{task_id} of {run_id} was cleared and is not started; its run is {run}")
            if run in FINISHED_RUN:
                self.api("POST", path, json=body)
            time.sleep(_POLL)
        return cleared

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance as ``success``, ``failed`` or ``skipped``, as a person does in the UI."""
        self.api("PATCH", _task(dag_id, run_id, task_id, map_index), json={"new_state": state})

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = -1,
        default: Any = None,
    ) -> Any:
        """Return an XCom value, or ``default`` if there is none."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/xcomEntries/{_q(key)}"
        return self._value(path, {"map_index": map_index}, default)

    def task_state(
        self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1, default: Any = None
    ) -> Any:
        """Return a value of the task's state store, or ``default`` if there is none."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/state-store/{_q(key)}"
        return self._value(path, {"map_index": map_index}, default)

    def task_states(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the whole state store of a task instance."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/state-store"
        found = self.api("GET", path, params={"map_index": map_index, "limit": 100})
        return {entry["key"]: entry["value"] for entry in found["task_state_store"]}

    def record(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the newest record of a task's submission, or an empty one."""
        entries = self.task_states(dag_id, run_id, task_id, map_index)
        numbers = [int(key.removeprefix("vidgen_")) for key in entries if re.fullmatch(r"vidgen_\d+", key)]
        return dict(entries[f"vidgen_{max(numbers)}"]) if numbers else {}

    def _value(self, path: str, params: Mapping[str, Any], default: Any) -> Any:
        try:
            return self.api("GET", path, params=params)["value"]
        except ApiError as error:
            if error.status != 404:
                raise
            return default

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return the log of one try, with the triggerer's part: a line for each record, with all fields."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": "true"}
        content = self.api("GET", path, params=params, headers={"Accept": "application/json"})["content"]
        if isinstance(content, str):
            return content
        return "\n".join(_line(record) for record in content)


def _q(part: str) -> str:
    return quote(part, safe="")


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{_q(dag_id)}/dagRuns/{_q(run_id)}"


def _task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    path = f"{_run(dag_id, run_id)}/taskInstances/{_q(task_id)}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _line(record: Any) -> str:
    if not isinstance(record, dict):
        return str(record)
    rest = {key: value for key, value in record.items() if key not in {"timestamp", "level", "event"}}
    head = " ".join(str(record[key]) for key in ("timestamp", "level", "event") if record.get(key))
    return f"{head} {json.dumps(rest, default=str)}" if rest else head
