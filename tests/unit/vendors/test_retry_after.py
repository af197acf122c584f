# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Retry-After header in each of its forms, limited to ten minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vendor_case import NOW, VENDORS, read_status, read_submit, reply, vendor_job

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.polling import JobPoller, Schedule
from airflow_provider_vidgen.vendors.http_messages import HttpReply, parse_retry_after

_TEN_MINUTES = 600.0


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "Fri, 20 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry_after": "Fri, 20 Nov 2026 13:01:30 +0100"}, 90.0),
        ({"retry_after": "Fri, 20 Nov 2026 12:01:30 -0000"}, 90.0),
        ({"retry_after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "1500", "retry_after": "60"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "60"}, 60.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "Fri, 99 Nov 99999999999 12:01:30 GMT"}, None),
        ({"retry_after": "600"}, 600.0),
        ({"retry_after": "600.5"}, _TEN_MINUTES),
        ({"retry_after": "7200"}, _TEN_MINUTES),
        ({"retry_after": "1e300"}, _TEN_MINUTES),
        ({"retry_after_ms": "7200000"}, _TEN_MINUTES),
        ({"retry_after": "Sun, 01 Nov 2099 12:00:00 GMT"}, _TEN_MINUTES),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:59 -1200"}, _TEN_MINUTES),
    ],
)
def test_every_form_of_the_header_is_parsed(
    vendor: str, headers: dict[str, str], seconds: float | None
) -> None:
    for status in (429, 503):
        failed_check = read_status(vendor, reply(status, b"", **headers))
        assert isinstance(failed_check, VidgenError)
        assert failed_check.retry_after == seconds
    refused = read_submit(vendor, reply(429, b"", **headers))
    assert isinstance(refused, VidgenError)
    assert refused.retry_after == seconds


_ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_NUMBERS = st.integers(-(10**30), 10**400) | st.floats()
_VALUES = (
    _NUMBERS.map(str)
    | st.datetimes(timezones=_ZONES | st.just(UTC)).map(format_datetime)
    | st.sampled_from(["", "nan", "-inf", "Infinity", "1e999", "9" * 5000, "+7", " 7 ", "0x7", "7,8", "٧"])
    | st.text(max_size=30)
)


@given(headers=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), _VALUES))
@example(headers={"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"})
@example(headers={"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"})
def test_no_header_makes_a_client_wait_longer_than_ten_minutes(headers: dict[str, str]) -> None:
    seconds = parse_retry_after(headers, NOW)
    assert seconds is None or 0 <= seconds <= _TEN_MINUTES


@given(when=st.datetimes(datetime(1970, 1, 1), timezones=_ZONES))  # two-digit years mean this century
def test_the_wait_until_a_date_is_at_most_ten_minutes(when: datetime) -> None:
    expected = (when.replace(microsecond=0) - NOW).total_seconds()
    assert parse_retry_after({"retry-after": format_datetime(when)}, NOW) == min(
        max(expected, 0), _TEN_MINUTES
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after_header", ["7200", "Sun, 01 Nov 2099 12:00:00 GMT"])
def test_a_check_with_a_long_retry_after_is_repeated_after_ten_minutes(
    status: int, retry_after_header: str
) -> None:
    poller = JobPoller(
        vendor_job("apixo"),
        Schedule(first_delay=30, interval=5, max_interval=15),
        submitted_at=NOW,
        deadline=NOW + timedelta(days=1),
        jitter=lambda: 0.5,
    )
    error = read_status("apixo", HttpReply(status=status, headers={"retry-after": retry_after_header}))
    assert isinstance(error, VidgenError)
    assert poller.after_error(error, NOW) == _TEN_MINUTES
