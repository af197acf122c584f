# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Accounts at the simulated vendors, and what was sent to them and billed."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pytest

from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import JobStatus, Submission, VideoRequest
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import MODEL, PROMPT
from tests.support.clock import SimulatorClock

START = 1_780_000_000.0
KEY = "sim-0123456789abcdef"
KEYLESS = ("apimodels", "apixo", "apixgo")


class MakeAccount(Protocol):
    def __call__(self, vendor: str, **fields: Any) -> VideoGenHook: ...


def account_at(
    vendors: Simulator, clock: SimulatorClock, monkeypatch: pytest.MonkeyPatch, vendor: str, **fields: Any
) -> VideoGenHook:
    """Return a hook whose waits move the simulator's clock."""
    # The triggerer's rate limit counts in real time, and these tests do not, so it must never wait.
    fast = {"allow_private_urls": True, "timeout": 5, "requests_per_minute": 60_000}
    extra = {"vendor": vendor, **fast, **fields.pop("extra", {})}
    conn = {
        "conn_type": "vidgen",
        "host": vendors.base_url(vendor),
        "password": KEY,
        "extra": extra,
        **fields,
    }
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", json.dumps(conn))
    hook = VideoGenHook()
    # In place of the cached property: the same client with another clock.
    hook.__dict__["client"] = WorkerClient(hook.settings, now=clock.now, sleep=clock.sleep)
    return hook


def submit(hook: VideoGenHook, prompt: str = PROMPT, **fields: Any) -> Submission:
    model = MODEL[hook.settings.vendor.name]
    request = VideoRequest(**{"prompt": prompt, "model": model, **fields})
    return hook.submit(request, idempotency_key="vidgen-test-key")


def wait(hook: VideoGenHook, clock: SimulatorClock, submission: Submission, **how: Any) -> JobStatus:
    return hook.wait(submission.job, **{"submitted_at": clock.now(), **how})


def posts(vendors: Simulator) -> int:
    """Return the number of paid requests that reached a vendor."""
    return sum(visit.method == "POST" for visit in vendors.requests())


def billed(vendors: Simulator) -> int:
    """Return the number of jobs that a vendor accepted."""
    return len(vendors.ledger().entries)


def cdn_saw_no_key(vendors: Simulator) -> bool:
    return all(visit.authorization == "none" for visit in vendors.requests() if visit.host == "cdn")
