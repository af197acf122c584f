# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""No connection was established: nothing was sent, so the paid call may be retried."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from airflow_provider_vidgen.errors import (
    ConnectionFailed,
    InvalidConnection,
    SubmitOutcomeUnknown,
)
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, submit


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        yield int(bound.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are established and never get a reply."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_refused_connection_is_retried_and_costs_nothing(
    vendor: str, closed_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(ConnectionFailed, match="Nothing was spent"):
        submit(account(vendor, host=f"http://127.0.0.1:{closed_port}"))
    assert len(clock.slept) == 3


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_tls_handshake_that_times_out_is_retried_and_costs_nothing(
    vendor: str, silent_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(ConnectionFailed):
        submit(account(vendor, host=f"https://127.0.0.1:{silent_port}", extra={"timeout": 0.1}))
    assert len(clock.slept) == 3


def test_a_tls_handshake_with_a_plain_http_server_costs_nothing(
    vendors: Simulator, account: MakeAccount
) -> None:
    https = vendors.base_url("apixo").replace("http:", "https:")
    with pytest.raises(ConnectionFailed):
        submit(account("apixo", host=https))
    assert billed(vendors) == 0


def test_a_server_that_never_replies_is_an_unknown_outcome(
    silent_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account("apixo", host=f"http://127.0.0.1:{silent_port}", extra={"timeout": 0.1}))
    assert clock.slept == []


def test_a_proxy_that_refuses_connections_costs_nothing(
    closed_port: int, vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ConnectionFailed):
        submit(account("apixo", host="http://gw.invalid"))


@pytest.mark.parametrize("host", ["http://no-such-name.invalid", f"http://a..{'b' * 70}.example"])
def test_a_host_name_that_cannot_be_resolved_costs_nothing(host: str, account: MakeAccount) -> None:
    with pytest.raises(ConnectionFailed):
        submit(account("apixo", host=host))


def test_a_missing_ca_bundle_is_an_invalid_connection_and_costs_nothing(
    vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    https = vendors.base_url("apixo").replace("http:", "https:")
    with pytest.raises(InvalidConnection, match=r"(?s)REQUESTS_CA_BUNDLE=.*Nothing was spent"):
        submit(account("apixo", host=https))
    assert billed(vendors) == 0
