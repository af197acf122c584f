# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the integration tests share: accounts at simulated vendors, and a look at what was sent and billed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import JobStatus, Submission, VideoRequest
from airflow_provider_vidgen.simulator import Simulator

START = 1_780_000_000.0
KEY = "sim-0123456789abcdef"
PROMPT = "a lighthouse in a heavy storm"
VENDORS = ("apimodels", "apixo", "apixgo", "apimart")
KEYLESS = ("apimodels", "apixo", "apixgo")
MODEL = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}


class MakeAccount(Protocol):
    def __call__(self, vendor: str, **fields: Any) -> VideoGenHook: ...


class SimClock:
    """The vendors' clock: it stands still, and sleeping pushes it on."""

    def __init__(self, vendors: Simulator) -> None:
        self._vendors = vendors
        self._now = vendors.now()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._vendors.advance(seconds)
        self._now += seconds


def account_at(
    vendors: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch, vendor: str, **fields: Any
) -> VideoGenHook:
    """A hook whose waits push the vendors' clock on."""
    # The triggerer's pace is kept in real time, and these tests' clock is not real.
    quick = {"allow_private_urls": True, "timeout": 5, "requests_per_minute": 60_000}
    extra = {"vendor": vendor, **quick, **fields.pop("extra", {})}
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


def wait(hook: VideoGenHook, clock: SimClock, submission: Submission, **how: Any) -> JobStatus:
    return hook.wait(submission.job, **{"submitted_at": clock.now(), **how})


def posts(vendors: Simulator) -> int:
    """How many paid requests reached a vendor."""
    return sum(visit.method == "POST" for visit in vendors.requests())


def billed(vendors: Simulator) -> int:
    """How many jobs a vendor accepted."""
    return len(vendors.ledger().entries)


def cdn_saw_no_key(vendors: Simulator) -> bool:
    return all(visit.authorization == "none" for visit in vendors.requests() if visit.host == "cdn")
