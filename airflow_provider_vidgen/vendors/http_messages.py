# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""HTTP requests to a vendor and its replies as plain data, and the fields that all vendors' replies share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.vendors.parsing import get_first, get_path, parse_number, parse_text

#: Longest Retry-After that is honoured, in seconds; a longer one is cut to this.
MAX_RETRY_AFTER = 600.0


@dataclass(frozen=True, kw_only=True)
class HttpCall:
    """
    An HTTP request without host and key; the HTTP client adds both.

    :param path: below the connection's base URL.
    :param body: sent as compact JSON, keys in this order.
    :param read_timeout: seconds to wait for the reply, where the connection's own timeout is too short.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    read_timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """
    The reply to an :class:`HttpCall`.

    :param status: HTTP status code.
    :param headers: names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)


def build_body(fields: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return a request body: the fields that are set, then the user's extra fields.

    :param fields: ``None`` leaves a field out, so that the vendor's default applies.
    """
    return {**{name: value for name, value in fields.items() if value is not None}, **(extra or {})}


def effective_status_code(reply: HttpReply, body: Any) -> int:
    """
    Return HTTP's status code if it is an error, else a numeric ``code`` in the body.

    Vendors also report errors as HTTP 200 with a code in the body. Some relays send the code 0 on success.
    """
    if reply.status >= 300:
        return reply.status
    code = parse_number(get_first(body, ("error", "code"), ("code",)))
    return reply.status if code is None else int(code)


def vendor_code(body: Any) -> str:
    """Return the vendor's own error code, or ``""``."""
    return redact(parse_text(get_first(body, ("error", "code"), ("data", "failCode"), ("code",))))[:100]


def vendor_message(body: Any) -> str:
    """Return the vendor's own error message, or ``""``."""
    error = get_path(body, "error")
    if isinstance(error, str):
        return error.strip()
    return parse_text(
        get_first(
            body, ("error", "message"), ("data", "error"), ("message",), ("msg",), ("data", "fail_reason")
        )
    )


def describe_reply(reply: HttpReply, body: Any) -> str:
    """Return the status of a reply for messages, without its content."""
    if reply.status < 300 and body is None:
        return f"HTTP {reply.status} and {len(reply.content)} bytes that are not JSON"
    code = effective_status_code(reply, body)
    return f"HTTP {reply.status}" + (f" and code {code} in the body" if code != reply.status else "")


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Return the Retry-After of a reply in seconds, at most :data:`MAX_RETRY_AFTER`, or ``None``.

    :param headers: names in lower case; ``retry-after-ms``, or ``retry-after`` in seconds or as a date.
    """
    seconds = _retry_after_seconds(headers, now)
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_AFTER)


def _retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    milliseconds = parse_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = parse_number(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
