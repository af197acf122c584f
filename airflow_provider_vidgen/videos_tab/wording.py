# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Text for people: durations, sizes, money, ordinals; and text of others, made safe to send. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_vidgen.clock import from_iso

#: Characters of a text that a card shows; XComs have no limit.
_MAX_LENGTH = 5_000
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}
_CLASS_NAME = re.compile(r"[A-Z][A-Za-z]{2,39}", re.ASCII)
_WORD = re.compile(r"[A-Z][a-z]*", re.ASCII)


def clean(text: str, limit: int = _MAX_LENGTH) -> str:
    """
    Return text that can be sent: encodable, and not endless.

    JSON may hold a lone surrogate, which UTF-8 cannot encode: one such XCom would make the page fail.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= limit else text[:limit].rstrip() + "…"


def sentence(text: str) -> str:
    """Return a text with a full stop, if it has no other end."""
    text = clean(text).strip()
    return text if not text or text.endswith((".", "!", "?", "…", "”", '"')) else f"{text}."


def parse_time(text: Any) -> datetime | None:
    """Parse an ISO 8601 time with a zone; ``None`` for anything else."""
    try:
        return from_iso(text)
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: Any) -> float | None:
    """Return a finite number that is not negative; ``None`` for anything else. JSON may hold NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``1 min 20 s``; negative ones are ``0 s``."""
    rest, parts = max(0, int(seconds)), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        if parts and (len(parts) == 2 or not rest):
            break
        if len(parts) == 1 and not count:
            break
    return " ".join(parts[:2]) or "0 s"


def length(seconds: float) -> str:
    """Return the length of a video as players show it, such as ``0:06`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Return a number of bytes, such as ``4.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def ordinal(place: int) -> str:
    """Return ``1st``, ``2nd``, and so on."""
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def money(amount: float, currency: str) -> str:
    """
    Return an amount, such as ``$0.12``, ``0.12 CNY`` or ``1 credit``.

    Amounts below a hundredth keep two digits that are not zero: vendors charge fractions of a cent.
    """
    digits = 2
    if 0 < amount < 0.095:
        digits = min(8, 1 - math.floor(math.log10(amount)))
    text = f"{amount:,.{digits}f}"
    if digits > 2:
        text = text.rstrip("0")
        text = text if len(text.partition(".")[2]) >= 2 else f"{amount:.2f}"
    if symbol := _SYMBOLS.get(currency):
        return f"{symbol}{text}"
    if currency == "credits":
        return f"{amount:,.10g} credit{'' if amount == 1 else 's'}"
    return f"{text} {clean(currency, 12)}"


def cost_parts(cost: Mapping[str, Any] | None) -> tuple[float, str, str] | None:
    """Return amount, currency and basis of the ``cost`` of a status; ``None`` if it is not complete."""
    if cost is None:
        return None
    amount, currency, basis = number(cost.get("amount")), cost.get("currency"), cost.get("basis")
    if amount is None or not isinstance(currency, str) or basis not in ("reported", "estimated"):
        return None
    return amount, currency, str(basis)


def error_label(name: str) -> str:
    """Return the class name of an error in words: ``ContentRejected`` is ``Content rejected``."""
    if not _CLASS_NAME.fullmatch(name):
        return "Failed"
    return " ".join(_WORD.findall(name)).capitalize()
