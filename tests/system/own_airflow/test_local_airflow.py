# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The local Airflow of the system tests, on a Dag that does not use this package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from dev.airflow_api import ApiError
from dev.local_airflow import COMPONENTS, LocalAirflow

DAG = "local_airflow_check"
DAG_FILE = Path(__file__).parent / "dags" / "local_airflow_check.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness-dags")
    shutil.copy(DAG_FILE, folder)
    return folder


@pytest.fixture(scope="module")
def local(
    folder: Path, database_templates: Path, checkout_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("harness")
    env = {"PYTHONPATH": checkout_path}
    with LocalAirflow(folder, home=home, env=env, template_dir=database_templates) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def finished_run(local: LocalAirflow) -> tuple[str, set[str]]:
    """A successful run, and the states that its deferred task passed through."""
    run_id = local.start_run(DAG)
    states: set[str] = set()
    state = local.wait_for_run(
        DAG, run_id, on_poll=lambda: states.add(local.task_instance(DAG, run_id, "pause")["state"])
    )
    assert state == "success"
    return run_id, states


def alive(pids: list[int]) -> list[int]:
    """Return the processes that have not ended; a zombie has ended."""
    running = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running


class TestRun:
    def test_xcom(self, local: LocalAirflow, finished_run: tuple[str, set[str]]) -> None:
        run_id, _ = finished_run
        assert local.xcom(DAG, run_id, "remember") == {"answer": 42}
        assert [local.xcom(DAG, run_id, "square", map_index=index) for index in (0, 1)] == [9, 16]
        assert local.xcom(DAG, run_id, "remember", key="absent", default="none") == "none"

    def test_state_store(self, local: LocalAirflow, finished_run: tuple[str, set[str]]) -> None:
        run_id, _ = finished_run
        assert local.task_state(DAG, run_id, "remember", "tries") == [1]
        assert local.task_state(DAG, run_id, "square", "number", map_index=1) == 4
        assert local.task_states(DAG, run_id, "square", map_index=0) == {"number": 3}
        assert local.task_state(DAG, run_id, "remember", "absent") is None

    def test_deferral_goes_through_the_triggerer(
        self, local: LocalAirflow, finished_run: tuple[str, set[str]]
    ) -> None:
        run_id, states = finished_run
        assert "deferred" in states
        assert local.xcom(DAG, run_id, "pause") == "resumed"
        assert "Trigger fired event" in local.task_log(DAG, run_id, "pause")

    def test_task_and_component_logs_are_listed(
        self, local: LocalAirflow, finished_run: tuple[str, set[str]]
    ) -> None:
        run_id, _ = finished_run
        names = [str(path) for path in local.logs()]
        assert any(run_id in name and "task_id=remember" in name for name in names)
        assert {f"{component}.log" for component in COMPONENTS} <= {path.name for path in local.logs()}

    def test_clear_is_a_new_try_with_the_same_state_store(
        self, local: LocalAirflow, finished_run: tuple[str, set[str]]
    ) -> None:
        run_id, _ = finished_run
        assert [task["task_id"] for task in local.clear(DAG, run_id, "remember")] == ["remember"]
        assert local.wait_for_task(DAG, run_id, "remember", try_number=2)["state"] == "success"
        assert local.task_state(DAG, run_id, "remember", "tries") == [1, 2]
        assert [task["try_number"] for task in local.tries(DAG, run_id, "remember")] == [1, 2]

    def test_clear_of_one_mapped_instance(
        self, local: LocalAirflow, finished_run: tuple[str, set[str]]
    ) -> None:
        run_id, _ = finished_run
        cleared = local.clear(DAG, run_id, "square", map_index=1)
        assert [(task["task_id"], task["map_index"]) for task in cleared] == [("square", 1)]
        local.wait_for_task(DAG, run_id, "square", map_index=1, try_number=2)
        assert local.task_instance(DAG, run_id, "square", map_index=0)["try_number"] == 1

    def test_set_state(self, local: LocalAirflow) -> None:
        run_id = local.start_run(DAG)
        local.wait_for_task(DAG, run_id, "pause", "deferred")
        local.set_state(DAG, run_id, "pause", "failed")
        assert local.wait_for_run(DAG, run_id) == "failed"


def test_import_errors(local: LocalAirflow, folder: Path) -> None:
    broken = folder / "broken.py"
    broken.write_text("from airflow.sdk import DAG\n\nDAG('broken', schedule=None)\n\nno_such_name\n")
    try:
        with pytest.raises(TimeoutError, match="no_such_name"):
            local.wait_for_dag("broken", timeout=10)
        assert [Path(error["filename"]).name for error in local.import_errors()] == ["broken.py"]
    finally:
        broken.unlink()


def test_the_server_listens_on_loopback_only_and_requires_a_login(local: LocalAirflow) -> None:
    listening = {
        connection.laddr.ip
        for pid in local.pids()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    with_other_password = LocalAirflow(local.dags_folder, port=local.port)
    try:
        with pytest.raises(ApiError) as caught:
            with_other_password.api("GET", "/dags")
        assert caught.value.status == 401
    finally:
        with_other_password.close()


def test_a_deferred_task_outlives_its_triggerer(local: LocalAirflow) -> None:
    run_id = local.start_run(DAG)
    local.wait_for_task(DAG, run_id, "pause", "deferred")
    before = local.pids("triggerer")
    local.kill("triggerer")
    assert alive(before) == []
    local.start("triggerer")
    assert local.pid("triggerer") not in before
    assert local.wait_for_run(DAG, run_id, timeout=60) == "success"


def test_a_killed_scheduler_is_replaced(local: LocalAirflow) -> None:
    local.kill("scheduler", children=False)
    assert not local.is_running("scheduler")
    orphans = local.pids("scheduler")
    local.start("scheduler")
    assert alive(orphans) == []
    run_id = local.start_run(DAG)
    assert local.wait_for_task(DAG, run_id, "remember")["state"] == "success"
    with pytest.raises(ValueError, match="does not belong"):
        local.signal_process(os.getpid())


def test_no_process_is_left_after_an_exception(folder: Path, database_templates: Path) -> None:
    (folder / "endless.py").write_text(
        "import subprocess\n"
        "from airflow.sdk import dag, task\n"
        "@dag(schedule=None)\n"
        "def endless():\n"
        "    @task\n"
        "    def sleep():\n"
        "        subprocess.run(['sleep', '600'], start_new_session=True)\n"
        "    sleep()\n"
        "endless()\n"
    )
    pids: list[int] = []
    with (  # noqa: PT012 - the exception has to leave the whole block
        pytest.raises(KeyboardInterrupt),
        LocalAirflow(folder, template_dir=database_templates, stop_timeout=3) as airflow,
    ):
        run_id = airflow.start_run("endless")
        pid = airflow.wait_for_task("endless", run_id, "sleep", "running")["pid"]
        assert pid in airflow.pids("scheduler")
        deadline = time.monotonic() + 20
        while "sleep" not in {psutil.Process(pid).name() for pid in airflow.pids("scheduler")}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        pids = airflow.pids()
        assert len(pids) >= len(COMPONENTS)
        raise KeyboardInterrupt
    assert alive(pids) == []
    assert not airflow.home.exists()
    airflow.close()


def test_a_dead_component_is_reported_at_once(folder: Path, database_templates: Path) -> None:
    airflow = LocalAirflow(
        folder, template_dir=database_templates, env={"AIRFLOW__CORE__EXECUTOR": "no.such.Executor"}
    )
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1 at start-up.*no.such"):
        airflow.open()
    assert time.monotonic() - started < 30
    assert airflow.pids() == []


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from dev.process_tree import Watchdog, spawn, tree_of\n"
        "code = 'import subprocess, time; "
        'subprocess.Popen(["sleep", "600"], start_new_session=True); time.sleep(600)\'\n'
        "watchdog = Watchdog()\n"
        f"tree = tree_of(spawn([sys.executable, '-c', code], {{}}, Path({str(tmp_path)!r}) / 'log'))\n"
        "watchdog.add(tree)\n"
        "while len(tree.members()) < 2: time.sleep(0.05)\n"
        "print(watchdog.pid, *[process.pid for process in tree.members()], flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(alive(pids)) == 3
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(pids) == []
