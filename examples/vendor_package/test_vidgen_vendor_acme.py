# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Requests and replies of the Acme document."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from vidgen_vendor_acme import Acme

from airflow_provider_vidgen.errors import JobNotFound, StatusUnavailable, SubmitOutcomeUnknown
from airflow_provider_vidgen.models import FailureCategory, JobState, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.vendors import get_vendor
from airflow_provider_vidgen.vendors.http_messages import HttpReply

ACME = Acme()
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
JOB = VideoJob(vendor="acme", base_url=ACME.default_base_url, model="acme-1", task_id="v_1")
REQUEST = VideoRequest(prompt="a lamp", model="acme-1", duration=6)


def reply(status: int, body: Any) -> HttpReply:
    return HttpReply(status=status, content=json.dumps(body).encode())


def read_status(body: Any) -> JobStatus:
    return ACME.read_status(JOB, reply(200, body), now=NOW)


def test_the_vendor_is_found_by_its_entry_point() -> None:
    assert type(get_vendor("acme")) is Acme


def test_a_request_is_sent_as_documented() -> None:
    assert ACME.problems(REQUEST) == []
    call = ACME.submit_call(REQUEST)
    assert (call.method, call.path) == ("POST", "/v1/videos")
    assert call.body == {"model": "acme-1", "prompt": "a lamp", "seconds": 6}


@pytest.mark.parametrize("field", [{"duration": 11}, {"aspect_ratio": "1:1"}, {"resolution": "720p"}])
def test_a_request_outside_the_limits_is_rejected(field: dict[str, Any]) -> None:
    problems = ACME.problems(VideoRequest(prompt="a lamp", model="acme-1", **field))
    assert [problem.field for problem in problems if problem.is_error] == list(field)


def test_an_accepted_job_has_its_id() -> None:
    submission = ACME.read_submit(REQUEST, JOB.base_url, reply(201, {"id": "v_1"}), now=NOW)
    assert (submission.job, submission.status.state) == (JOB, JobState.QUEUED)


def test_a_reply_without_an_id_leaves_the_outcome_unknown() -> None:
    with pytest.raises(SubmitOutcomeUnknown):
        ACME.read_submit(REQUEST, JOB.base_url, reply(201, {}), now=NOW)


def test_every_documented_state_is_read() -> None:
    assert read_status({"state": "running"}).state is JobState.RUNNING
    ready = read_status({"state": "ready", "video_url": "https://cdn.acme.example/v_1.mp4"})
    assert (ready.has_video, ready.expires_basis) == (True, "documented")
    broken = read_status({"state": "broken", "error": {"code": "E_PROMPT", "message": "no"}})
    assert broken.failure is not None
    assert broken.failure.category is FailureCategory.CONTENT_POLICY


def test_only_the_vendors_own_404_means_that_a_job_is_not_found() -> None:
    not_found = {"error": {"code": "E_NO_VIDEO", "message": "no such video"}}
    with pytest.raises(JobNotFound):
        ACME.read_status(JOB, reply(404, not_found), now=NOW)
    with pytest.raises(StatusUnavailable):
        ACME.read_status(JOB, reply(404, {"detail": "Not Found"}), now=NOW)
