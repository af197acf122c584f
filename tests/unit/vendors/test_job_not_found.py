# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Which replies mean that the vendor does not know a job.

After three of them a paid job counts as lost, and the next clear pays again. A wrong host, a gateway or a
removed path answer 404 as well, so only the vendor's own message in its own form counts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vendor_case import NOW, VENDORS, read_status, reply, vendor_job

from airflow_provider_vidgen.errors import JobNotFound, StatusUnavailable, VidgenError
from airflow_provider_vidgen.polling import JobPoller, Schedule
from airflow_provider_vidgen.vendors import refusals
from airflow_provider_vidgen.vendors.http_messages import HttpReply

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)

_NOT_EXIST = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
#: Vendor, HTTP status, body; from the documents, the vendors' newer pages, their clients and relay software.
_VENDOR_REPLIES: list[tuple[str, int, Any]] = [
    ("apimodels", 404, {"code": 404, "msg": "Not Found -- task ID not found", "data": None}),
    ("apimodels", 404, {"code": 404, "msg": "Task not found"}),
    ("apimodels", 200, {"code": 404, "msg": "Task does not exist", "data": None}),
    ("apimodels", 200, {"code": "404", "msg": "Not Found", "data": None}),
    ("apixo", 404, {"code": 404, "message": "Task not found", "data": None}),
    ("apixo", 200, {"code": 404, "message": "task_123 not found: no such task", "data": None}),
    ("apixo", 404, {"code": 404, "message": "not found", "data": None}),
    ("apixgo", 400, _NOT_EXIST),
    ("apixgo", 404, _NOT_EXIST),
    ("apixgo", 200, _NOT_EXIST),
    ("apixgo", 400, {"error": {"code": "task_not_exist", "message": "x", "type": "new_api_error"}}),
    ("apimart", 404, {"code": 404, "message": "not found"}),
    ("apimart", 404, {"error": {"code": 404, "message": "not found", "type": "not_found_error"}}),
    ("apimart", 404, {"error": {"code": "task_not_found", "message": "Task abc does not exist"}}),
    ("apimart", 404, {"error": {"code": "404", "message": "任务 abc 不存在"}}),
    ("apimart", 200, {"error": {"code": 404, "message": "Unknown task"}}),
]
#: Replies of any host to a path that it does not have; none is about a job.
_OTHER_HOSTS: dict[str, Any] = {
    "nothing": b"",
    "HTML": b"<html><h1>404 Not Found</h1></html>",
    "plain text": b"404 page not found",
    "half a reply": b'{"code": 404, "message": "Task not fo',
    "null": b"null",
    "a list": [{"code": 404, "message": "Task not found"}],
    "FastAPI": {"detail": "Not Found"},
    "Kong": {"message": "no Route matched with those values"},
    "APISIX": {"error_msg": "404 Route Not Found"},
    "Spring": {
        "timestamp": "2026-11-20T12:00:00Z",
        "status": 404,
        "error": "Not Found",
        "path": "/v1/tasks/1",
    },
    "Nest": {"statusCode": 404, "message": "Cannot GET /v1/tasks/1", "error": "Not Found"},
    "gRPC gateway": {"code": 5, "message": "Not Found", "details": []},
    "WordPress": {"code": "rest_no_route", "message": "No route was found", "data": {"status": 404}},
    "Google": {"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}},
    "Azure": {"error": {"code": "404", "message": "Resource not found"}},
    "new-api's route": {
        "error": {"message": "Invalid URL (GET /v1/tasks/1)", "type": "invalid_request_error", "code": ""}
    },
    "a route in the form of all": {
        "code": 404,
        "msg": "Cannot GET /v1/tasks/1: task not found",
        "message": "Cannot GET /v1/tasks/1: task not found",
    },
    "a route without its path": {"code": 404, "msg": "Route not found", "message": "Route not found"},
    "a model": {"code": 404, "msg": "Video model not found", "message": "Video model not found: x"},
    "no words": {"code": 404, "msg": "", "message": "", "data": None},
    "bare text": {"error": "Task not found"},
    "another code": {"code": 200, "msg": "Task not found", "message": "Task not found"},
}


@pytest.mark.parametrize(("vendor", "status", "body"), _VENDOR_REPLIES)
def test_the_vendors_own_error_means_job_not_found(vendor: str, status: int, body: Any) -> None:
    error = read_status(vendor, reply(status, body))
    assert isinstance(error, JobNotFound)
    assert (error.job, error.fatal) == (vendor_job(vendor), False)


@_every_vendor
@pytest.mark.parametrize("form", _OTHER_HOSTS)
def test_a_404_in_any_other_form_is_a_failed_check_that_names_the_connection(form: str, vendor: str) -> None:
    error = read_status(vendor, reply(404, _OTHER_HOSTS[form], retry_after="9"))
    assert type(error) is StatusUnavailable
    assert (error.job, error.fatal, error.retry_after) == (vendor_job(vendor), False, 9.0)
    assert "the connection's host or vendor may be wrong" in str(error)
    assert "checks the same job" in str(error)


@_every_vendor
def test_another_vendors_error_is_a_failed_check(vendor: str) -> None:
    flat = {"apimodels": "apimodels", "apixo": "flat", "apimart": "flat"}  # Apixo and APIMart share a form
    for owner, status, body in _VENDOR_REPLIES:
        if flat.get(owner, owner) != flat.get(vendor, vendor):
            assert type(read_status(vendor, reply(status, body))) is StatusUnavailable, (owner, body)


@_every_vendor
@pytest.mark.parametrize("status", [302, 405, 409, 500, 502, 503])
def test_the_vendors_error_with_another_status_code_is_a_failed_check(vendor: str, status: int) -> None:
    for owner, _, body in _VENDOR_REPLIES:
        if owner == vendor:
            assert type(read_status(vendor, reply(status, body))) is StatusUnavailable


@_every_vendor
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), status=st.sampled_from([200, 404])
)
def test_arbitrary_bytes_never_mean_job_not_found(vendor: str, content: bytes, status: int) -> None:
    assert not isinstance(read_status(vendor, HttpReply(status=status, content=content)), JobNotFound)


