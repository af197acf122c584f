# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The four vendors, valid requests, and replies in each vendor's form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.vendors.apimart import ApiMart
from airflow_provider_vidgen.vendors.apimodels import ApiModels
from airflow_provider_vidgen.vendors.apixgo import Apixgo
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpReply

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROMPT = "A lighthouse in a storm"
VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (ApiModels(), Apixo(), Apixgo(), ApiMart())}
MODELS = {
    "apimodels": "grok-video-3-official",
    "apixo": "grok-video",
    "apixgo": "grok-image-video",
    "apimart": "grok-imagine-1.0-video-apimart",
}


def request_for(vendor: str, **fields: Any) -> VideoRequest:
    """A request that is valid by the vendor's document, except for the given fields."""
    return VideoRequest(**{"prompt": PROMPT, "model": MODELS[vendor], **fields})


def vendor_job(vendor: str) -> VideoJob:
    return VideoJob(
        vendor=vendor, base_url=VENDORS[vendor].default_base_url, model=MODELS[vendor], task_id="task_1"
    )


def reply(status: int, body: Any = b"", **headers: str) -> HttpReply:
    """A reply; a body that is not bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(
        status=status,
        headers={name.lower().replace("_", "-"): value for name, value in headers.items()},
        content=content,
    )


def read_submit(vendor: str, http_reply: HttpReply, **fields: Any) -> Submission | VidgenError:
    """The result of reading a reply to a submission; an error is returned, not raised."""
    base_url = VENDORS[vendor].default_base_url
    try:
        return VENDORS[vendor].read_submit(request_for(vendor, **fields), base_url, http_reply, now=NOW)
    except VidgenError as error:
        return error


def read_status(vendor: str, http_reply: HttpReply) -> JobStatus | VidgenError:
    """The result of reading a reply to a status call; an error is returned, not raised."""
    try:
        return VENDORS[vendor].read_status(vendor_job(vendor), http_reply, now=NOW)
    except VidgenError as error:
        return error
