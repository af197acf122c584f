# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What worker and triggerer put on the wire and take from it alike."""

from __future__ import annotations

import json

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.vendors.http_messages import HttpCall

#: Bytes after which a reply is not an answer about a job any more.
MAX_REPLY = 4 * 1024 * 1024
_SHORTEST_KEY = 6


class Overlong(Exception):
    """A reply that is too big or takes too long."""


def url_for(settings: ConnectionSettings, call: HttpCall) -> str:
    """Return the full URL without the query."""
    return settings.base_url + call.path


def encode(call: HttpCall) -> bytes | None:
    """Return the body as compact JSON in UTF-8."""
    if call.body is None:
        return None
    return json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()


def headers_for(call: HttpCall) -> dict[str, str]:
    """Return the headers but the key."""
    content = {} if call.body is None else {"Content-Type": "application/json"}
    return {**content, **call.headers}


def without_key(content: bytes, settings: ConnectionSettings) -> bytes:
    """Take the API key out of a reply that repeats it, so that no message can carry it on."""
    key = settings.api_key.encode()
    return content.replace(key, b"***") if len(key) >= _SHORTEST_KEY else content
