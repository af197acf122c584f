# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Costs: those a vendor reports with a job, and estimates from documented prices."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vendor_case import MODELS, VENDORS, read_status, reply, request_for

from airflow_provider_vidgen.models import Cost, JobStatus, format_amount
from airflow_provider_vidgen.vendors.parsing import parse_amount
from tests.support.vendor_replies import RAW_STATES, status_body, video_data

_INVALID: tuple[Any, ...] = (
    None,
    "",
    "free",
    "$0.07",
    [1],
    {"usd": 1},
    True,
    -0.01,
    "-1",
    1e6,
    "1e300",
    "nan",
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def cost_of(vendor: str, state_index: int = 1, **data: Any) -> Cost | None:
    """The cost in a vendor's status reply: of a running (0), finished (1) or failed (2) job."""
    result = read_status(vendor, reply(200, status_body(vendor, RAW_STATES[vendor][state_index], **data)))
    assert isinstance(result, JobStatus), result
    return result.cost


@pytest.mark.parametrize(
    ("value", "amount"),
    [(0.07, 0.07), ("0.07", 0.07), (7, 7.0), (" 12 ", 12.0), (0, 0.0), ("0", 0.0), (999_999, 999_999.0)],
)
def test_an_amount_is_read_as_a_number_or_as_text(value: Any, amount: float) -> None:
    assert parse_amount(value) == amount


@pytest.mark.parametrize("value", [*_INVALID, math.nan, math.inf, -math.inf, 10**400], ids=repr)
def test_an_amount_that_cannot_be_one_is_ignored(value: Any) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize(
    ("amount", "text"), [(0.08, "0.08"), (0.4, "0.40"), (12, "12.00"), (0.042, "0.042"), (0.00009, "0.0001")]
)
def test_an_amount_is_written_with_two_to_four_decimals(amount: float, text: str) -> None:
    assert format_amount(amount) == text


@given(_JSON)
def test_whatever_a_reply_holds_an_amount_is_finite_and_not_negative(value: Any) -> None:
    amount = parse_amount(value)
    assert amount is None or 0 <= amount < 1e6


def test_apimarts_cost_in_dollars_is_preferred_to_the_one_in_credits() -> None:
    dollars = Cost(amount=0.07, currency="USD", basis="reported")
    credits_ = Cost(amount=7.0, currency="credits", basis="reported")
    assert cost_of("apimart", cost=0.07) == dollars
    assert cost_of("apimart", cost="0.07", credits_cost=7) == dollars
    assert cost_of("apimart", credits_cost="7") == credits_
    for invalid in (*_INVALID, 0):
        assert cost_of("apimart", cost=invalid, credits_cost=7) == credits_


def test_a_reported_cost_of_zero_is_a_cost() -> None:
    free = Cost(amount=0.0, currency="USD", basis="reported")
    assert cost_of("apimart", cost=0, credits_cost=0) == free
    assert cost_of("apimart", cost=0) == free


@pytest.mark.parametrize("value", _INVALID, ids=repr)
def test_an_invalid_reported_cost_is_no_cost(value: Any) -> None:
    assert cost_of("apimart", cost=value, credits_cost=value) is None


def test_a_cost_counts_once_the_job_has_ended() -> None:
    assert cost_of("apimart", 0, cost=0.07) is None
    assert cost_of("apimart", 2, cost=0.07) == Cost(amount=0.07, currency="USD", basis="reported")


@given(cost=_JSON, credits_cost=_JSON)
def test_any_json_in_apimarts_fields_gives_a_cost_or_none(cost: Any, credits_cost: Any) -> None:
    result = cost_of("apimart", **video_data("apimart"), cost=cost, credits_cost=credits_cost)
    if result is not None:
        assert json.dumps(result.to_dict(), allow_nan=False)
        assert result.basis == "reported"


@pytest.mark.parametrize("vendor", ["apimodels", "apixo", "apixgo"])
def test_a_duration_or_a_relays_quota_is_not_taken_for_a_cost(vendor: str) -> None:
    assert cost_of(vendor, **video_data(vendor), costTime=41388, quota=40000, cost=0.07) is None


@pytest.mark.parametrize("model", ["grok-video-3", "grok-video-3-10s", "grok-video-3-official"])
def test_apimodels_estimates_are_the_documents_price_with_its_date(model: str) -> None:
    estimate = VENDORS["apimodels"].estimate(request_for("apimodels", model=model, duration=15))
    assert estimate == Cost(amount=0.08, currency="USD", basis="estimated", as_of=date(2026, 11, 20))


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("apimodels", "p-video"),
        ("apimodels", "grok-video-4"),
        ("apimodels", None),
        ("apimodels", ["grok-video-3"]),
        *((vendor, MODELS[vendor]) for vendor in ("apixo", "apixgo", "apimart")),
        ("apixgo", "grok-video-1.5"),
    ],
)
def test_a_model_without_a_documented_price_has_no_estimate(vendor: str, model: Any) -> None:
    assert VENDORS[vendor].estimate(request_for(vendor, model=model, duration=6)) is None


def test_usual_times_are_those_of_the_document() -> None:
    times = {
        model: rules.usual_seconds
        for vendor in VENDORS.values()
        for model, rules in vendor.models.items()
        if rules.usual_seconds is not None
    }
    assert times == {"grok-video-3": 30, "grok-video-3-10s": 60, "p-video": 60}


def test_a_cost_as_json_has_a_date_only_if_it_is_an_estimate() -> None:
    assert Cost(amount=0.07, currency="USD", basis="reported").to_dict() == {
        "amount": 0.07,
        "currency": "USD",
        "basis": "reported",
    }
    estimate = Cost(amount=0.08, currency="USD", basis="estimated", as_of=date(2026, 11, 20))
    assert estimate.to_dict()["as_of"] == "2026-11-20"


def test_the_costs_page_has_every_documented_price_and_time() -> None:
    page = (Path(__file__).parents[3] / "docs" / "costs.md").read_text()
    rows = re.findall(r"^\| `([\w.-]+)` \((\w+)\) \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    documented = []
    for vendor in VENDORS.values():
        for model, rules in vendor.models.items():
            price, seconds = rules.price, rules.usual_seconds
            if price or seconds:
                amount = f"{format_amount(price.amount)} {price.currency}" if price else "–"
                read_on = price.as_of.isoformat() if price else "–"
                documented.append((model, vendor.label, amount, read_on, f"{seconds} s" if seconds else "–"))
    assert rows == documented
