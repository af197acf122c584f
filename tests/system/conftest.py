# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One Airflow and one simulator for all system tests.

They are started once, because a start takes longer than most tests. A Dag file put into ``tests/system/dags``
is there for every test, and so are the example Dags; a test makes runs of its own and looks only at those.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

_ROOT = Path(__file__).resolve().parents[2]
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))

if TYPE_CHECKING:
    from airflow_provider_vidgen.simulator import SimulatorClient
    from dev.local_airflow import LocalAirflow
    from dev.local_simulator import LocalSimulator


@pytest.fixture(scope="session")
def database_templates(request: pytest.FixtureRequest) -> Path:
    """Where the migrated, empty database is kept from one test session to the next."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("airflow-database"))


@pytest.fixture(scope="session")
def checkout_path() -> str:
    """``PYTHONPATH`` with which Airflow finds the package in the checkout."""
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSimulator]:
    """The simulator of the four vendors, ten times as fast as they are."""
    from dev.local_simulator import LocalSimulator

    with LocalSimulator(speed=10, log=tmp_path_factory.mktemp("simulator") / "simulator.log") as process:
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


@pytest.fixture(scope="session")
def airflow(
    dags_folder: Path,
    simulator_process: LocalSimulator,
    database_templates: Path,
    checkout_path: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """A running Airflow with the connections ``vidgen_apimodels``, ``vidgen_apixo``, and so on."""
    from dev.local_airflow import LocalAirflow

    with LocalAirflow(
        dags_folder,
        home=tmp_path_factory.mktemp("airflow"),
        env={**simulator_process.connections(), "PYTHONPATH": checkout_path},
        template_dir=database_templates,
    ) as local:
        yield local
