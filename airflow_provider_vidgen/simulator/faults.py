# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Fault rules: which requests fail, and how. :mod:`.responses` sends the faulty responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field

from airflow_provider_vidgen.simulator.validation import STRICT, Seconds, VendorName, validate

Route = Literal["create", "status", "download", "models", "balance", "upload", "p-video"]
ROUTES: Final = get_args(Route)
# Requests on these routes are billed, so a fault is either before or after acceptance.
PAID_ROUTES: Final = ("create", "p-video")

FaultKind = Literal[
    "reset",
    "close",
    "hang",
    "slow_headers",
    "slow_body",
    "byte_by_byte",
    "truncated",
    "content_length_too_long",
    "content_length_too_short",
    "chunked_truncated",
    "empty_body",
    "wrong_content_type",
    "html",
    "html_as_video",
    "gzip",
    "status",
    "busy",
    "redirect",
    "range_ignored",
    "range_416",
]
FAULT_KINDS: Final = get_args(FaultKind)

#: What aiohttp and every client accept in headers.
_HeaderName = Annotated[str, Field(pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
_HeaderValue = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$")]
_ContentType = Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?$")]
_Location = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")]
_PositiveInt = Annotated[int, Field(ge=1)]
#: Headers that follow from the body of the response.
_RESERVED_HEADERS: Final = (
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-type",
    "connection",
)
_ALLOWED_STATUSES: Final = {"redirect": range(300, 400), "busy": (429, 503)}


@dataclass(frozen=True)
class Fault:
    """One way in which a response fails. Values in parentheses are defaults.

    :param kind: one of :data:`FAULT_KINDS`.
    :param when: on paid routes, ``before`` or ``after`` the job is accepted and billed.
    :param seconds: in real seconds, because the client's timeouts are real: for ``slow_headers`` the delay
        (1), for ``slow_body`` the total time (1), for ``byte_by_byte`` the time per byte (1), for ``busy``
        the value of ``Retry-After`` (1), for ``hang`` the time until a reset (until the client disconnects).
    :param body_fraction: for ``truncated`` and ``chunked_truncated``, the part of the body that is sent.
    :param status: for ``status`` (500) and ``redirect`` (302); 503 or 429 for ``busy`` (503).
    :param body: for ``status`` and ``busy``: a JSON value, or a string sent as it is.
    :param content_type: for ``wrong_content_type``, ``status`` and ``busy``.
    :param headers: additional headers for ``status`` and ``busy``.
    :param location: for ``redirect``; without it the request is redirected to itself, so the rule's ``times``
        is the length of the chain, and None makes an endless loop.
    """

    __pydantic_config__: ClassVar = STRICT

    kind: FaultKind
    when: Literal["before", "after"] = "before"
    seconds: Seconds | None = None
    body_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    content_type: _ContentType | None = None
    headers: Mapping[_HeaderName, _HeaderValue] = field(default_factory=dict)
    location: _Location | None = None

    def __post_init__(self) -> None:
        allowed = _ALLOWED_STATUSES.get(self.kind)
        if allowed is not None and self.status is not None and self.status not in allowed:
            low, high = min(allowed), max(allowed)
            values = f"{low} or {high}" if len(allowed) == 2 else f"from {low} to {high}"
            raise ValueError(f"status={self.status}: with {self.kind} it must be {values}")
        try:
            json.dumps(self.body, allow_nan=False)
        except ValueError:
            raise ValueError("body: JSON has no numbers that are not finite") from None
        reserved = [name for name in self.headers if name.lower() in _RESERVED_HEADERS]
        if reserved:
            raise ValueError(f"headers: {', '.join(reserved)} cannot be set, they depend on the body")


@dataclass
class FaultRule:
    """A fault, and the requests that it applies to.

    :param nth: the first request that fails, counted from 1 among the matching ones.
    :param times: number of requests that fail from there; None for all.
    :param matched: number of matching requests so far.
    """

    __pydantic_config__: ClassVar = STRICT

    fault: Fault
    vendor: VendorName | None = None
    route: Route | None = None
    task_id: str | None = None
    nth: _PositiveInt = 1
    times: _PositiveInt | None = 1
    matched: int = field(default=0, init=False)

    def applies_to(self, vendor: str, route: str, task_id: str | None) -> bool:
        """Count a request if it matches, and return whether it fails.

        :param vendor: vendor of the request.
        :param route: route of the request.
        :param task_id: job that the request is about, if any.
        """
        if self.vendor not in (None, vendor) or self.route not in (None, route):
            return False
        if self.task_id not in (None, task_id):
            return False
        self.matched += 1
        return self.matched >= self.nth and (self.times is None or self.matched < self.nth + self.times)


class FaultRules:
    """All rules, in the order they were added; the first that applies to a request wins."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a rule.

        :param values: the fields of a :class:`FaultRule`.
        :raises ValueError: a field does not exist, or does not allow its value.
        """
        self.rules.append(validate(FaultRule, values))

    def clear(self) -> None:
        """Remove all rules."""
        self.rules.clear()

    def match(self, vendor: str, route: str, task_id: str | None = None) -> Fault | None:
        """Return the fault of a request, or None.

        :param vendor: vendor of the request.
        :param route: route of the request.
        :param task_id: job that the request is about, if any.
        """
        # Every rule counts every request, so that "the second status call" does not depend on other rules.
        faults = [rule.fault for rule in self.rules if rule.applies_to(vendor, route, task_id)]
        return faults[0] if faults else None
