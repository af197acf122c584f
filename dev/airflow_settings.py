# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The settings of a local Airflow as environment variables; all servers listen on loopback only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from dev.loopback import HOST, free_port

USERNAME = "admin"

_PASSWORDS = "simple_auth_manager_passwords.json"

#: For an Airflow whose components are not killed. On SQLite the api-server can block until the timeout of the
#: database's lock, when many tasks report at once. If a component were considered dead meanwhile, its healthy
#: tasks would be started again.
LENIENT_HEALTH_CHECKS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "40",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "40",
}


def admin_password(home: Path) -> str:
    """Return the password of the only user; the first call generates it and writes it to a file.

    The file is Airflow's own (``[core] simple_auth_manager_passwords_file``).
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

    This process's environment without its Airflow settings, so that a developer's own Airflow has no effect;
    then the settings of the local Airflow; then ``extra``, which overrides both.
    """
    airflow_prefixes = ("AIRFLOW_", "_AIRFLOW")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(airflow_prefixes)}
    direct_hosts = [inherited.get("NO_PROXY") or inherited.get("no_proxy"), HOST, "localhost"]
    no_proxy = ",".join(filter(None, direct_hosts))
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        # Workers and tests reach the api-server without the machine's proxy.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        **_core(home, dags_folder, parallelism),
        **_server(home, port),
        **_short_intervals(),
        **extra,
    }


def _core(home: Path, dags_folder: Path, parallelism: int) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        # The default looks up the full name in DNS, which can take seconds on a machine without one.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        # Seconds to wait for a lock before failing with "database is locked".
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=20",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        # The database is migrated before any component starts, so components need not check it.
        "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(_derived_secret(home, "fernet")).decode(),
    }


def _server(home: Path, port: int) -> dict[str, str]:
    url = f"http://{HOST}:{port}"
    return {
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": _derived_secret(home, "session").hex(),
        "AIRFLOW__API_AUTH__JWT_SECRET": _derived_secret(home, "jwt").hex(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / _PASSWORDS),
        # The log servers are not started, because they would listen on every interface; the api-server reads
        # the log files from disk. With unused ports it cannot reach another Airflow's log servers.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__API__LOG_FETCH_TIMEOUT_SEC": "2",
    }


def _short_intervals() -> dict[str, str]:
    """Shorter intervals than Airflow's defaults, because tests wait for them."""
    return {
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        # Time until work continues after a component or a worker was killed.
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


def _derived_secret(home: Path, purpose: str) -> bytes:
    """Return a secret derived from the password: the same at each start, without a file of its own."""
    return hmac.digest(admin_password(home).encode(), purpose.encode(), hashlib.sha256)
