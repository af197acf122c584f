# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The package against the simulator: real sockets on loopback, and a clock that moves only by sleeping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_vidgen.simulator import Simulator
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import START, MakeAccount, account_at


@pytest.fixture(scope="session")
def running_vendors() -> Iterator[Simulator]:
    with Simulator(render=False, speed=0, start_time=START) as running:
        yield running


@pytest.fixture
def vendors(running_vendors: Simulator) -> Simulator:
    """The four vendors with an empty billing ledger."""
    running_vendors.reset()
    return running_vendors


@pytest.fixture
def clock(vendors: Simulator) -> SimulatorClock:
    return SimulatorClock(vendors)


@pytest.fixture
def account(vendors: Simulator, clock: SimulatorClock, monkeypatch: pytest.MonkeyPatch) -> MakeAccount:
    """Make a hook for an account at a simulated vendor."""

    def make(vendor: str, **fields: Any) -> Any:
        return account_at(vendors, clock, monkeypatch, vendor, **fields)

    return make
