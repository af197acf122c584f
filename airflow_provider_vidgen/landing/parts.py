# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The hidden names under which files grow that have no final name yet, and when one of them was abandoned."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta

_NAME = re.compile(r"\.vidgen-[0-9a-f]{32}\.part")
#: Nobody who lives goes so long without a byte: a link that gives none is given up after minutes.
_ABANDONED_AFTER = timedelta(hours=1)


def new_name() -> str:
    """Return a name that nobody else has."""
    return f".vidgen-{uuid.uuid4().hex}.part"


def is_part(name: str) -> bool:
    """Whether a file of this name, without its folder, is one of ours that is not done."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(written: datetime, now: datetime) -> bool:
    """
    Whether a part was left by a worker that was killed.

    :param written: when it was written to for the last time.
    """
    return now - written > _ABANDONED_AFTER
