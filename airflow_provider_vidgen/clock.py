# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The current time in UTC, and times read back from the ISO 8601 text of records and triggers."""

from __future__ import annotations

from datetime import datetime

import pendulum


def utcnow() -> pendulum.DateTime:
    """Return the current time."""
    return pendulum.now("UTC")


def from_iso(text: str) -> pendulum.DateTime:
    """
    Parse a time that was written with ``isoformat()``.

    :return: the time in UTC.
    :raises ValueError: the text is not a time, or has no time zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return pendulum.instance(moment).in_timezone("UTC")
