# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Airflow and the simulator that the system tests share.

Both are started once per process, because a start takes longer than most tests. One run of each Dag in
``tests/system/dags`` is started with them, and the example Dags and the scenarios of the capacity tests go on
in the background. Each test uses tasks and runs of its own and asserts only on those.

Tests that kill components have an Airflow of their own: ``tests/system/own_airflow``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_vidgen.simulator import SimulatorClient
    from dev.local_airflow import LocalAirflow
    from dev.local_simulator import LocalSimulator
    from dev.servers.storage import LocalS3
    from tests.support.example_dag_runs import ExampleResult
    from tests.support.task_runs import Runs

pytest.register_assert_rewrite("tests.support.task_runs", "tests.system.capacity_scenarios")

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def database_templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the migrated, empty database, which is kept from one test session to the next."""
    from dev.local_airflow import LocalAirflow

    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir("airflow-database"))
    # The first of several processes migrates; without the lock each of them would.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        airflow = LocalAirflow(tmp_path_factory.mktemp("no-dags"), template_dir=folder)
        try:
            airflow.open(components=())
        finally:
            airflow.close()
    return folder


@pytest.fixture(scope="session")
def checkout_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """``PYTHONPATH`` with a copy of the package.

    Airflow imports modules late, and the checkout may be edited while the tests run.
    """
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_ROOT / "airflow_provider_vidgen", copy / "airflow_provider_vidgen", ignore=ignore)
    return os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSimulator]:
    """The simulator of the four vendors, ten times as fast as they are."""
    from airflow_provider_vidgen.simulator import SimulatorClient
    from dev.local_simulator import LocalSimulator
    from tests.support.system_accounts import KNOWN_LIMIT_KEY, SMALL_LIMIT, UNKNOWN_LIMIT_KEY

    with LocalSimulator(speed=10, log=tmp_path_factory.mktemp("simulator") / "simulator.log") as process:
        limits = dict.fromkeys((UNKNOWN_LIMIT_KEY, KNOWN_LIMIT_KEY), SMALL_LIMIT)
        SimulatorClient(process.url).options(concurrent_jobs=limits)
        yield process


@pytest.fixture(scope="session")
def simulator(simulator_process: LocalSimulator) -> SimulatorClient:
    """The simulator's control API: its billing ledger and its faults."""
    from airflow_provider_vidgen.simulator import SimulatorClient

    return SimulatorClient(simulator_process.url)


@pytest.fixture(scope="session")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Dags folder: the system tests' Dags and the examples."""
    folder = tmp_path_factory.mktemp("dags")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parent / "dags", folder, ignore=ignore, dirs_exist_ok=True)
    shutil.copytree(_ROOT / "example_dags", folder / "example_dags", ignore=ignore)
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3 with a bucket ``videos``."""
    from dev.servers.storage import local_s3
    from tests.support.system_accounts import S3_SECRET

    with local_s3(S3_SECRET) as store:
        yield store


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

    from dev.airflow_settings import LENIENT_HEALTH_CHECKS, USERNAME
    from dev.local_airflow import LocalAirflow
    from tests.support.system_accounts import OUTSIDER, VIEWER, connections

    home = tmp_path_factory.mktemp("airflow").resolve()
    with LocalAirflow(
        dags_folder,
        home=home,
        env={
            **connections(simulator_process, s3),
            "PYTHONPATH": checkout_path,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            # For the Videos tab: a user who may only read, and one without any role.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin,{VIEWER}:viewer,{OUTSIDER}:",
            **LENIENT_HEALTH_CHECKS,
        },
        parallelism=8,
        template_dir=database_templates,
    ) as local:
        yield local


@pytest.fixture(scope="session")
def videos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Dag ``system_downloads``."""
    return tmp_path_factory.mktemp("videos")


#: Started together before the first test. Deferred tasks wait at least ten seconds, so one after the other
#: would take minutes. The Dags whose tests need the most steps come first.
STARTED_DAGS = (
    "system_attach",
    "system_actions",
    "system_queue",
    "system_capacity",
    "system_pool",
    "system_failures",
    "system_vendors",
    "system_early",
    "system_p_video",
    "system_downloads",
    "system_slots",
)
#: Name, slots, and whether deferred tasks hold one.
POOLS = (("vidgen_one", 1, False), ("vidgen_two_jobs", 2, True), ("vidgen_queue", 9, True))


@pytest.fixture(scope="session")
def started_runs(airflow: LocalAirflow, simulator_process: LocalSimulator, videos_folder: Path) -> Runs:
    """One run of each Dag of the system tests. Tests use :func:`runs`."""
    from tests.support.system_accounts import GOOD_KEY, connection
    from tests.support.task_runs import Runs

    for name, slots, include_deferred in POOLS:
        pool = {"name": name, "slots": slots, "include_deferred": include_deferred}
        airflow.api("POST", "/pools", json=pool)
    fields = json.loads(connection("apimodels", f"{simulator_process.url}/apimodels", GOOD_KEY))
    stored = {**fields, "connection_id": "vidgen_stored", "extra": json.dumps(fields["extra"])}
    airflow.api("POST", "/connections", json=stored)
    folder = videos_folder.as_uri()
    conf = {"system_downloads": {"folder": folder}, "system_actions": {"folder": f"{folder}/actions"}}
    ids = {dag_id: airflow.start_run(dag_id, conf.get(dag_id), timeout=60) for dag_id in STARTED_DAGS}
    return Runs(airflow, ids)


@pytest.fixture(scope="session")
def capacity_scenarios(started_runs: Runs, simulator: SimulatorClient) -> Iterator[Callable[[str], None]]:
    """Wait for a scenario of :mod:`tests.system.capacity_scenarios`, by name, and raise its failure."""
    from tests.system.capacity_scenarios import SCENARIOS

    with ThreadPoolExecutor() as threads:
        futures = {name: threads.submit(run, started_runs, simulator) for name, run in SCENARIOS.items()}
        yield lambda name: futures[name].result()


@pytest.fixture(scope="session")
def example_results(
    tmp_path_factory: pytest.TempPathFactory, database_templates: Path
) -> Iterator[dict[str, Future[ExampleResult]]]:
    """The result of ``airflow dags test`` of each example Dag."""
    from tests.support.example_dag_runs import run_examples

    with run_examples(tmp_path_factory.mktemp("dags-test"), database_templates) as results:
        yield results


@pytest.fixture(scope="session")
def runs(started_runs: Runs, capacity_scenarios: object, example_results: object) -> Runs:
    """One run of each Dag of the system tests; what goes on in the background is started with them."""
    return started_runs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the tasks that a failed test has used to its report."""
    report = yield
    task_runs = sys.modules.get("tests.support.task_runs")
    if task_runs is None:
        return report
    if report.failed:
        for task in dict.fromkeys(task_runs.inspected_tasks):
            try:
                report.sections.append((f"log of {task}", task.log()))
            except Exception as error:
                report.sections.append((f"no log of {task}", repr(error)))
    if report.when == "teardown":
        task_runs.inspected_tasks.clear()
    return report
