# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The vendors, one file each, and how they are found: by their entry points."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_vidgen.vendors.base import Vendor

ENTRY_POINT_GROUP = "airflow_provider_vidgen.vendors"


@cache
def vendor_names() -> tuple[str, ...]:
    """Return the names of all installed vendors. The first call reads a file of each installed package."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)}))


@cache
def get_vendor(name: str) -> Vendor:
    """
    Return the vendor of that name.

    :raises KeyError: no installed package has such an entry point.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()()  # type: ignore[no-any-return]
    raise KeyError(name)


def other_vendors(name: str) -> list[Vendor]:
    """Return all installed vendors but one; one of another distribution that cannot be loaded is left out."""
    vendors = []
    for other in vendor_names():
        if other != name:
            with suppress(Exception):
                vendors.append(get_vendor(other))
    return vendors