@pytest.mark.parametrize(
    "message",
    [
        "Task 01J9 was not found",
        "The task with ID 01J9 does not exist.",
        "No such job",
        "Could not find the task",
        "Cannot find job 7",
        "We couldn't find that generation, no such task",
        "video generation not found",
        "record not found",
        "未找到任务",
        "找不到该任务",
        "task_id not exist",
        "404 Not Found",
    ],
)
def test_messages_about_the_job(message: str) -> None:
    assert refusals.is_job_not_found_message(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "page not found",
        "The requested URL was not found on this server",
        "model not found",
        "Task type not found",
        "task service not found",
        "unknown error while the task was read",
        "user not found",
        "模型不存在",
        "The video is not ready",
        "task found, not exported",
    ],
)
def test_messages_about_something_else(message: str) -> None:
    assert not refusals.is_job_not_found_message(message)


@_every_vendor
def test_a_wrong_host_for_minutes_never_loses_a_job(vendor: str) -> None:
    poller = JobPoller(
        vendor_job(vendor),
        Schedule(first_delay=5, interval=5, max_interval=5),
        submitted_at=NOW,
        deadline=NOW + timedelta(days=1),
        jitter=lambda: 0.5,
    )
    error, now = read_status(vendor, reply(404, b"<html>nginx</html>")), NOW + timedelta(minutes=5)
    assert isinstance(error, VidgenError)
    for _ in range(19):
        now += timedelta(seconds=poller.after_error(error, now))
    assert now - NOW > timedelta(minutes=15)
    with pytest.raises(StatusUnavailable, match="host or vendor"):
        poller.after_error(error, now)
