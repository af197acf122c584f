# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Parse values of any type from a reply. Wrong types give ``None`` or empty, never an exception."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

#: Larger numbers are milliseconds since 1970, smaller ones seconds (as seconds it is the year 5138).
_MIN_MILLISECONDS = 1e11
#: More than a job costs in any currency, or in credits.
_MAX_AMOUNT = 1e6
#: Characters that JSON can spell and neither UTF-8 nor a database can store.
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")


class InvalidJson(ValueError):
    """The bytes are not JSON."""


def parse_json(content: bytes | str) -> Any:
    """
    Parse a reply's body.

    :raises InvalidJson: not JSON, not text, nested too deep, or a number too long to parse.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(type(error).__name__) from None


def parse_nested_json(value: Any) -> Any:
    """Parse a value that vendors send as JSON in a JSON string, encoded once or twice."""
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = parse_json(value)
        except InvalidJson:
            return None
    return value


def get_path(data: Any, *path: str | int) -> Any:
    """Return the value at nested keys and indices, or ``None`` where one is missing."""
    for step in path:
        if isinstance(step, str) and isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(step, int) and isinstance(data, list) and -len(data) <= step < len(data):
            data = data[step]
        else:
            return None
    return data


def get_first(data: Any, *paths: tuple[str | int, ...]) -> Any:
    """Return the first value at these paths that is neither ``None`` nor empty text."""
    for path in paths:
        value = get_path(data, *path)
        if value is not None and value != "":
            return value
    return None


def parse_text(value: Any) -> str:
    """Return text or an integer as stripped, storable text; anything else as ``""``."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value).strip()
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # more digits than Python converts
            return ""
    return ""


def parse_number(value: Any) -> float | None:
    """Return a finite number, also one sent as text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def parse_amount(value: Any) -> float | None:
    """Return an amount of money or credits, also one sent as text; ``None`` if negative or implausible."""
    amount = parse_number(value)
    return amount if amount is not None and 0 <= amount < _MAX_AMOUNT else None


def parse_timestamp(value: Any) -> datetime | None:
    """Return a Unix time in seconds or milliseconds as UTC."""
    timestamp = parse_number(value)
    if timestamp is None or timestamp <= 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp / 1000 if timestamp > _MIN_MILLISECONDS else timestamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def parse_percent(value: Any) -> float | None:
    """Return progress given as ``30``, ``"30"`` or ``"30%"``, clamped to 0 to 100."""
    result = parse_number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return None if result is None else min(100.0, max(0.0, result))


def is_http_url(value: Any) -> bool:
    """Whether this is an http(s) URL with a host and without characters that are invalid in URLs."""
    if not isinstance(value, str) or any(c in ' \\<>"' or not c.isprintable() for c in value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def collect_urls(*values: Any) -> tuple[str, ...]:
    """Collect http(s) URLs from strings, lists and ``{"url": ...}`` objects, in order, without duplicates."""
    return tuple(dict.fromkeys(text for text in _strings(values, depth=4) if is_http_url(text)))


def _strings(values: Iterable[Any], depth: int) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value.strip()
        elif depth and isinstance(value, list):
            yield from _strings(value, depth - 1)
        elif depth and isinstance(value, Mapping):
            yield from _strings([value.get("url")], depth - 1)
