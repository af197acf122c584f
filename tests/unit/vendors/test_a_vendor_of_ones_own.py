# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor is one subclass with five methods: everything else has a default that is safe."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from vendor_case import NOW, PROMPT, reply

from airflow_provider_vidgen.errors import SubmitOutcomeUnknown
from airflow_provider_vidgen.models import JobState, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import Schedule
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpCall
from airflow_provider_vidgen.vendors.parsing import collect_urls, get_path, parse_text


class _Plain(Vendor):
    name = "plain"
    label = "Plain"
    default_base_url = "https://api.plain.example"
    schedule = Schedule(first=5, interval=5, longest=10)
    mapped_fields = {"prompt": "prompt", "model": "model"}  # noqa: RUF012
    models = {}  # noqa: RUF012

    def submit_call(self, request: VideoRequest, *, idempotency_key: str | None = None) -> HttpCall:
        return HttpCall(method="POST", path="/videos", body={"prompt": request.prompt})

    def status_call(self, job: VideoJob) -> HttpCall:
        return HttpCall(method="GET", path=f"/videos/{job.task_id}")

    def find_task_id(self, body: Any) -> str:
        return parse_text(get_path(body, "id"))

    def read_submit_body(self, body: Any, now: datetime) -> JobStatus:
        return self.build_status("queued", now=now)

    def read_status_body(self, body: Any, now: datetime) -> JobStatus | None:
        return self.build_status(get_path(body, "status"), now=now, result_urls=collect_urls(get_path(body, "url")))


_JOB = VideoJob(vendor="plain", base_url="https://api.plain.example", model="m", task_id="t")
_REQUEST = VideoRequest(prompt=PROMPT, model="m")


def test_it_has_no_rules_but_the_common_ones() -> None:
    assert [problem.is_error for problem in _Plain().problems(_REQUEST)] == [False]
    refused = _Plain().problems(
        VideoRequest(prompt="", model="m", image_urls=["https://a.example/x"], style="s")
    )
    assert [problem.field for problem in refused if problem.is_error] == ["prompt", "image_urls", "style"]


def test_it_lists_no_models_cancels_no_jobs_and_blocks_on_nothing() -> None:
    assert _Plain().models_call() is None
    assert _Plain().cancel_call(_JOB) is None
    assert not _Plain().is_synchronous(_REQUEST)


def test_a_503_and_a_409_leave_it_open() -> None:
    for code in (409, 503):
        with pytest.raises(SubmitOutcomeUnknown):
            _Plain().read_submit(_REQUEST, "https://x", reply(code, {"error": "no channel"}), now=NOW)


def test_its_links_have_no_known_end() -> None:
    status = _Plain().read_status(_JOB, reply(200, {"status": "done", "url": "https://a.example/x"}), now=NOW)
    assert (status.state, status.has_video) == (JobState.SUCCEEDED, True)
    assert (status.expires_at, status.expires_basis) == (None, "unknown")


def test_the_code_of_a_reply_is_the_one_that_counts() -> None:
    vendor = _Plain()
    assert vendor.reply_status_code(reply(200, {"code": "429"})) == 429
    assert vendor.reply_status_code(reply(200, {"error": {"code": 503}})) == 503
    assert vendor.reply_status_code(reply(404, {"code": 200})) == 404
    assert vendor.reply_status_code(reply(200, {"code": "success"})) == 200
    assert vendor.reply_status_code(reply(502, b"<html>")) is None
