# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The cost of a result agrees with the simulator's bill, where the vendor reports it or documents a price."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.xcom import build_result
from tests.support.accounts import MODEL
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, submit, wait

_BASES = [
    ("apimodels", "grok-video-3", "estimated"),
    ("apimodels", "grok-video-3-10s", "estimated"),
    ("apimodels", "grok-video-3-official", "estimated"),
    ("apimart", MODEL["apimart"], "reported"),
    ("apixo", MODEL["apixo"], None),
    ("apixgo", MODEL["apixgo"], None),
]


@pytest.mark.parametrize(("vendor", "model", "basis"), _BASES)
def test_the_cost_of_a_result_is_what_was_billed_or_nothing(
    vendor: str,
    model: str,
    basis: str | None,
    vendors: Simulator,
    account: MakeAccount,
    clock: SimulatorClock,
) -> None:
    hook = account(vendor)
    submission = submit(hook, model=model)
    status = wait(hook, clock, submission)
    estimate = hook.estimate(VideoRequest(prompt="a cat", model=model))
    cost: dict[str, Any] | None = build_result(submission.job, status, estimate=estimate)["cost"]
    (bill,) = vendors.ledger().entries
    assert bill.state == "settled"
    if basis is None:
        assert cost is None
    else:
        assert cost is not None
        assert (cost["amount"], cost["currency"], cost["basis"]) == (bill.amount, bill.currency, basis)
        assert ("as_of" in cost) is (basis == "estimated")


def test_a_failed_job_at_apimart_reports_no_cost_as_it_is_refunded(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account("apimart")
    status = wait(hook, clock, submit(hook, "a cat [sim:fail=500:out of order]"))
    assert status.failure is not None
    assert (status.cost, vendors.ledger().entries[0].state) == (None, "refunded")
