# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A real Airflow on SQLite and loopback, for system tests and for manual trials of the provider.

``airflow standalone`` leaves processes behind, so the components are started one by one here, and exactly
their processes are ended, by process id::

    with LocalAirflow(home=Path("home"), dags_folder=Path("example_dags")) as airflow:
        run_id = airflow.start_run("my_dag")
        assert airflow.wait_for_run("my_dag", run_id) == "success"
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import requests

from dev.airflow_api import AirflowApi
from dev.airflow_settings import USERNAME, admin_password, environment
from dev.loopback import HOST, free_port
from dev.process_tree import (
    ProcessTree,
    Watchdog,
    kill_all,
    send_signal,
    spawn,
    tree_of,
    wait_until_ended,
)

#: The components in start order; those that take longest to get ready come first.
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

# Log servers would listen on every interface; on one machine the api-server reads the files itself.
_ARGUMENTS = {
    "api-server": ["--host", HOST],
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
_HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
_TAIL_LINES = 60


class LocalAirflow(AirflowApi):
    """A local Airflow, started by :meth:`open` or ``with``; :meth:`close` ends all its processes.

    :param dags_folder: Folder of the Dag files.
    :param home: ``AIRFLOW_HOME``, kept afterwards; without one, a temporary directory that is removed.
    :param env: Environment variables of all components, added to this process's own: connections as
        ``AIRFLOW_CONN_...``, ``PYTHONPATH``, and any ``AIRFLOW__...`` setting to override.
    :param port: Port of the UI and the API; by default a free one.
    :param parallelism: Number of tasks that run at the same time.
    :param log_dir: Folder for the output of the components; by default below ``home``.
    :param template_dir: Folder in which a migrated, empty database is cached for the next new home.
    :param start_timeout: Seconds for a component to get ready.
    :param stop_timeout: Seconds for a component to end after SIGTERM, before it is killed.
    """

    def __init__(
        self,
        dags_folder: Path,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        parallelism: int = 4,
        log_dir: Path | None = None,
        template_dir: Path | None = None,
        start_timeout: float = 90,
        stop_timeout: float = 4,
    ) -> None:
        self._is_temporary = home is None
        self.home = (home or Path(tempfile.mkdtemp(prefix="local-airflow-"))).resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.dags_folder = dags_folder.resolve()
        self.log_dir = (log_dir or self.home / "component-logs").resolve()
        self.port = port or free_port()
        self.env = environment(self.home, self.dags_folder, self.port, parallelism, env or {})
        self._template_dir = template_dir
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._owner = os.getpid()
        self._watchdog: Watchdog | None = None
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._trees: dict[str, ProcessTree] = {}
        self._orphans: list[ProcessTree] = []
        self._started_at: dict[str, datetime] = {}
        super().__init__(f"http://{HOST}:{self.port}", USERNAME, admin_password(self.home))

    def __enter__(self) -> LocalAirflow:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, components: Iterable[str] = COMPONENTS) -> None:
        """Migrate the database, start the components, and wait until each is ready."""
        atexit.register(self.close)
        try:
            self._watchdog = Watchdog()
            self._migrate()
            names = list(components)
            for name in names:
                self.start(name, wait=False)
            self.wait_ready(names)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all processes of this Airflow. May be called more than once."""
        if os.getpid() != self._owner:
            return  # A forked copy of this process must not end them.
        atexit.unregister(self.close)
        trees = self._all_trees()
        try:
            for name in self._children:
                self._signal(name, signal.SIGTERM)
            wait_until_ended(trees, self._stop_timeout)
        finally:
            self._kill_trees(trees)
            if self._watchdog is not None:
                self._watchdog.close()
                self._watchdog = None
            for child in self._children.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5)
            self._session.close()
            if self._is_temporary:
                shutil.rmtree(self.home, ignore_errors=True)

    # Components

    def start(self, component: str, wait: bool = True, keep_orphans: bool = False) -> None:
        """Start a component that is not running, and wait until it is ready.

        :param wait: ``False`` returns at once. Waiting for another component needs a running api-server.
        :param keep_orphans: Leave child processes of the killed predecessor alive until :meth:`close`.
        """
        if self.is_running(component):
            raise RuntimeError(f"the {component} is running already")
        self._started_at[component] = datetime.now(UTC)
        command = [sys.executable, "-m", "airflow", component, *_ARGUMENTS[component]]
        if component == "api-server":
            command += ["--port", str(self.port)]
        if keep_orphans and component in self._trees:
            self._orphans.append(self._trees.pop(component))
        self._launch(component, command)
        if wait:
            self.wait_ready([component])

    def stop(self, component: str, signal: int = signal.SIGTERM, timeout: float | None = None) -> None:
        """Send a signal to a component's main process and wait until all of its processes have ended.

        Processes still alive after ``timeout`` (by default ``stop_timeout``) are killed: the scheduler, for
        example, waits for its running tasks.
        """
        self._signal(component, signal)
        tree = self._trees[component]
        try:
            wait_until_ended([tree], self._stop_timeout if timeout is None else timeout)
        finally:
            self._kill_trees([tree])

    def kill(self, component: str, children: bool = True) -> None:
        """Kill a component with SIGKILL, as if its machine had failed.

        :param children: ``False`` kills the main process only, as the kernel does when memory is short; its
            child processes continue until :meth:`close` or the next :meth:`start`.
        """
        if children:
            self._kill_trees([self._trees[component]])
        else:
            self._signal(component, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._children[component].wait(5)

    def restart(self, component: str, wait: bool = True) -> None:
        """Stop a component and start it again."""
        if self.is_running(component):
            self.stop(component)
        self.start(component, wait)

    def pid(self, component: str) -> int:
        """Return the process id of a component's main process."""
        return self._children[component].pid

    def is_running(self, component: str) -> bool:
        """Return whether a component's main process is alive."""
        child = self._children.get(component)
        return child is not None and child.poll() is None

    def pids(self, component: str | None = None) -> list[int]:
        """Return the ids of all living processes of a component, or of the whole Airflow."""
        trees = [self._trees[component]] if component else self._all_trees()
        return [process.pid for tree in trees for process in tree.members()]

    def signal_process(self, pid: int, signal: int = signal.SIGKILL) -> None:
        """Send a signal to one process of this Airflow, such as a running task (``pid`` in the REST API).

        :raises ValueError: if the process does not belong to this Airflow.
        """
        matching = [process for tree in self._all_trees() for process in tree.members() if process.pid == pid]
        if not matching:
            raise ValueError(f"process {pid} does not belong to this Airflow")
        send_signal(matching, signal)

    def logs(self) -> list[Path]:
        """Return all log files of Airflow, its tasks and its components."""
        folders = {self.log_dir, self.home / "logs"}
        return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())

    def component_log(self, component: str) -> Path:
        """Return the file with a component's output; restarts append to it."""
        return self.log_dir / f"{component}.log"

    def wait_ready(self, components: Iterable[str]) -> None:
        """Wait until the components are ready; a component that ends instead raises at once."""
        waiting = set(components)
        deadline = time.monotonic() + self._start_timeout
        while waiting:
            for name in waiting:
                if not self.is_running(name):
                    code = self._children[name].returncode
                    raise RuntimeError(f"the {name} ended with {code} at start-up\n{self._tail(name)}")
            waiting -= {name for name in waiting if self._is_ready(name)}
            if waiting and time.monotonic() > deadline:
                tails = "\n".join(self._tail(name) for name in sorted(waiting))
                raise TimeoutError(f"{sorted(waiting)} not ready after {self._start_timeout} s\n{tails}")
            time.sleep(0.1)

    def _is_ready(self, component: str) -> bool:
        try:
            health = self.health()
        except requests.RequestException:
            return False
        if component == "api-server":
            return bool(health["metadatabase"]["status"] == "healthy")
        state = health.get(_HEALTH_KEYS[component]) or {}
        beat: str | None = state.get(f"latest_{_HEALTH_KEYS[component]}_heartbeat")
        # The heartbeat may be that of an earlier start of the component.
        return beat is not None and datetime.fromisoformat(beat) >= self._started_at[component]

    def _migrate(self) -> None:
        database = self.home / "airflow.db"
        version = importlib.metadata.version("apache-airflow-core")
        template = self._template_dir / f"airflow-{version}.db" if self._template_dir else None
        # Without a file, each process writes one with several thousand lines of defaults.
        (self.home / "airflow.cfg").touch()
        if template and template.exists() and not database.exists():
            shutil.copyfile(template, database)
            return
        fresh = not database.exists()
        self._launch("migration", [sys.executable, "-m", "airflow", "db", "migrate"])
        if self._children["migration"].wait(self._start_timeout) != 0:
            raise RuntimeError(f"the database could not be migrated\n{self._tail('migration')}")
        if template and fresh:
            template.parent.mkdir(parents=True, exist_ok=True)
            partial = template.with_suffix(f".{os.getpid()}")
            shutil.copyfile(database, partial)
            partial.replace(template)

    def _launch(self, name: str, command: list[str]) -> None:
        if name in self._trees:
            # Orphans of a killed component would write to the same database.
            self._kill_trees([self._trees[name]])
        child = spawn(command, self.env, self.component_log(name))
        self._children[name] = child
        self._trees[name] = tree_of(child)
        if self._watchdog is not None:
            self._watchdog.add(self._trees[name])

    def _all_trees(self) -> list[ProcessTree]:
        return [*self._trees.values(), *self._orphans]

    def _signal(self, component: str, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._children[component].send_signal(number)

    def _kill_trees(self, trees: list[ProcessTree]) -> None:
        if alive := kill_all(trees):
            raise RuntimeError(f"processes {alive} cannot be killed")

    def _tail(self, name: str) -> str:
        file = self.component_log(name)
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        return "\n".join([f"--- {file.name}", *lines[-_TAIL_LINES:]])
