# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""How long a vendor asks to wait, in each form the header comes in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_provider_vidgen.vendors.reading import number

#: A vendor that asks for more is asked again after so many seconds.
LONGEST = 600.0


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Return the seconds to wait, at most :data:`LONGEST`, or ``None`` if the vendor does not say.

    :param headers: names in lower case; ``retry-after-ms``, and ``retry-after`` in seconds or as a date.
    """
    seconds = _seconds(headers, now)
    return None if seconds is None else min(max(0.0, seconds), LONGEST)


def _seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
