# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Checks of single fields that several vendors make, each in its own words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.simulator.answers import Json
from airflow_provider_vidgen.simulator.vendors.base import Refusal


def text(body: Json, name: str, missing: str) -> str:
    """Read a required text.

    :param body: where it stands.
    :param name: its field.
    :param missing: what the vendor says when it is missing, empty or no text.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refusal(400, missing, field=name)
    return value


def choice(body: Json, name: str, allowed: Collection[str], default: str) -> str:
    """Read an optional word out of a list.

    :param body: where it stands.
    :param name: its field.
    :param allowed: the words, spelt exactly.
    :param default: what stands for a missing one.
    """
    value = body.get(name, default)
    if value not in allowed:
        raise Refusal(400, f"{name} must be one of {', '.join(allowed)}", field=name)
    return str(value)


def whole(body: Json, name: str, low: int, high: int, default: int) -> int:
    """Read an optional whole number; ``"6"`` and ``true`` are none.

    :param body: where it stands.
    :param name: its field.
    :param low: the least.
    :param high: the most.
    :param default: what stands for a missing one.
    """
    value = body.get(name, default)
    if type(value) is not int:
        raise Refusal(400, f"{name} must be an integer, without quotation marks", field=name)
    if not low <= value <= high:
        raise Refusal(400, f"{name} must be between {low} and {high}", field=name)
    return value


def texts(body: Json, name: str) -> list[str]:
    """Read an optional list of texts.

    :param body: where it stands.
    :param name: its field.
    """
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refusal(400, f"{name} must be a list of strings", field=name)
    return value


def is_web_url(value: Any) -> bool:
    """Say whether a value is an http or https URL.

    :param value: anything.
    """
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def callback_url(body: Json) -> str | None:
    """Read an optional callback address.

    :param body: where it stands.
    """
    value = body.get("callback_url")
    if value is not None and not is_web_url(value):
        raise Refusal(400, "callback_url must be a URL", field="callback_url")
    return value


def letters(random: Any, alphabet: str, count: int) -> str:
    """Make a random word for an id.

    :param random: where chance comes from.
    :param alphabet: its letters.
    :param count: how many.
    """
    return "".join(random.choices(alphabet, k=count))
