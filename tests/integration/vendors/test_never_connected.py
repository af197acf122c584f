# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""No connection came about: nothing was sent, and the paid call may go out again."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from airflow_provider_vidgen.errors import (
    InvalidConnection,
    NotSent,
    SubmitOutcomeUnknown,
)
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, submit


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        yield int(taken.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections come about, and then nobody says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_refused_connection_is_not_sent_and_tried_again(
    vendor: str, closed_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(NotSent, match="Nothing was spent"):
        submit(account(vendor, host=f"http://127.0.0.1:{closed_port}"))
    assert len(clock.slept) == 3


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_tls_handshake_that_never_ends_is_not_sent(
    vendor: str, silent_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(NotSent):
        submit(account(vendor, host=f"https://127.0.0.1:{silent_port}", extra={"timeout": 0.1}))
    assert len(clock.slept) == 3


def test_a_tls_handshake_with_a_plain_server_is_not_sent(vendors: Simulator, account: MakeAccount) -> None:
    https = vendors.base_url("apixo").replace("http:", "https:")
    with pytest.raises(NotSent):
        submit(account("apixo", host=https))
    assert billed(vendors) == 0


def test_a_server_that_takes_the_request_and_says_nothing_is_unknown(
    silent_port: int, account: MakeAccount, clock: SimulatorClock
) -> None:
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account("apixo", host=f"http://127.0.0.1:{silent_port}", extra={"timeout": 0.1}))
    assert clock.slept == []


def test_a_proxy_that_refuses_is_not_sent(
    closed_port: int, vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(NotSent):
        submit(account("apixo", host="http://gw.invalid"))


@pytest.mark.parametrize("host", ["http://no-such-name.invalid", f"http://a..{'b' * 70}.example"])
def test_a_name_that_leads_nowhere_is_not_sent(host: str, account: MakeAccount) -> None:
    with pytest.raises(NotSent):
        submit(account("apixo", host=host))


def test_a_missing_ca_bundle_is_not_sent(
    vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    https = vendors.base_url("apixo").replace("http:", "https:")
    with pytest.raises(InvalidConnection, match=r"(?s)REQUESTS_CA_BUNDLE=.*Nothing was spent"):
        submit(account("apixo", host=https))
    assert billed(vendors) == 0
