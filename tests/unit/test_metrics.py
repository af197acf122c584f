# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Names and values of the metrics, and what a failing backend does to a task: nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_vidgen import airflow_internals, errors, metrics
from airflow_provider_vidgen.errors import SubmitOutcomeUnknown, UnknownSubmitWillResend, VidgenError
from airflow_provider_vidgen.models import Cost, JobState, JobStatus
from tests.support.accounts import job
from tests.support.clock import NOW
from tests.support.recorded_metrics import RecordedMetrics

DONE = JobStatus(
    state=JobState.SUCCEEDED,
    raw_state="SUCCESS",
    result_urls=("https://cdn.example.com/v.mp4",),
    completed_at=NOW + timedelta(seconds=70),
    cost=Cost(amount=0.1875, currency="USD", basis="reported"),
)
TAGS = {"vendor": "apixgo", "model": "grok-image-video"}


def errors_of(kind: type[VidgenError]) -> list[type[VidgenError]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in errors_of(sub))]


def test_each_metric_is_sent_with_tags_and_with_the_values_in_its_name(sent_metrics: RecordedMetrics) -> None:
    metrics.submitted(replace(job(), model="veo.3/fast"))
    assert sent_metrics.sent == [
        ("vidgen.submitted.apixgo.veo__3_fast", 1, None),
        ("vidgen.submitted", 1, {"vendor": "apixgo", "model": "veo.3_fast"}),
    ]


def test_without_legacy_names_only_the_tagged_form_is_sent(
    sent_metrics: RecordedMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", "False")
    metrics.submitted(job())
    metrics.noticed(job(), DONE, NOW + timedelta(seconds=72))
    assert sent_metrics.sent == [("vidgen.submitted", 1, TAGS), ("vidgen.notice_delay", 2, TAGS)]


def test_a_delivered_video_is_counted_with_its_time_and_its_cost_in_millionths(
    sent_metrics: RecordedMetrics,
) -> None:
    metrics.delivered(job(), DONE, submitted_at=NOW)
    assert sent_metrics.of("succeeded") == [(1, TAGS)]
    assert sent_metrics.of("finish_duration") == [(70, TAGS)]
    assert sent_metrics.of("cost_micros") == [(187500, {**TAGS, "currency": "USD", "basis": "reported"})]


@pytest.mark.parametrize(
    ("reported", "basis", "micros"), [(True, "reported", 187500), (False, "estimated", 500000)]
)
def test_an_estimate_counts_only_if_the_vendor_reports_no_cost(
    reported: bool, basis: str, micros: int, sent_metrics: RecordedMetrics
) -> None:
    status = DONE if reported else replace(DONE, cost=None)
    estimate = Cost(amount=0.5, currency="USD", basis="estimated")
    metrics.delivered(job(), status, submitted_at=NOW, estimate=estimate)
    assert sent_metrics.of("cost_micros") == [(micros, {**TAGS, "currency": "USD", "basis": basis})]


def test_a_value_that_the_vendor_does_not_report_is_not_sent(sent_metrics: RecordedMetrics) -> None:
    unreported = replace(DONE, completed_at=None, cost=None)
    metrics.delivered(job(), unreported, submitted_at=NOW)
    metrics.noticed(job(), unreported, NOW)
    metrics.noticed(job(), replace(DONE, result_urls=()), NOW)
    assert {name for name, _, tags in sent_metrics.sent if tags} == {"vidgen.succeeded"}


def test_a_vendors_clock_that_is_ahead_gives_no_negative_time(sent_metrics: RecordedMetrics) -> None:
    metrics.noticed(job(), DONE, NOW)
    assert sent_metrics.of("notice_delay") == [(0, TAGS)]


def test_of_a_failed_job_only_a_reported_cost_is_counted(sent_metrics: RecordedMetrics) -> None:
    assert DONE.cost is not None
    for cost in (DONE.cost, replace(DONE.cost, basis="estimated"), None):
        metrics.failed_job(job(), replace(DONE, state=JobState.FAILED, result_urls=(), cost=cost))
    assert sent_metrics.total("cost_micros") == 187500


@pytest.mark.parametrize("kind", [SubmitOutcomeUnknown, UnknownSubmitWillResend])
def test_an_unknown_outcome_is_no_failure(kind: type[VidgenError], sent_metrics: RecordedMetrics) -> None:
    with pytest.raises(kind), metrics.TryMetrics(model="m").errors():
        raise kind("no reply")
    assert sent_metrics.sent == []


def test_an_error_of_another_kind_is_counted_as_unexpected_and_airflows_own_are_not(
    sent_metrics: RecordedMetrics,
) -> None:
    for error in (ZeroDivisionError("a defect"), AirflowSkipException("enough"), KeyboardInterrupt()):
        with pytest.raises(type(error)), metrics.TryMetrics(model="m").errors():
            raise error
    tags = {"vendor": "unknown", "model": "m", "reason": "unexpected_error"}
    assert sent_metrics.of("failed") == [(1, tags)]


def test_a_failure_has_the_job_or_else_the_connection_of_the_try(sent_metrics: RecordedMetrics) -> None:
    for error, connected in [
        (errors.StatusUnavailable("down", job=job()), False),
        (errors.BadCredentials("no"), True),
        (errors.InvalidConnection("no host", []), False),
    ]:
        counted = metrics.TryMetrics(model=None)
        if connected:
            counted.set_connection("apimart", "sora 2, pro=1")
        with pytest.raises(VidgenError), counted.errors():
            raise error
    assert [tags for _, tags in sent_metrics.of("failed")] == [
        {**TAGS, "reason": "status_unavailable"},
        {"vendor": "apimart", "model": "sora_2__pro_1", "reason": "bad_credentials"},
        {"vendor": "unknown", "model": "unknown", "reason": "invalid_connection"},
    ]


def test_a_link_without_a_job_counts_for_its_connection(sent_metrics: RecordedMetrics) -> None:
    metrics.landed("apixo", None, 7)
    assert sent_metrics.of("bytes_landed") == [(7, {"vendor": "apixo", "model": "unknown"})]


def test_a_value_is_never_longer_than_64_characters(sent_metrics: RecordedMetrics) -> None:
    metrics.unknown("apixo", "a" * 1000)
    assert sent_metrics.of("unknown") == [(1, {"vendor": "apixo", "model": "a" * 64})]


@pytest.mark.parametrize(
    "first",
    [
        metrics.prepare,
        lambda: metrics.submitted(job()),
        lambda: metrics.noticed(job(), DONE, NOW),
    ],
)
def test_a_failing_backend_is_logged_once_and_not_tried_again(
    first: Callable[[], None],
    sent_metrics: RecordedMetrics,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise ConnectionRefusedError("at secret-host")

    monkeypatch.setattr(airflow_internals, "metrics_backend", fail)
    first()
    metrics.noticed(job(), DONE, NOW)
    metrics.submitted(job())
    metrics.delivered(job(), DONE, submitted_at=NOW)
    assert calls == 1
    text = logged()
    assert "Metrics of videos cannot be sent (ConnectionRefusedError)" in text
    assert "secret-host" not in text


def test_every_reason_is_a_short_name() -> None:
    names = {kind.__name__ for kind in errors_of(VidgenError)}
    assert len(names) > 40
    assert max(map(len, names)) < 40
