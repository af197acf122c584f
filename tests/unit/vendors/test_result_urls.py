# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A finished job has a video only with a usable link, which vendors send in many forms."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from vendor_case import VENDORS, read_status, read_submit, reply

from airflow_provider_vidgen.errors import SubmitOutcomeUnknown
from airflow_provider_vidgen.models import JobState, JobStatus, Submission
from tests.support.vendor_replies import LINK, status_body

_OTHER = "https://cdn.example.com/other.mp4"
_NOT_A_URL: list[Any] = [
    "",
    None,
    [],
    {},
    7,
    True,
    "error: generation failed",
    "/v1/videos/task_1/content",
    "ftp://example.com/a.mp4",
    "https://",
    "http:///a.mp4",
    "https://exa mple.com/a.mp4",
    "javascript:alert(1)",
    "data:video/mp4;base64,AAAA",
    "https://[::1",
    "https://cdn.example.com:port/a.mp4",
    "see https://example.com/help",
    ["", None, 7, {"url": ""}],
    "https://cdn.example.com\\@evil.example.net/a.mp4",
    "https://cdn.example.com/\u202ea.mp4",
    f"{LINK}\n{_OTHER}",
]


def _status(vendor: str, state: Any, **data: Any) -> JobStatus:
    result = read_status(vendor, reply(200, status_body(vendor, state, **data)))
    assert isinstance(result, JobStatus), result
    return result


def _accepted(vendor: str, body: Any, **fields: Any) -> Submission:
    result = read_submit(vendor, reply(200, body), **fields)
    assert isinstance(result, Submission), result
    return result


@pytest.mark.parametrize("value", _NOT_A_URL, ids=str)
def test_success_without_a_usable_link_is_not_a_video(value: Any) -> None:
    for vendor, data in (
        ("apimodels", {"resultUrls": value}),
        ("apimodels", {"resultUrls": [value]}),
        ("apimodels", {"resultJson": json.dumps({"resultUrls": [value]})}),
        ("apixo", {"resultJson": json.dumps({"resultUrls": [value]})}),
        ("apixo", {"resultJson": value}),
        ("apixgo", {"result_url": value}),
        ("apixgo", {"result_url": "", "fail_reason": value}),
        ("apimart", {"result": {"videos": [{"url": value}]}}),
        ("apimart", {"result": {"videos": value}}),
        ("apimart", {"result": value}),
    ):
        status = _status(vendor, "completed", **data)
        assert (status.state, status.result_urls, status.has_video) == (JobState.SUCCEEDED, (), False), data


@pytest.mark.parametrize("vendor", VENDORS)
def test_success_without_the_result_field_is_not_a_video(vendor: str) -> None:
    assert not _status(vendor, "completed").has_video


@pytest.mark.parametrize(
    "data",
    [
        {"resultUrls": [LINK, _OTHER]},
        {"resultUrls": [LINK, LINK, _OTHER, ""]},
        {"resultJson": json.dumps({"resultUrls": [LINK, _OTHER]})},
        {"resultJson": json.dumps(json.dumps({"resultUrls": [LINK, _OTHER]}))},
        {"resultJson": {"resultUrls": [LINK, _OTHER]}},
        {"resultUrls": [], "resultJson": json.dumps({"resultUrls": [LINK, _OTHER]})},
        {"resultUrls": [LINK], "resultJson": json.dumps({"resultUrls": [_OTHER]})},
        {"resultUrls": None, "resultJson": json.dumps({"resultUrls": [f" {LINK} ", _OTHER]})},
    ],
)
@pytest.mark.parametrize("vendor", ["apimodels", "apixo"])
def test_links_are_read_from_a_list_or_from_json_in_a_string(vendor: str, data: dict[str, Any]) -> None:
    result = _status(vendor, "success", **data).result_urls
    # Apixo documents only the JSON string; its list is read only without one.
    first = _OTHER if vendor == "apixo" and len(data.get("resultUrls") or ()) == 1 else LINK
    assert result[0] == first
    assert set(result) <= {LINK, _OTHER}
    assert len(set(result)) == len(result)


@pytest.mark.parametrize(
    "value", ["{", "null", "[]", '"x"', "7", '{"resultUrls": null}', json.dumps(json.dumps("x"))]
)
def test_a_json_string_without_links_is_not_a_video(value: str) -> None:
    for vendor in ("apimodels", "apixo"):
        assert not _status(vendor, "success", resultJson=value).has_video


