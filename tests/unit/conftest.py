# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Fixtures of the unit tests: a clock that moves only on a sleep, hooks, and the log."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.accounts import MakeHook, connection
from tests.support.clock import Clock
from tests.support.core_tasks import FakeRun
from tests.support.recorded_metrics import RecordedMetrics


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that moves only on a sleep; everything that waits or reads the time uses it."""
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
    """Make a hook with a connection in the environment and with the test's clock."""
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

    def make(vendor: str, **fields: Any) -> VideoGenHook:
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection(vendor, **fields))
        return VideoGenHook()

    return make


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return what was logged since the last call; Airflow's loggers write to the standard output."""
    caplog.set_level(logging.DEBUG)

    def read() -> str:
        text = "".join(capsys.readouterr()) + caplog.text
        caplog.clear()
        return text

    return read


@pytest.fixture
def vidgen(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[..., None]:
    """Set the connection ``vidgen_default`` to an account at a vendor."""

    def connect(vendor: str, **fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection(vendor, **fields))

    return connect


@pytest.fixture
def sent_metrics(monkeypatch: pytest.MonkeyPatch) -> RecordedMetrics:
    """The metrics that were sent."""
    from airflow_provider_vidgen import airflow_internals, metrics

    backend = RecordedMetrics()
    monkeypatch.setattr(airflow_internals, "metrics_backend", lambda: backend)
    monkeypatch.setattr(metrics, "_stopped", False)
    return backend


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """The Dag run that commands and actions find in place of Airflow's database."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_provider_vidgen import airflow_core
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

    run = FakeRun()

    def get_connection(conn_id: str) -> Any:
        if conn_id not in run.connections:
            raise AirflowNotFoundException
        return run.connections[conn_id]

    monkeypatch.setattr(airflow_core, "tasks_of_run", run.tasks_of_run)
    monkeypatch.setattr(airflow_core, "locked_task", run.locked_task)
    monkeypatch.setattr(VideoGenHook, "get_connection", staticmethod(get_connection))
    # Commands set it; so it is restored afterwards.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    return run
