# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A connection whose host belongs to another vendor: named in the test of the connection and at submit."""

from __future__ import annotations

from itertools import permutations

import pytest

from airflow_provider_vidgen.errors import WrongEndpoint
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.vendors import get_vendor
from tests.support.accounts import VENDORS
from tests.support.simulated_accounts import MakeAccount, billed, posts, submit

LABELS = {name: get_vendor(name).label for name in VENDORS}
PAIRS = list(permutations(VENDORS, 2))


@pytest.mark.parametrize(("vendor", "other"), PAIRS)
def test_the_connection_test_names_the_vendor_whose_host_it_is(
    vendor: str, other: str, vendors: Simulator, account: MakeAccount
) -> None:
    works, message = account(vendor, host=vendors.base_url(other)).test_connection()
    assert not works
    assert f"not in the format of {LABELS[vendor]}" in message
    assert message.endswith(f"It answers as {LABELS[other]} does: set vendor to {other!r}.")
    assert posts(vendors) == 0


@pytest.mark.parametrize(("vendor", "other"), PAIRS)
def test_a_submission_names_the_vendor_whose_host_it_is(
    vendor: str, other: str, vendors: Simulator, account: MakeAccount
) -> None:
    with pytest.raises(WrongEndpoint) as caught:
        submit(account(vendor, host=vendors.base_url(other)))
    message = caught.value.describe()
    assert f": the host answers as {LABELS[other]} does." in message
    assert f"Nothing was spent. Set the connection's vendor to {other!r}" in message
    assert billed(vendors) == 0


def test_a_host_of_no_vendor_is_reported_without_a_name(vendors: Simulator, account: MakeAccount) -> None:
    works, message = account("apixo", host=f"{vendors.base_url('apixo')}/elsewhere").test_connection()
    assert not works
    assert message.endswith("Check the vendor, and the host with its path prefix if it has one.")
