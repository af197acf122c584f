# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A metrics backend that records what is sent to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


class RecordedMetrics:
    """
    Records metrics in place of Airflow's backend.

    :ivar sent: name, amount or seconds, and tags of each metric, in order; ``None`` for no tags.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, dict[str, str] | None]] = []

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str] | None = None) -> None:
        assert isinstance(count, int)
        self.sent.append((stat, count, tags))

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, str] | None = None) -> None:
        self.sent.append((stat, dt.total_seconds(), tags))

    def timer(self) -> None:
        """Accept a timer without a name, which sends nothing."""

    def of(self, name: str) -> list[tuple[float, dict[str, str]]]:
        """Return amount or seconds and tags of each metric of a name, without prefix."""
        return [(value, tags) for stat, value, tags in self.sent if stat == f"vidgen.{name}" and tags]

    def total(self, name: str, **tags: Any) -> float:
        """Return the sum of a metric, of those with the given tags."""
        return sum(value for value, found in self.of(name) if tags.items() <= found.items())
