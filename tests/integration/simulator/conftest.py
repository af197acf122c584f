# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""One simulator with a stopped clock for all tests, reset before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_vidgen.simulator import Simulator

# A fixed start time, so that timestamps in responses are reproducible.
START = 1_780_000_000.0


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with Simulator(render=False, speed=0, start_time=START) as running:
        yield running


@pytest.fixture
def sim(simulator: Simulator) -> Simulator:
    simulator.reset()
    return simulator
