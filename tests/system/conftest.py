# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One Airflow and one simulator for all system tests.

They are started once, because a start takes longer than most tests. A Dag file put into ``tests/system/dags``
is there for every test, and so are the example Dags; a test makes runs of its own and looks only at those.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

_ROOT = Path(__file__).resolve().parents[2]
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))

if TYPE_CHECKING:
    from concurrent.futures import Future

    from airflow_runs import Runs
    from tested_examples import Ended

    from airflow_provider_vidgen.simulator import SimulatorClient
    from dev.local_airflow import LocalAirflow
    from dev.local_simulator import LocalSimulator
    from dev.servers.storage import LocalS3


@pytest.fixture(scope="session")
def database_templates(request: pytest.FixtureRequest) -> Path:
    """Where the migrated, empty database is kept from one test session to the next."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("airflow-database"))


@pytest.fixture(scope="session")
def checkout_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """``PYTHONPATH`` with which Airflow finds the package as it is in the checkout now.

    It is a copy: Airflow imports late, and the checkout may be worked on during the minutes this takes.
    """
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_ROOT / "airflow_provider_vidgen", copy / "airflow_provider_vidgen", ignore=ignore)
    return os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSimulator]:
    """The simulator of the four vendors, ten times as fast as they are."""
    from system_accounts import SMALL_KEYS

    from airflow_provider_vidgen.simulator import SimulatorClient
    from dev.local_simulator import LocalSimulator

    with LocalSimulator(speed=10, log=tmp_path_factory.mktemp("simulator") / "simulator.log") as process:
        # Three jobs at a time: fewer videos show how a full vendor is waited for.
        SimulatorClient(process.url).options(concurrent_jobs=dict.fromkeys(SMALL_KEYS, 3))
        yield process


@pytest.fixture(scope="session")
def simulator(simulator_process: LocalSimulator) -> SimulatorClient:
    """The simulator's control side: its bills and its faults."""
    from airflow_provider_vidgen.simulator import SimulatorClient

    return SimulatorClient(simulator_process.url)


@pytest.fixture(scope="session")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Dags folder of the system tests' Airflow; a test may put further files there."""
    folder = tmp_path_factory.mktemp("dags")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parent / "dags", folder, ignore=ignore, dirs_exist_ok=True)
    examples = _ROOT / "example_dags"
    if examples.exists():
        shutil.copytree(examples, folder / "example_dags", ignore=ignore)
    return folder


#: Started at the beginning, all at once: a deferred task takes at least ten seconds, whoever waits for it.
STARTED = (
    "system_attach",
    "system_failures",
    "system_vendors",
    "system_early",
    "system_p_video",
    "system_downloads",
    "system_slots",
    "system_capacity",
    "system_pool",
    "system_queue",
)


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3 of our own with a bucket ``videos``."""
    from system_accounts import S3_SECRET

    from dev.servers.storage import local_s3

    with local_s3(S3_SECRET) as found:
        yield found


@pytest.fixture(scope="session")
def airflow(
    dags_folder: Path,
    simulator_process: LocalSimulator,
    s3: LocalS3,
    database_templates: Path,
    checkout_path: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """A running Airflow with the connections ``vidgen_apimodels``, ``vidgen_apixo``, and so on."""
    from system_accounts import connections

    from dev.airflow_settings import LENIENT_HEALTH_CHECKS
    from dev.local_airflow import LocalAirflow

    home = tmp_path_factory.mktemp("airflow").resolve()
    with LocalAirflow(
        dags_folder,
        home=home,
        env={
            **connections(simulator_process, s3),
            "PYTHONPATH": checkout_path,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            **LENIENT_HEALTH_CHECKS,
        },
        parallelism=8,
        template_dir=database_templates,
    ) as local:
        yield local


@pytest.fixture(scope="session")
def videos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the downloads go."""
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def tested_examples(
    tmp_path_factory: pytest.TempPathFactory, database_templates: Path
) -> Iterator[dict[str, Future[Ended]]]:
    """What ``airflow dags test`` makes of each example Dag."""
    from tested_examples import run_examples

    with run_examples(tmp_path_factory.mktemp("dags-test"), database_templates) as ended:
        yield ended


@pytest.fixture(scope="session")
def runs(
    airflow: LocalAirflow,
    simulator_process: LocalSimulator,
    videos_folder: Path,
    tested_examples: dict[str, Future[Ended]],
) -> Runs:
    """One run of each Dag of the system tests, started at the same time, and beside them the examples."""
    from airflow_runs import Runs
    from system_accounts import GOOD_KEY

    airflow.api("POST", "/pools", json={"name": "vidgen_one", "slots": 1, "include_deferred": False})
    airflow.api("POST", "/pools", json={"name": "vidgen_two_jobs", "slots": 2, "include_deferred": True})
    airflow.api("POST", "/pools", json={"name": "vidgen_queue", "slots": 9, "include_deferred": True})
    stored = {
        "connection_id": "vidgen_stored",
        "conn_type": "vidgen",
        "host": f"{simulator_process.url}/apimodels",
        "password": GOOD_KEY,
        "extra": json.dumps({"vendor": "apimodels", "allow_private_urls": True}),
    }
    airflow.api("POST", "/connections", json=stored)
    conf = {"system_downloads": {"folder": videos_folder.as_uri()}}
    ids = {dag_id: airflow.start_run(dag_id, conf.get(dag_id), timeout=60) for dag_id in STARTED}
    return Runs(airflow, ids)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the tasks a failed test has looked at."""
    report = yield
    helpers = sys.modules.get("airflow_runs")
    if helpers is None:
        return report
    if report.failed:
        for task in dict.fromkeys(helpers.looked_at):
            try:
                report.sections.append((f"log of {task}", task.log()))
            except Exception as error:
                report.sections.append((f"no log of {task}", repr(error)))
    if report.when == "teardown":
        helpers.looked_at.clear()
    return report