@pytest.mark.parametrize("state", ["pending", "processing", "failed", "cancelled", "unheard of"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_link_before_success_is_not_a_video(vendor: str, state: str) -> None:
    data = {"resultUrls": [LINK], "result_url": LINK, "result": {"videos": [{"url": LINK}]}}
    status = _status(vendor, state, **data, thumbnailUrl=LINK)
    assert (status.result_urls, status.thumbnail_url, status.has_video) == ((), None, False)
    assert (status.expires_at, status.expires_basis) == (None, "unknown")


def test_apixgos_link_may_be_in_fail_reason() -> None:
    assert _status("apixgo", "SUCCESS", result_url="", fail_reason=LINK).result_urls == (LINK,)
    assert _status("apixgo", "SUCCESS", result_url=LINK, fail_reason=_OTHER).result_urls == (LINK,)


def test_apixgos_failure_reason_may_be_in_result_url() -> None:
    status = _status("apixgo", "FAILURE", result_url="任务超时", fail_reason="", progress="100%")
    assert status.failure is not None
    assert (status.failure.message, status.has_video, status.result_urls) == ("任务超时", False, ())


# --- APIMart --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "data": [{"status": "submitted", "task_id": "t"}]},
        {"code": 200, "data": [{"status": "submitted", "id": "t"}]},
        {"code": 200, "data": {"id": "t", "status": "submitted", "progress": 0, "created": 1710000000}},
        {"data": {"id": "t", "object": "video.generation.task", "status": "pending", "task_info": {}}},
        {"code": 200, "data": {"task_id": "t"}},
        {"id": "t", "status": "submitted"},
        {"task_id": "t"},
    ],
)
def test_every_form_of_apimarts_create_reply_names_the_job(body: Any) -> None:
    result = _accepted("apimart", body)
    assert (result.job.task_id, result.status.state) == ("t", JobState.QUEUED)


@pytest.mark.parametrize(
    "result",
    [
        {"videos": [{"url": [LINK], "expires_at": 1763174708}]},
        {"videos": [{"url": LINK, "expires_at": 1763174708}]},
        {"images": [{"url": [LINK], "expires_at": 1763174708}]},
        {"videos": {"url": LINK, "expires_at": 1763174708}},
    ],
)
def test_apimarts_links_expire_as_reported(result: Any) -> None:
    status = _status(
        "apimart", "completed", result=result, created=1763088289, completed=1763088308, progress=100
    )
    assert status.result_urls == (LINK,)
    assert status.created_at == datetime(2025, 11, 14, 2, 44, 49, tzinfo=UTC)
    assert status.completed_at == datetime(2025, 11, 14, 2, 45, 8, tzinfo=UTC)
    assert status.expires_at == datetime(2025, 11, 15, 2, 45, 8, tzinfo=UTC)
    assert status.expires_basis == "reported"


def test_apimarts_links_expire_after_a_day_if_nothing_is_reported() -> None:
    status = _status(
        "apimart", "completed", result={"videos": [LINK, {"url": [_OTHER]}]}, completed=1763088308
    )
    assert status.result_urls == (LINK, _OTHER)
    assert status.expires_at == datetime(2025, 11, 15, 2, 45, 8, tzinfo=UTC)
    assert status.expires_basis == "documented"


def test_apimarts_status_may_be_in_a_list() -> None:
    status = read_status(
        "apimart", reply(200, {"code": 200, "data": [{"status": "processing", "progress": 7}]})
    )
    assert isinstance(status, JobStatus)
    assert (status.state, status.progress) == (JobState.RUNNING, 7.0)


# --- Apixgo ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"task_id": "t", "id": "other", "status": "queued"},
        {"task_id": "", "id": "t", "status": "queued"},
        {"id": "t", "object": "video"},
        {"code": "success", "message": "", "data": {"task_id": "t", "status": "SUBMITTED"}},
    ],
)
def test_apixgos_create_reply_may_be_flat_or_in_an_envelope(body: Any) -> None:
    result = _accepted("apixgo", body)
    assert (result.job.task_id, result.status.state) == ("t", JobState.QUEUED)


# --- p-video --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"resultUrls": [LINK]},
        {"resultJson": json.dumps({"resultUrls": [LINK]})},
        {"video_url": LINK},
        {"url": LINK},
        {"videos": [LINK]},
        {"videos": [{"url": LINK}]},
        {"state": "completed", "resultUrls": [LINK]},
    ],
)
def test_a_synchronous_result_is_read_in_any_form(data: dict[str, Any]) -> None:
    for body in ({"code": 200, "msg": "success", "data": data}, {"data": data}):
        result = _accepted("apimodels", body, model="p-video")
        assert (result.job.task_id, result.status.has_video) == ("", True)
        assert result.status.result_urls == (LINK,)
        assert result.status.expires_basis == "documented"
    if "state" not in data:
        assert _accepted("apimodels", data, model="p-video").status.result_urls == (LINK,)


def test_a_synchronous_reply_with_only_a_job_id_is_polled() -> None:
    result = _accepted("apimodels", {"code": 200, "data": {"taskId": "t"}}, model="p-video")
    assert (result.job.task_id, result.status.state) == ("t", JobState.QUEUED)
    both = _accepted("apimodels", {"code": 200, "data": {"taskId": "t", "video_url": LINK}}, model="p-video")
    assert (both.job.task_id, both.status.has_video) == ("t", True)


def test_a_url_next_to_the_id_of_a_new_job_is_not_the_video() -> None:
    result = _accepted(
        "apimodels", {"code": 200, "data": {"taskId": "t", "url": "https://example.com/jobs/t"}}
    )
    assert (result.status.state, result.status.has_video) == (JobState.QUEUED, False)


def test_a_synchronous_reply_without_a_video_leaves_the_outcome_unknown() -> None:
    for data in ({}, {"videos": []}, {"video_url": ""}, {"url": "soon"}):
        result = read_submit("apimodels", reply(200, {"code": 200, "data": data}), model="p-video")
        assert type(result) is SubmitOutcomeUnknown
