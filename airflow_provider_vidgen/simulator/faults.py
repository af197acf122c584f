# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Which requests go wrong, and how: rules are matched here and acted out elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field

from airflow_provider_vidgen.simulator.checking import STRICT, Seconds, VendorName, checked

Route = Literal["create", "status", "download", "models", "balance", "upload", "p-video"]
ROUTES: Final = get_args(Route)
# On these routes money moves, so it matters whether the fault comes before or after acceptance.
PAID_ROUTES: Final = ("create", "p-video")

Kind = Literal[
    "reset",
    "close",
    "hang",
    "slow_header",
    "slow_body",
    "drip",
    "truncated",
    "long_length",
    "short_length",
    "chunked_cut",
    "empty",
    "content_type",
    "html",
    "html_as_video",
    "gzip",
    "status",
    "busy",
    "redirect",
    "range_ignored",
    "range_416",
]
KINDS: Final = get_args(Kind)

#: What aiohttp and every client take in a head.
_HeaderName = Annotated[str, Field(pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
_HeaderText = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$")]
_ContentType = Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?$")]
_Location = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")]
_Times = Annotated[int, Field(ge=1)]
#: What the answer's own body decides.
_NOT_TOLD: Final = ("content-length", "transfer-encoding", "content-encoding", "content-type", "connection")
#: Kinds that can have these statuses only.
_STATUSES: Final = {"redirect": range(300, 400), "busy": (429, 503)}


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    :param kind: one of :data:`KINDS`.
    :param when: on paid routes, ``before`` or ``after`` the job is accepted and billed.
    :param seconds: for the slow ones and ``hang``, in real seconds, because the client's patience is real;
        a ``hang`` without it lasts until the client goes. A ``slow_body`` takes them for the whole,
        a ``drip`` for each byte, and ``busy`` asks for so many in its ``Retry-After``; each 1 without it.
    :param share: for ``truncated`` and ``chunked_cut``, the part of the body that is sent.
    :param status: for ``status`` (500) and ``redirect`` (302); 503 or 429 for ``busy`` (503).
    :param body: for ``status``: a JSON value, or a string sent as it is.
    :param content_type: for ``content_type`` and ``status``.
    :param headers: more headers for ``status``.
    :param location: for ``redirect``; without it the request is sent to itself, so ``times`` gives the length
        of the chain and None a loop.
    """

    __pydantic_config__: ClassVar = STRICT

    kind: Kind
    when: Literal["before", "after"] = "before"
    seconds: Seconds | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    content_type: _ContentType | None = None
    headers: Mapping[_HeaderName, _HeaderText] = field(default_factory=dict)
    location: _Location | None = None

    def __post_init__(self) -> None:
        allowed = _STATUSES.get(self.kind)
        if allowed is not None and self.status is not None and self.status not in allowed:
            least, most = min(allowed), max(allowed)
            between = f"{least} or {most}" if len(allowed) == 2 else f"from {least} to {most}"
            raise ValueError(f"status={self.status}: with {self.kind} it is {between}")
        try:
            json.dumps(self.body, allow_nan=False)
        except ValueError:
            raise ValueError("body: a number in it is not finite, which JSON cannot say") from None
        wrong = [name for name in self.headers if name.lower() in _NOT_TOLD]
        if wrong:
            raise ValueError(f"headers: {', '.join(wrong)} cannot be set, the body decides about it")


@dataclass
class Rule:
    """A fault and the requests it meets.

    :param nth: the first request it meets, counted from 1 among those that match.
    :param times: how many requests it meets from there; None for all.
    """

    __pydantic_config__: ClassVar = STRICT

    fault: Fault
    vendor: VendorName | None = None
    route: Route | None = None
    task_id: str | None = None
    nth: _Times = 1
    times: _Times | None = 1
    seen: int = field(default=0, init=False)

    def meets(self, vendor: str, route: str, task_id: str | None) -> bool:
        """Count a request if it is one of the rule's, and say whether the fault is for it.

        :param vendor: vendor of the request.
        :param route: route of the request.
        :param task_id: job that the request is about, if any.
        """
        if self.vendor not in (None, vendor) or self.route not in (None, route):
            return False
        if self.task_id not in (None, task_id):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


class FaultBook:
    """All rules, in the order they were given; the first that meets a request wins."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, told: Mapping[str, Any]) -> None:
        """Take in a rule as the control API takes it.

        :param told: the fields of a :class:`Rule`.
        :raises ValueError: a field does not exist, or does not take its value.
        """
        self._rules.append(checked(Rule, told))

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def match(self, vendor: str, route: str, task_id: str | None = None) -> Fault | None:
        """Find the fault for a request.

        :param vendor: vendor of the request.
        :param route: route of the request.
        :param task_id: job that the request is about, if any.
        """
        # Every rule sees every request, so that "the second status call" does not depend on other rules.
        met = [rule.fault for rule in self._rules if rule.meets(vendor, route, task_id)]
        return met[0] if met else None

    def as_json(self) -> list[dict[str, Any]]:
        """Give the rules as the control API shows them."""
        return [asdict(rule) for rule in self._rules]
