# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One HTTP exchange with a vendor: the call, the reply, and what any reply says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.vendors.reading import dig, first, number, text


@dataclass(frozen=True, kw_only=True)
class HttpCall:
    """
    An HTTP request without host and key; the transport adds both.

    :param path: below the connection's base URL.
    :param body: sent as compact JSON, keys in this order.
    :param read_timeout: seconds the reply may take, where the connection's own timeout is too short.
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
    What came back.

    :param headers: names found in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)


def effective_code(reply: HttpReply, body: Any) -> int:
    """
    Return the code that counts: HTTP's if it is an error, else a numeric ``code`` in the body.

    Vendors report errors as HTTP 200 with a code in the body, too. 0 stands for "no code", which some
    relays send on success.
    """
    if reply.status >= 300:
        return reply.status
    inner = number(first(body, ("error", "code"), ("code",)))
    return reply.status if inner is None else int(inner)


def vendor_code(body: Any) -> str:
    """Return the vendor's own error code, ``""`` where there is none."""
    return redact(text(first(body, ("error", "code"), ("data", "failCode"), ("code",))))[:100]


def vendor_message(body: Any) -> str:
    """Return the vendor's own words about an error, ``""`` where there are none."""
    error = dig(body, "error")
    if isinstance(error, str):
        return error.strip()
    return text(
        first(body, ("error", "message"), ("data", "error"), ("message",), ("msg",), ("data", "fail_reason"))
    )


def describe(reply: HttpReply, body: Any) -> str:
    """Return what kind of reply it was, without its content."""
    if reply.status < 300 and body is None:
        return f"HTTP {reply.status} and {len(reply.content)} bytes that are not JSON"
    code = effective_code(reply, body)
    return f"HTTP {reply.status}" + (f" and code {code} in the body" if code != reply.status else "")
