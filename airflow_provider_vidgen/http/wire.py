# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""How requests are encoded and replies limited, on workers and on the triggerer."""

from __future__ import annotations

import json

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.vendors.http_messages import HttpCall

#: Bytes of the longest reply that is read.
MAX_REPLY = 4 * 1024 * 1024
#: Masking shorter keys, which are no API keys, would blank out parts of words.
_MIN_KEY_LENGTH = 6


def url_for(settings: ConnectionSettings, call: HttpCall) -> str:
    """Return the full URL without the query."""
    return settings.base_url + call.path


def encode_body(call: HttpCall) -> bytes | None:
    """Return the body as compact JSON in UTF-8."""
    if call.body is None:
        return None
    return json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()


def headers_for(call: HttpCall) -> dict[str, str]:
    """Return the headers, without ``Authorization``."""
    content = {} if call.body is None else {"Content-Type": "application/json"}
    return {**content, **call.headers}


def mask_api_key(content: bytes, settings: ConnectionSettings) -> bytes:
    """Mask the API key in a reply that repeats it, so that no message can quote it."""
    key = settings.api_key.encode()
    return content.replace(key, b"***") if len(key) >= _MIN_KEY_LENGTH else content
