# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Whether what the control API is given fits: all that is wrong with it at once, with what is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")

#: As a class variable ``__pydantic_config__`` of a dataclass: ``"6"`` is no number, and 1 is not true.
STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

VendorName = Annotated[str, Field(pattern="^(apimodels|apixo|apixgo|apimart)$")]
#: Thirty years: any longer, and dates could not be written any more.
LONGEST: Final = 1e9
Seconds = Annotated[float, Field(ge=0, le=LONGEST)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]

_SHOWN: Final = 60


def checked(kind: type[T], told: Mapping[str, Any]) -> T:
    """Read JSON values as a dataclass.

    :param kind: the dataclass, whose fields say what they take.
    :param told: the values by field name.
    :raises ValueError: they do not fit.
    """
    try:
        found: T = _adapter(cast(Any, kind)).validate_json(json.dumps(told))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ValueError("; ".join(_said(kind, problem) for problem in problems)) from None
    return found


@cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)


def _said(kind: Any, problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "json_invalid":
        return f"it cannot be written as JSON in UTF-8 ({problem['ctx']['error']})"
    if problem["type"] == "unexpected_keyword_argument":
        inside = kind
        for step in problem["loc"][:-1]:
            inside = get_type_hints(inside)[step]
        allowed = (item.name for item in fields(inside) if item.init)
        return f"{where} is not one of {', '.join(allowed)}"
    value = repr(problem["input"])
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    told = problem["msg"].removeprefix("Value error, ")
    if not where:
        return str(told)
    return f"{where}: {told}" if problem["type"] == "missing" else f"{where}={shown}: {told}"
