# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What all unit tests stand on: nothing of the developer's environment, and a clock of our own."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="vidgen-unit-"))

from fakes import Clock, MakeHook, connection


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir"),
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", os.devnull)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only moves when somebody sleeps; everything that waits or looks at the time uses it."""
    from airflow_provider_vidgen import client, generation, landing
    from airflow_provider_vidgen import clock as clock_module
    from airflow_provider_vidgen.hooks import video_gen

    clock = Clock()
    for module in (client, clock_module):
        monkeypatch.setattr(module, "utcnow", clock.now)
    monkeypatch.setattr(
        video_gen,
        "WorkerClient",
        functools.partial(client.WorkerClient, now=clock.now, sleep=clock.sleep),
    )
    quick_landing = functools.partial(landing.Landing, sleep=clock.sleep, now=clock.now)
    for module in (landing, generation):
        monkeypatch.setattr(module, "Landing", quick_landing)
    return clock


@pytest.fixture
def make_hook(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> MakeHook:
    """A hook whose connection stands in the environment and whose time is ours."""
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

    def make(vendor: str, **fields: Any) -> VideoGenHook:
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection(vendor, **fields))
        return VideoGenHook()

    return make


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that was logged since the last call: Airflow's loggers write to the standard output."""
    caplog.set_level(logging.DEBUG)

    def read() -> str:
        told = "".join(capsys.readouterr()) + caplog.text
        caplog.clear()
        return told

    return read


@pytest.fixture
def vidgen(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[..., None]:
    """Sets the connection ``vidgen_default`` to an account at a vendor."""

    def connect(vendor: str, **fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection(vendor, **fields))

    return connect
