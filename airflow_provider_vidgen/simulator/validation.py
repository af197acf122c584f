# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Validation of JSON sent to the control API: strict types, and one error with every problem."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")

#: Set as the class variable ``__pydantic_config__`` of a dataclass: ``"6"`` is not a number, 1 is not true.
STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

VendorName = Annotated[str, Field(pattern="^(apimodels|apixo|apixgo|apimart)$")]
#: Thirty years. Longer times lead to timestamps that cannot be written as dates.
MAX_SECONDS: Final = 1e9
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]

_MAX_VALUE_LENGTH: Final = 60


def validate(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a dataclass from JSON values.

    :param cls: the dataclass; its field annotations define the allowed values.
    :param values: the values by field name.
    :raises ValueError: fields are unknown or missing, or values are not allowed; lists every problem.
    """
    try:
        instance: T = _adapter(cast(Any, cls)).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ValueError("; ".join(_describe(cls, problem) for problem in problems)) from None
    return instance


@cache
def _adapter(cls: Any) -> Any:
    return TypeAdapter(cls)


def _describe(cls: Any, problem: Any) -> str:
    path = ".".join(map(str, problem["loc"]))
    if problem["type"] == "json_invalid":
        return f"the body cannot be encoded as JSON in UTF-8 ({problem['ctx']['error']})"
    if problem["type"] == "unexpected_keyword_argument":
        parent = cls
        for name in problem["loc"][:-1]:
            parent = get_type_hints(parent)[name]
        allowed = (item.name for item in fields(parent) if item.init)
        return f"{path} is not one of {', '.join(allowed)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not path:
        return str(message)
    if problem["type"] == "missing":
        return f"{path}: {message}"
    value = repr(problem["input"])
    if len(value) > _MAX_VALUE_LENGTH:
        value = value[:_MAX_VALUE_LENGTH] + "…"
    return f"{path}={value}: {message}"
