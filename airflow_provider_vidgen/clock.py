# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The time, always in UTC, and back from the ISO 8601 text in which records and triggers keep it."""

from __future__ import annotations

from datetime import datetime

import pendulum


def utcnow() -> pendulum.DateTime:
    """Return the current time."""
    return pendulum.now("UTC")


def from_iso(text: str) -> pendulum.DateTime:
    """
    Return a time that was written with ``isoformat()``, in UTC.

    :raises ValueError: it is not a time, or one without a time zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return pendulum.instance(moment).in_timezone("UTC")
