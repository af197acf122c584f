# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The settings of a local Airflow: everything through environment variables, on loopback only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"
USERNAME = "admin"

_PASSWORDS = "simple_auth_manager_passwords.json"


def free_port() -> int:
    """Return a port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


#: On SQLite the api-server can stand still for as long as the database's lock is waited for, when many tasks
#: report at once. Then no component may be taken for dead, or its healthy tasks are started over. For whoever
#: does not kill components.
PATIENT = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "40",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "40",
}


def password_of(home: Path) -> str:
    """Return the password of the home's one user; the first call invents it and writes it down.

    The file is Airflow's own (``[core] simple_auth_manager_passwords_file``), and the only one made here.
    """
    file = home / _PASSWORDS
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump({USERNAME: secrets.token_urlsafe(18)}, stream)
    password: str = json.loads(file.read_text())[USERNAME]
    return password


def environment(
    home: Path, dags_folder: Path, port: int, parallelism: int, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of every Airflow process.

    It is this process's environment without its Airflow settings, so that a developer's own Airflow has no
    say here, then the settings of the local Airflow, then ``extra``, which may override any of them.
    """
    foreign = ("AIRFLOW_", "_AIRFLOW")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    direct = [inherited.get("NO_PROXY") or inherited.get("no_proxy"), HOST, "localhost"]
    no_proxy = ",".join(filter(None, direct))
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        # The api-server is reached on loopback by workers and tests, whatever proxy the machine has.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        **_core(home, dags_folder, parallelism),
        **_server(home, port),
        **_pace(),
        **extra,
    }


def _core(home: Path, dags_folder: Path, parallelism: int) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        # The default asks DNS for the full name, which can take seconds on a machine without one.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        # Processes wait for a lock as long as this instead of failing with "database is locked".
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=20",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        # The database is migrated before any component starts; each of them would check it again.
        "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(_derived(home, "fernet")).decode(),
    }


def _server(home: Path, port: int) -> dict[str, str]:
    url = f"http://{HOST}:{port}"
    return {
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": _derived(home, "session").hex(),
        "AIRFLOW__API_AUTH__JWT_SECRET": _derived(home, "jwt").hex(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / _PASSWORDS),
        # Nobody listens there: the log servers would listen on every interface, so they are not started, and
        # the api-server reads the log files from the disk. Ports of their own keep another Airflow's out.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__API__LOG_FETCH_TIMEOUT_SEC": "2",
    }


def _pace() -> dict[str, str]:
    """Shorter intervals than a production Airflow's: a test waits for every one of them."""
    return {
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        # How soon work is picked up again when a component or a worker was killed.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        # New and changed files are parsed at the next refresh. Parsing the others again would only cost CPU.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
    }


def _derived(home: Path, purpose: str) -> bytes:
    """A secret of this home that is the same at each start, without a file of its own."""
    return hmac.digest(password_of(home).encode(), purpose.encode(), hashlib.sha256)
