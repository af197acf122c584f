# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Read values out of a reply that may hold anything. Wrong types give ``None``, never an exception."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

#: Numbers above this are milliseconds since 1970, below it seconds (as seconds it is the year 5138).
_MILLISECONDS_FROM = 1e11
#: What JSON can spell and neither UTF-8 nor a database can hold.
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")


class UnreadableReply(ValueError):
    """The bytes are not JSON."""


def parse_json(content: bytes | str) -> Any:
    """
    Parse a reply's body.

    :raises UnreadableReply: not JSON, not text, nested too deep, or a number too long to read.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableReply(type(error).__name__) from None


def dig(data: Any, *path: str | int) -> Any:
    """Follow keys and indices; ``None`` where the way ends."""
    for step in path:
        if isinstance(step, str) and isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(step, int) and isinstance(data, list) and -len(data) <= step < len(data):
            data = data[step]
        else:
            return None
    return data


def first(data: Any, *paths: tuple[str | int, ...]) -> Any:
    """Return what the first path leads to that is not ``None`` or empty text."""
    for path in paths:
        value = dig(data, *path)
        if value is not None and value != "":
            return value
    return None


def nested(value: Any) -> Any:
    """Return a value that vendors send as JSON in a JSON string, also encoded twice, as what it means."""
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = parse_json(value)
        except UnreadableReply:
            return None
    return value


def text(value: Any) -> str:
    """Return text or a number as stripped text fit to be stored, anything else as ``""``."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value).strip()
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # more digits than Python agrees to print
            return ""
    return ""


def number(value: Any) -> float | None:
    """Return a finite number, also one sent as text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def moment(value: Any) -> datetime | None:
    """Return a Unix time in seconds or milliseconds as UTC."""
    stamp = number(value)
    if stamp is None or stamp <= 0:
        return None
    try:
        return datetime.fromtimestamp(stamp / 1000 if stamp > _MILLISECONDS_FROM else stamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def percent(value: Any) -> float | None:
    """Return progress given as ``30``, ``"30"`` or ``"30%"``, clamped to 0 to 100."""
    result = number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return None if result is None else min(100.0, max(0.0, result))


def is_link(value: Any) -> bool:
    """Whether this is an http(s) link with a host and nothing a link cannot hold."""
    if not isinstance(value, str) or any(c in ' \\<>"' or not c.isprintable() for c in value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def links(*values: Any) -> tuple[str, ...]:
    """Collect links from strings, lists and ``{"url": ...}`` objects, in order, each once."""
    return tuple(dict.fromkeys(link for link in _strings(values, depth=4) if is_link(link)))


def _strings(values: Iterable[Any], depth: int) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value.strip()
        elif depth and isinstance(value, list):
            yield from _strings(value, depth - 1)
        elif depth and isinstance(value, Mapping):
            yield from _strings([value.get("url")], depth - 1)
