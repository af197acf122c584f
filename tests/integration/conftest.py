# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The package against the simulator: real sockets on loopback, and time that passes only by sleeping."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="vidgen-integration-"))

from vidgen_wire import START, MakeAccount, SimClock, account_at

from airflow_provider_vidgen.simulator import Simulator


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir"),
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", os.devnull)


@pytest.fixture(scope="session")
def running_vendors() -> Iterator[Simulator]:
    with Simulator(render=False, speed=0, start_time=START) as running:
        yield running


@pytest.fixture
def vendors(running_vendors: Simulator) -> Simulator:
    """The four vendors with empty books."""
    running_vendors.reset()
    return running_vendors


@pytest.fixture
def clock(vendors: Simulator) -> SimClock:
    return SimClock(vendors)


@pytest.fixture
def account(vendors: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch) -> MakeAccount:
    """A hook for an account at one of them."""

    def make(vendor: str, **fields: Any) -> Any:
        return account_at(vendors, clock, monkeypatch, vendor, **fields)

    return make
