# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Validation of single request fields, and random ids, for all vendors."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.simulator.responses import Json
from airflow_provider_vidgen.simulator.vendors.base import RequestRejected


def required_text(body: Json, name: str, message: str) -> str:
    """Return a required string.

    :param body: the JSON object.
    :param name: the field.
    :param message: the vendor's message if it is missing, empty or not a string.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RequestRejected(400, message, field=name)
    return value


def choice(body: Json, name: str, allowed: Collection[str], default: str) -> str:
    """Return an optional string out of several allowed ones.

    :param body: the JSON object.
    :param name: the field.
    :param allowed: the allowed values.
    :param default: the value if it is missing.
    """
    value = body.get(name, default)
    if value not in allowed:
        raise RequestRejected(400, f"{name} must be one of {', '.join(allowed)}", field=name)
    return str(value)


def integer(body: Json, name: str, low: int, high: int, default: int) -> int:
    """Return an optional integer; ``"6"`` and ``true`` are rejected.

    :param body: the JSON object.
    :param name: the field.
    :param low: the minimum.
    :param high: the maximum.
    :param default: the value if it is missing.
    """
    value = body.get(name, default)
    if type(value) is not int:
        raise RequestRejected(400, f"{name} must be an integer, without quotation marks", field=name)
    if not low <= value <= high:
        raise RequestRejected(400, f"{name} must be between {low} and {high}", field=name)
    return value


def string_list(body: Json, name: str) -> list[str]:
    """Return an optional list of strings.

    :param body: the JSON object.
    :param name: the field.
    """
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestRejected(400, f"{name} must be a list of strings", field=name)
    return value


def is_http_url(value: Any) -> bool:
    """Return whether a value is an http or https URL.

    :param value: any JSON value.
    """
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def callback_url(body: Json) -> str | None:
    """Return the optional callback URL.

    :param body: the JSON object.
    """
    value = body.get("callback_url")
    if value is not None and not is_http_url(value):
        raise RequestRejected(400, "callback_url must be a URL", field="callback_url")
    return value


def random_string(random: Random, alphabet: str, length: int) -> str:
    """Return a random string, for ids.

    :param random: the random generator.
    :param alphabet: the allowed characters.
    :param length: number of characters.
    """
    return "".join(random.choices(alphabet, k=length))
