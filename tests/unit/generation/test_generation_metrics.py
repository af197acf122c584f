# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a generation task counts, each thing once, where it happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException, TaskDeferred

from airflow_provider_vidgen.ledger import entry_key
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import MODEL, PROMPT
from tests.support.clock import Clock
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, failed, finished, running

Connect = Callable[..., None]
RATE_LIMITED = {"status_code": 429, "json": {"code": 429, "message": "too many"}}


def run(
    task: dict[str, Any],
    *,
    vendor: str = "apixo",
    submit: Any = None,
    status: Any = None,
    link: Any = None,
    **fields: Any,
) -> None:
    """Run one try."""
    with requests_mock.Mocker() as web, suppress(AirflowException, TaskDeferred):
        web.post(CREATE[vendor], submit or [{"json": create_body(vendor)}])
        web.get(STATUS[vendor], status or [{"json": finished(vendor)}])
        web.get(LINK, link or [{"content": MP4}])
        operator = VideoGenerationOperator(
            task_id="t", prompt=PROMPT, **{"deferrable": False, "poster": False, **fields}
        )
        operator.execute(task)


def test_a_video_is_counted_when_it_is_submitted_landed_and_delivered(
    vidgen: Connect, sent_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    vidgen("apixo")
    done = finished("apixo")
    # Milliseconds: 40 s after the submission, which the job was first checked 30 s after.
    done["data"]["completeTime"] = 1795176040000
    run(
        context(),
        status=[{"json": running("apixo")}, {"json": done}],
        poll_interval=25,
        output_path=f"{tmp_path}/v.mp4",
    )
    tags = {"vendor": "apixo", "model": MODEL["apixo"]}
    assert sent_metrics.of("submitted") == sent_metrics.of("succeeded") == [(1, tags)]
    assert sent_metrics.of("bytes_landed") == [(len(MP4), tags)]
    assert sent_metrics.of("finish_duration") == [(40, tags)]
    ((delay, _),) = sent_metrics.of("notice_delay")
    assert 5 < delay < 20
    assert not sent_metrics.of("failed")
    assert PROMPT not in str(sent_metrics.sent)
    assert "task_1" not in str(sent_metrics.sent)


def test_a_retry_that_finds_the_delivered_video_counts_nothing(
    vidgen: Connect, sent_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    vidgen("apixo")
    task = context()
    run(task, output_path=f"{tmp_path}/v.mp4")
    before = list(sent_metrics.sent)
    run(task, output_path=f"{tmp_path}/v.mp4")
    assert sent_metrics.sent == before


def test_a_retry_after_the_landing_failed_is_no_submission_and_counts_the_success_once(
    vidgen: Connect, sent_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    vidgen("apixo")
    task = context()
    run(task, output_path=f"{tmp_path}/v.mp4", link=[{"status_code": 500}])
    assert sent_metrics.total("failed", reason="download_failed") == 1
    assert not sent_metrics.of("succeeded")
    run(task, output_path=f"{tmp_path}/v.mp4")
    assert (sent_metrics.total("submitted"), sent_metrics.total("succeeded")) == (1, 1)
    assert sent_metrics.total("bytes_landed") == len(MP4)


def test_a_failed_job_is_counted_by_its_reason(vidgen: Connect, sent_metrics: RecordedMetrics) -> None:
    vidgen("apixo")
    run(context(), status=[{"json": failed("apixo", "unsafe", "CONTENT_VIOLATION")}])
    tags = {"vendor": "apixo", "model": MODEL["apixo"], "reason": "content_rejected"}
    assert sent_metrics.of("failed") == [(1, tags)]
    assert sent_metrics.total("submitted") == 1
    assert not sent_metrics.of("succeeded")


def test_a_refused_submission_is_a_failure_and_no_submission(
    vidgen: Connect, sent_metrics: RecordedMetrics
) -> None:
    vidgen("apixo")
    run(context(), submit=[{"status_code": 401, "json": {"code": 401, "message": "no"}}])
    tags = {"vendor": "apixo", "model": MODEL["apixo"], "reason": "bad_credentials"}
    assert [(name, value) for name, value, found in sent_metrics.sent if found] == [("vidgen.failed", 1)]
    assert sent_metrics.of("failed") == [(1, tags)]


def test_an_unknown_outcome_is_counted_once_however_often_it_is_reported(
    vidgen: Connect, sent_metrics: RecordedMetrics
) -> None:
    vidgen("apixo")
    task = context()
    for _ in range(3):
        run(task, submit=[{"exc": requests.ReadTimeout}])
    assert sent_metrics.total("unknown", vendor="apixo", model=MODEL["apixo"]) == 1
    assert not sent_metrics.of("submitted")
    assert not sent_metrics.of("failed")


def test_an_outcome_left_unknown_by_a_killed_worker_is_counted_by_the_next_try(
    vidgen: Connect, sent_metrics: RecordedMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    vidgen("apixo")
    task = context()
    with pytest.raises(Killed):
        run(task, submit=[{"exc": Killed}])
    assert task["task_state_store"].get(entry_key(1))["phase"] == "submitting"
    assert not sent_metrics.sent
    for _ in range(2):
        run(task)
    assert sent_metrics.total("unknown") == 1


def test_a_request_that_is_accepted_when_it_is_resent_is_submitted_once(
    vidgen: Connect, sent_metrics: RecordedMetrics
) -> None:
    vidgen("apimart")
    accepted = {"json": create_body("apimart")}
    run(context(), vendor="apimart", submit=[{"exc": requests.ReadTimeout}, accepted])
    assert (sent_metrics.total("submitted"), sent_metrics.total("unknown")) == (1, 0)


def test_a_refusal_after_an_unknown_outcome_is_counted_as_unknown(
    vidgen: Connect, sent_metrics: RecordedMetrics
) -> None:
    vidgen("apimart")
    refused = {"status_code": 400, "json": {"error": {"code": 400, "message": "no"}}}
    run(context(), vendor="apimart", submit=[{"exc": requests.ReadTimeout}, refused])
    assert (sent_metrics.total("submitted"), sent_metrics.total("unknown")) == (0, 1)


def test_a_wait_for_capacity_is_recorded_with_its_length_and_is_no_failure(
    vidgen: Connect, sent_metrics: RecordedMetrics, clock: Clock
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [RATE_LIMITED])
        operator = VideoGenerationOperator(task_id="t", prompt=PROMPT, deferrable=True)
        with pytest.raises(AirflowRescheduleException) as wait:
            operator.execute(context())
    seconds = (wait.value.reschedule_date - clock.now()).total_seconds()
    assert sent_metrics.of("capacity_wait") == [(seconds, {"vendor": "apixo", "model": MODEL["apixo"]})]
    assert sent_metrics.of("rate_limited") == [(1, {"vendor": "apixo", "request": "submit"})]
    assert not sent_metrics.of("failed")


def test_each_429_is_counted_by_request(
    vidgen: Connect, sent_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    vidgen("apixo")
    run(
        context(),
        status=[RATE_LIMITED, RATE_LIMITED, {"json": finished("apixo")}],
        link=[{"status_code": 429}, {"status_code": 503}, {"content": MP4}],
        output_path=f"{tmp_path}/v.mp4",
    )
    assert sent_metrics.total("rate_limited", request="status") == 2
    assert sent_metrics.total("rate_limited", request="download") == 1
    assert sent_metrics.total("succeeded") == 1
