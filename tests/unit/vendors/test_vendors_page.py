# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The tables of ``docs/vendors.md`` agree with the vendors' classes."""

from __future__ import annotations

import re
from dataclasses import astuple
from pathlib import Path

import pytest
from vendor_case import VENDORS

PAGE = (Path(__file__).parents[3] / "docs" / "vendors.md").read_text()


def table_row(title: str) -> dict[str, str]:
    """The cells of a row of the first table, by vendor."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
    ]
    labels = {vendor.label: name for name, vendor in VENDORS.items()}
    (row,) = (row for row in rows if row[0].replace("`", "").startswith(title))
    return {labels[label]: cell for label, cell in zip(rows[0][1:], row[1:], strict=True)}


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize("name", VENDORS)
def test_the_page_has_the_fields_limits_and_times_of_each_vendor(name: str) -> None:
    vendor = VENDORS[name]
    for parameter in ("prompt", "duration", "aspect_ratio", "resolution", "image_urls"):
        mapped = {field for field, filled_by in vendor.mapped_fields.items() if filled_by == parameter}
        assert mapped & set(re.findall(r"`([\w.]+)`", table_row(parameter)[name])), parameter
    assert (table_row("data URLs")[name] == "accepted") is vendor.accepts_data_urls
    assert set(numbers(table_row("first check")[name])) == set(astuple(vendor.schedule))
    limits = [vendor.requests_per_minute, vendor.max_concurrent]
    assert numbers(table_row("requests per minute")[name]) == [limit for limit in limits if limit]
    assert ("Idempotency-Key" in table_row("idempotency key")[name]) is (
        vendor.idempotency_window is not None
    )
    assert vendor.retention is not None
    seconds = {"day": 86400, "hour": 3600, "h": 3600}
    amount, unit = re.findall(r"(\d+) (day|hour|h)", table_row("links expire after")[name])[-1]
    assert vendor.retention.total_seconds() == int(amount) * seconds[unit]
