# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The values that are pushed to XCom."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from airflow_provider_vidgen.models import Cost, JobState, JobStatus
from airflow_provider_vidgen.polling import Progress
from airflow_provider_vidgen.xcom import build_progress, build_result
from tests.support.accounts import job
from tests.support.clock import NOW
from tests.support.task_instance import RESULT_KEYS
from tests.support.vendor_replies import LINK

TIME = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_the_keys_and_values_of_a_complete_result() -> None:
    status = JobStatus(
        state=JobState.SUCCEEDED,
        raw_state="success",
        result_urls=(LINK,),
        thumbnail_url="https://cdn.example.com/t.jpg",
        created_at=TIME,
        completed_at=TIME,
        expires_at=TIME,
        duration_seconds=6.0,
        cost=Cost(amount=0.08, currency="USD", basis="reported"),
    )
    result = build_result(job("apixo"), status, [{"path": "s3://b/v.mp4"}])
    assert result == {
        "vendor": "apixo",
        "model": "grok-video",
        "task_id": "task_1",
        "state": "succeeded",
        "result_urls": [LINK],
        "thumbnail_url": "https://cdn.example.com/t.jpg",
        "duration_seconds": 6.0,
        "created_at": "2026-11-20T12:00:00+00:00",
        "completed_at": "2026-11-20T12:00:00+00:00",
        "expires_at": "2026-11-20T12:00:00+00:00",
        "cost": {"amount": 0.08, "currency": "USD", "basis": "reported"},
        "files": [{"path": "s3://b/v.mp4"}],
    }


@pytest.mark.parametrize("links", [(), (LINK,), (LINK, LINK + "2")])
def test_a_minimal_result_has_the_same_keys_and_is_json(links: tuple[str, ...]) -> None:
    result = build_result(job("apixo"), JobStatus(state=JobState.SUCCEEDED, raw_state="x", result_urls=links))
    assert list(result) == list(RESULT_KEYS)
    assert json.loads(json.dumps(result)) == result
    assert result["cost"] is None
    assert result["expires_at"] is None
    assert type(result["state"]) is str


ESTIMATE = Cost(amount=0.08, currency="USD", basis="estimated", as_of=date(2026, 11, 20))


def test_an_estimate_stands_in_for_a_cost_that_the_vendor_does_not_report() -> None:
    status = JobStatus(state=JobState.SUCCEEDED, raw_state="completed", result_urls=(LINK,))
    assert build_result(job("apimodels"), status, estimate=ESTIMATE)["cost"] == {
        "amount": 0.08,
        "currency": "USD",
        "basis": "estimated",
        "as_of": "2026-11-20",
    }


@pytest.mark.parametrize("amount", [0.0, 0.05])
def test_a_reported_cost_wins_over_an_estimate(amount: float) -> None:
    cost = Cost(amount=amount, currency="USD", basis="reported")
    status = JobStatus(state=JobState.SUCCEEDED, raw_state="completed", result_urls=(LINK,), cost=cost)
    result = build_result(job("apimart"), status, estimate=ESTIMATE)
    assert result["cost"] == {"amount": amount, "currency": "USD", "basis": "reported"}


@pytest.mark.parametrize("percent", [None, 40.0])
def test_progress_is_the_state_and_the_percentage(percent: float | None) -> None:
    status = JobStatus(state=JobState.RUNNING, raw_state="processing", progress=percent)
    progress = build_progress(Progress(status=status))
    assert progress == {"state": "running", "percent": percent}
    assert type(progress["state"]) is str


def test_progress_names_an_outage_even_before_the_first_reply() -> None:
    progress = Progress(status=None, not_answering_since=NOW, next_check_at=NOW + timedelta(seconds=20))
    assert build_progress(progress) == {
        "state": None,
        "percent": None,
        "not_answering_since": "2026-11-20T12:00:00+00:00",
        "next_check_at": "2026-11-20T12:00:20+00:00",
    }
