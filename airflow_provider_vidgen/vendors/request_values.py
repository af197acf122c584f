# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A request's values as the user wrote them: previews for messages, JSON checks, unrendered templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_vidgen.redaction import redact

NO_VALUE_HINT = "a template seems to have found no value"
NOT_RENDERED_HINT = "a template seems not to have been rendered"
#: How Python, pandas, SQL and JavaScript spell a missing value.
_MISSING_VALUES = ("none", "nan", "nat", "null", "<na>", "undefined")
_MAX_PREVIEW = 60


class TemplateLeftover(NamedTuple):
    """
    A sign that a template was not rendered, or rendered to nothing.

    :param preview: the sign, without the rest of the text, which may be a prompt or a link.
    :param hint: the likely cause.
    """

    preview: str
    hint: str


def find_template_leftover(value: Any) -> TemplateLeftover | None:
    """Return the sign of an unrendered or empty template in a text, if there is one."""
    if not isinstance(value, str):
        return None
    if value.strip().casefold() in _MISSING_VALUES:
        return TemplateLeftover(f"the text {value.strip()!r}", NO_VALUE_HINT)
    delimiter = _find_delimiter(value)
    if delimiter is None:
        return None
    return TemplateLeftover(f"{len(value)} characters with {delimiter!r}", NOT_RENDERED_HINT)


def find_nested_delimiter(value: Any, depth: int = 20) -> str | None:
    """Return the first Jinja delimiter in a text, or in any text within nested values."""
    if isinstance(value, str):
        return _find_delimiter(value)
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if not depth:
        return None
    return next(filter(None, (find_nested_delimiter(item, depth - 1) for item in items)), None)


def preview(value: Any) -> str:
    """Return a value as the user wrote it, shortened, without links and data URLs."""
    try:
        written = redact(repr(value))
    except Exception:  # such as for a number with thousands of digits; a repr may raise anything
        return f"a value of type {type(value).__name__} that cannot be written out"
    return written if len(written) <= _MAX_PREVIEW else written[:_MAX_PREVIEW] + "…"


def describe_type(value: Any) -> str:
    """Return the length of a text or the type of another value, where the value must not be shown."""
    if isinstance(value, str):
        return f"{len(value)} characters" if value.strip() else "empty text"
    return "None" if value is None else type(value).__name__


def is_json_serializable(value: Any) -> bool:
    """Whether a value can be sent as JSON in UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _find_delimiter(text: str) -> str | None:
    for delimiter in ("{{", "{%", "%}"):
        if delimiter in text:
            return delimiter
    # A prompt may be written in JSON, which closes as many braces as it opens.
    return "}}" if "}}" in text and text.count("}") > text.count("{") else None
