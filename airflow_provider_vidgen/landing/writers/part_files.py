# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Hidden part files, which the local and the renaming writer share: their names, and when one is abandoned.

The names outlive a release: a later version removes the part files of an earlier one.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta

_NAME = re.compile(r"\.vidgen-[0-9a-f]{32}\.part")
#: A live writer never waits this long for bytes: a link that returns none is given up after minutes.
_ABANDONED_AFTER = timedelta(hours=1)


def new_name() -> str:
    """Return a unique name for a part file."""
    return f".vidgen-{uuid.uuid4().hex}.part"


def is_part_file(name: str) -> bool:
    """Whether a file name, without its folder, is that of a part file."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(modified: datetime, now: datetime) -> bool:
    """
    Whether a part file was left by a worker that was killed.

    :param modified: when it was last written to.
    """
    return now - modified > _ABANDONED_AFTER
