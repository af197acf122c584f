# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Which requests go wrong, and how: rules are matched here and acted out elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

ROUTES: Final = ("create", "status", "download", "models", "balance", "upload", "p-video")
# On these routes money moves, so it matters whether the fault comes before or after acceptance.
PAID_ROUTES: Final = ("create", "p-video")

KINDS: Final = (
    "reset",
    "close",
    "hang",
    "slow_header",
    "slow_body",
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
    "redirect",
    "range_ignored",
    "range_416",
)


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    :param kind: one of :data:`KINDS`.
    :param when: on paid routes, ``before`` or ``after`` the job is accepted and billed.
    :param seconds: for the slow ones and ``hang``, in real seconds, because the client's patience is real;
        a ``hang`` without it lasts until the client goes.
    :param share: for ``truncated`` and ``chunked_cut``, the part of the body that is sent.
    :param status: for ``status`` and ``redirect``.
    :param body: for ``status``: a JSON value, or a string sent as it is.
    :param content_type: for ``content_type`` and ``status``.
    :param headers: more headers for ``status``.
    :param location: for ``redirect``; without it the request is sent to itself, so ``times`` gives the length
        of the chain and None a loop.
    """

    kind: str
    when: str = "before"
    seconds: float | None = None
    share: float = 0.5
    status: int | None = None
    body: Any = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.when not in ("before", "after"):
            raise ValueError(f"a fault comes before or after acceptance, not {self.when!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is from 0 to 1, not {self.share!r}")


@dataclass
class Rule:
    """A fault and the requests it meets.

    :param nth: the first request it meets, counted from 1 among those that match.
    :param times: how many requests it meets from there; None for all.
    """

    fault: Fault
    vendor: str | None = None
    route: str | None = None
    task_id: str | None = None
    nth: int = 1
    times: int | None = 1
    seen: int = 0

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


def rule_from_json(told: Mapping[str, Any]) -> Rule:
    """Read a rule as the control API takes it.

    :param told: the JSON object.
    """
    allowed = {item.name for item in fields(Rule)} - {"seen"}
    unknown = set(told) - allowed
    if unknown:
        raise ValueError(f"a fault rule has no {', '.join(sorted(unknown))}")
    if told.get("route") not in (None, *ROUTES):
        raise ValueError(f"route is one of {', '.join(ROUTES)}")
    fault = told.get("fault")
    if not isinstance(fault, Mapping) or "kind" not in fault:
        raise ValueError('a rule needs "fault": {"kind": ...}')
    strange = set(fault) - {item.name for item in fields(Fault)}
    if strange:
        raise ValueError(f"a fault has no {', '.join(sorted(strange))}")
    rest = {name: value for name, value in told.items() if name not in ("fault", "nth")}
    return Rule(fault=Fault(**fault), nth=told.get("nth") or 1, **rest)


class FaultBook:
    """All rules, in the order they were given; the first that meets a request wins."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Take in a rule.

        :param rule: the rule.
        """
        self._rules.append(rule)

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
