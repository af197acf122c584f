# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Accounts at the four vendors: connections, settings, job handles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.models import VideoJob

if TYPE_CHECKING:
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

KEY = "sk-0123456789abcdef"
PROMPT = "a lighthouse in a heavy storm"
VENDORS = ("apimodels", "apixo", "apixgo", "apimart")
BASE = {
    "apimodels": "https://apimodels.app",
    "apixo": "https://api.apixo.ai",
    "apixgo": "https://img.apixgo.com",
    "apimart": "https://api.apimart.ai",
}
MODEL = {
    "apimodels": "grok-video-3",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}


class MakeHook(Protocol):
    """Makes a hook for a vendor; the fields are those of its connection."""

    def __call__(self, vendor: str, **fields: Any) -> VideoGenHook: ...


def connection(vendor: str, **fields: Any) -> str:
    """Return a connection in the JSON form of Airflow's environment variables."""
    extra = {"vendor": vendor, "model": MODEL[vendor], **fields.pop("extra", {})}
    return json.dumps({"conn_type": "vidgen", "password": KEY, "extra": extra, **fields})


def settings(vendor: str = "apixgo", **fields: Any) -> ConnectionSettings:
    """Return the validated settings of an account."""
    extra = {"vendor": vendor, **fields.pop("extra", {})}
    return ConnectionSettings.read(
        "vidgen_default", **{"host": None, "password": KEY, "extra": extra, **fields}
    )


def job(vendor: str = "apixgo", task_id: str = "task_1", base_url: str | None = None) -> VideoJob:
    """Return the handle of the job in the replies of :mod:`tests.support.vendor_replies`."""
    return VideoJob(vendor=vendor, base_url=base_url or BASE[vendor], model=MODEL[vendor], task_id=task_id)
