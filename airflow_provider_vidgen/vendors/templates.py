# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a template leaves behind when it found no value, or was not rendered at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: How Python, pandas, SQL and JavaScript spell that there is nothing.
_NOTHING = ("none", "nan", "nat", "null", "<na>", "undefined")
HINT = "a template seems to have found no value"
NOT_RENDERED = "a template seems not to have been rendered"


def left_over(value: Any) -> tuple[str, str] | None:
    """
    Return what of a text a template seems to have left, and what that is a sign of; else ``None``.

    The rest of the text, which may be a prompt or a link, is not shown.
    """
    if not isinstance(value, str):
        return None
    if value.strip().casefold() in _NOTHING:
        return f"the text {value.strip()!r}", HINT
    mark = unrendered(value)
    return None if mark is None else (f"{len(value)} characters with {mark!r}", NOT_RENDERED)


def unrendered(text: str) -> str | None:
    """Return the first mark of Jinja's that a text still holds."""
    for mark in ("{{", "{%", "%}"):
        if mark in text:
            return mark
    # JSON, which prompts are written in, too, ends in as many braces as it opens.
    return "}}" if "}}" in text and text.count("}") > text.count("{") else None


def unrendered_within(value: Any, depth: int = 20) -> str | None:
    """Return the first mark of Jinja's in a text, or in any text within nested values."""
    if isinstance(value, str):
        return unrendered(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next(filter(None, (unrendered_within(one, depth - 1) for one in inner)), None) if depth else None
