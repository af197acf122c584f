# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Client of Airflow's public REST API, with the calls that system tests and the demo need."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests

FINISHED_RUN = frozenset({"success", "failed"})
FINISHED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

_POLL_INTERVAL = 0.2
#: One repeat is for a new login, the others are for a locked database.
_ATTEMPTS = 4
_TIMEOUT = 30.0


class ApiError(Exception):
    """Airflow answered a call with an error status.

    :param call: Method and path.
    :param status: HTTP status.
    :param body: Body of the response.
    """

    def __init__(self, call: str, status: int, body: str) -> None:
        super().__init__(f"{call} returned {status}: {body[:2000]}")
        self.status = status
        self.body = body


class AirflowApi:
    """A client of one Airflow, which logs in when needed.

    :param url: Base URL, without a trailing slash.
    :param username: User of the simple auth manager.
    :param password: Password of the user.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self.username = username
        self.password = password
        self._session = requests.Session()
        # No proxy and no .netrc: the server is on this machine.
        self._session.trust_env = False

    def api(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call Airflow's REST API as the user, and return the decoded response.

        :param method: HTTP method.
        :param path: Path below ``/api/v2``, such as ``/dags``. A path outside of it (``/ui``,
            ``/auth`` or a plugin's) starts with ``//``.
        :param json: Body.
        :param params: Query.
        :param headers: Further headers.
        :returns: The decoded JSON, the text of another content type, or ``None`` for an empty body.
        :raises ApiError: if the status is not 2xx.
        """
        url = self.url + (path[1:] if path.startswith("//") else "/api/v2" + path)
        for attempt in range(_ATTEMPTS):
            if "Authorization" not in self._session.headers:
                self._log_in()
            response = self._session.request(
                method,
                url,
                json=json,
                params=params,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
            if response.status_code == 401 and not attempt:
                self._session.headers.pop("Authorization")
            elif response.status_code == 500 and "Database error" in response.text:
                # SQLite has one writer at a time; a request that waits too long for the lock fails.
                time.sleep(1)
            else:
                break
        if not response.ok:
            raise ApiError(f"{method} {path}", response.status_code, response.text)
        if not response.content:
            return None
        return response.json() if "json" in response.headers.get("content-type", "") else response.text

    def _log_in(self) -> None:
        credentials = {"username": self.username, "password": self.password}
        response = self._session.post(f"{self.url}/auth/token", json=credentials, timeout=_TIMEOUT)
        if not response.ok:
            raise ApiError("POST //auth/token", response.status_code, response.text)
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def health(self) -> dict[str, Any]:
        """Return the health of the components; needs no login."""
        response = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        response.raise_for_status()
        health: dict[str, Any] = response.json()
        return health

    # Dags and runs

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the Dag files that could not be imported, each with ``filename`` and ``stack_trace``."""
        errors: list[dict[str, Any]] = self.api("GET", "/importErrors", params={"limit": 100})[
            "import_errors"
        ]
        return errors

    def wait_for_dag(self, dag_id: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until the dag processor has written the Dag to the database, and return it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                dag: dict[str, Any] = self.api("GET", f"/dags/{_quote(dag_id)}/details")
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                return dag
            if time.monotonic() > deadline:
                errors = "\n".join(f"{e['filename']}: {e['stack_trace']}" for e in self.import_errors())
                raise TimeoutError(f"no Dag {dag_id!r} after {timeout} s; import errors: {errors or 'none'}")
            time.sleep(_POLL_INTERVAL)

    def unpause(self, dag_id: str) -> None:
        """Unpause the Dag."""
        self.api("PATCH", f"/dags/{_quote(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run of an unpaused Dag.

        :returns: The run's id.
        """
        body: dict[str, Any] = {"logical_date": datetime.now(UTC).isoformat(), "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.api("POST", f"/dags/{_quote(dag_id)}/dagRuns", json=body)["dag_run_id"])

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
        return str(self.api("GET", _run_path(dag_id, run_id))["state"])

    def wait_for_run(
        self, dag_id: str, run_id: str, timeout: float = 120, on_poll: Callable[[], Any] | None = None
    ) -> str:
        """Wait until a run has finished.

        :param on_poll: Called at each poll, for tests that observe something meanwhile.
        :returns: ``success`` or ``failed``.
        :raises TimeoutError: if it does not finish; the message lists the states of its tasks.
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
            time.sleep(_POLL_INTERVAL)
        return state

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run; a mapped task has one for each map index."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        tasks: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", path, params={"limit": 100, "offset": len(tasks), "order_by": "id"})
            tasks += page["task_instances"]
            if not page["task_instances"] or len(tasks) >= page["total_entries"]:
                return tasks

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance; while it is deferred, with ``trigger`` and ``triggerer_job``."""
        task: dict[str, Any] = self.api("GET", _task_path(dag_id, run_id, task_id, map_index))
        return task

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
        :param try_number: Ignore earlier tries, so that a wait after a clear does not return the cleared try.
        """
        expected = {states} if isinstance(states, str) else states
        deadline = time.monotonic() + timeout
        last_seen = "absent"
        while True:
            try:
                task = self.task_instance(dag_id, run_id, task_id, map_index)
            except ApiError as error:
                # A mapped instance exists only once its upstream is done.
                if error.status != 404:
                    raise
            else:
                last_seen = f"{task['state']}, try {task['try_number']}"
                if task["state"] in expected and task["try_number"] >= try_number:
                    return task
            if time.monotonic() > deadline:
                name = f"{task_id}[{map_index}] of {run_id}"
                raise TimeoutError(f"{name} is {last_seen} after {timeout} s, not one of {sorted(expected)}")
            time.sleep(_POLL_INTERVAL)

    def tries(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[dict[str, Any]]:
        """Return all tries of a task instance, the latest included."""
        path = f"{_task_path(dag_id, run_id, task_id, map_index)}/tries"
        tries: list[dict[str, Any]] = self.api("GET", path)["task_instances"]
        return tries

    def clear(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int | None = None,
        downstream: bool = False,
        timeout: float = 60,
    ) -> list[dict[str, Any]]:
        """Clear a task of a run, as a user does in the UI; without ``map_index``, all its mapped instances.

        If the scheduler finishes the run at the same moment, the clear is lost and the task is never started
        (seen on 3.3.2 with SQLite: the run has finished, the task has no state). The clear is then repeated.

        :returns: The task instances that were cleared.
        :raises TimeoutError: if the task is not started.
        """
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": run_id,
            "task_ids": [task_id if map_index is None else [task_id, map_index]],
            "include_downstream": downstream,
        }
        path = f"/dags/{_quote(dag_id)}/clearTaskInstances"
        cleared: list[dict[str, Any]] = self.api("POST", path, json=body)["task_instances"]
        indexes = [task["map_index"] for task in cleared if task["task_id"] == task_id]
        deadline = time.monotonic() + timeout
        while any(self.task_instance(dag_id, run_id, task_id, index)["state"] is None for index in indexes):
            run = self.run_state(dag_id, run_id)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{task_id} of {run_id} was cleared but not started; its run is {run}")
            if run in FINISHED_RUN:
                self.api("POST", path, json=body)
            time.sleep(_POLL_INTERVAL)
        return cleared

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance as ``success``, ``failed`` or ``skipped``, as a user does in the UI."""
        self.api("PATCH", _task_path(dag_id, run_id, task_id, map_index), json={"new_state": state})

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
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}/xcomEntries/{_quote(key)}"
        return self._value(path, {"map_index": map_index}, default)

    def task_state(
        self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1, default: Any = None
    ) -> Any:
        """Return a value of the task's state store, or ``default`` if there is none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}/state-store/{_quote(key)}"
        return self._value(path, {"map_index": map_index}, default)

    def task_states(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the whole state store of a task instance."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}/state-store"
        page = self.api("GET", path, params={"map_index": map_index, "limit": 100})
        return {entry["key"]: entry["value"] for entry in page["task_state_store"]}

    def record(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the newest ledger record of a task's submission, or an empty one."""
        entries = self.task_states(dag_id, run_id, task_id, map_index)
        matches = [re.fullmatch(r"vidgen_submission_(\d+)", key) for key in entries]
        numbers = [int(match[1]) for match in matches if match]
        return dict(entries[f"vidgen_submission_{max(numbers)}"]) if numbers else {}

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
        """Return the log of one try, triggerer lines included: one line for each record, with all fields."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": "true"}
        content = self.api("GET", path, params=params, headers={"Accept": "application/json"})["content"]
        if isinstance(content, str):
            return content
        return "\n".join(_log_line(record) for record in content)


def _quote(part: str) -> str:
    return quote(part, safe="")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{_quote(dag_id)}/dagRuns/{_quote(run_id)}"


def _task_path(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _log_line(record: Any) -> str:
    if not isinstance(record, dict):
        return str(record)
    rest = {key: value for key, value in record.items() if key not in {"timestamp", "level", "event"}}
    head = " ".join(str(record[key]) for key in ("timestamp", "level", "event") if record.get(key))
    return f"{head} {json.dumps(rest, default=str)}" if rest else head
