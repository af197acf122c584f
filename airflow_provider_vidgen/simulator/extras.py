# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Whether the extra ``simulator`` is installed, and what can be made without it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

MISSING: Final = "needs the extra: airflow-provider-vidgen[simulator]"


def can_render() -> bool:
    """Say whether real videos can be made."""
    return find_spec("av") is not None and find_spec("PIL") is not None


def _can_be_made(container: str) -> str:
    if container != "mp4" and not can_render():
        raise ValueError(MISSING)
    return container


#: What a video comes in; ``fragmented`` is an MP4 that a player can begin before its end has come.
Container = Annotated[Literal["mp4", "fragmented", "webm", "mov"], AfterValidator(_can_be_made)]
