# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Property tests: any bytes from a vendor give a value or an error of this package, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from vendor_case import NOW, VENDORS, request_for, vendor_job

from airflow_provider_vidgen.errors import StatusError, SubmitError, VidgenError
from airflow_provider_vidgen.models import JobState, JobStatus
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.http_messages import HttpReply
from airflow_provider_vidgen.vendors.parsing import is_http_url
from tests.support.vendor_replies import LINK, create_body, error_body, failure_data, status_body, video_data

_SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
_every_vendor = pytest.mark.parametrize("vendor", VENDORS)
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

_KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        "code msg message data error taskId task_id id state status progress resultJson resultUrls "
        "result_url url videos video_url images result expires_at created completed createTime completeTime "
        "submit_time finish_time failCode failMsg fail_reason cost credits_cost thumbnailUrl videoDuration",
    )
)
_TEXTS = st.sampled_from(
    [
        "success",
        "SUCCESS",
        "completed",
        "failed",
        "FAILURE",
        "pending",
        "cancelled",
        "UNKNOWN",
        LINK,
        "30%",
        "",
        "0",
        "200",
        "429",
        "1e400",
        "nan",
        "task_not_exist",
        "\ud800",
        "\0",
        '{"resultUrls": ["https://a.example/x"]}',
    ]
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 200, 401, 404, 429, 503, 1763174708, 10**18, -(10**30), 10**400])
    | st.floats()
    | _TEXTS
    | st.text(max_size=20)
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)
_LONG = "9" * 5000
_MALFORMED = [
    b"[" * 100_000,
    b'{"data":' * 100_000,
    b'{"data": {"status": "SUCCESS", "state": "success", "resultJson": "' + b"[" * 100_000 + b'"}}',
    f'{{"code": {_LONG}, "data": {{"taskId": {_LONG}}}}}'.encode(),
    f'{{"code": "{_LONG}", "data": {{"taskId": "t", "state": "success", "createTime": "{_LONG}"}}}}'.encode(),
    f'{{"data": {{"id": "t", "status": "SUCCESS", "progress": "{_LONG}%", "cost": 1e999}}}}'.encode(),
    b'{"code": NaN, "data": {"id": "t", "status": "processing", "progress": Infinity, "created": -Infinity}}',
    b'{"error": {"code": Infinity, "message": NaN}}',
    b"<!doctype html><html><body>502 Bad Gateway</body></html>",
    b"\xef\xbb\xbf{}",
    b"\x1f\x8b\x08\x00",
    b'{"data": {"status": "\\ud800", "state": "\\ud800"}}',
]


def _templates(vendor: str) -> list[Any]:
    return [
        create_body(vendor),
        error_body(vendor, 400, "no"),
        status_body(vendor, "processing", progress="30%", createTime=1763174708, created=1763174708),
        *(status_body(vendor, word, **video_data(vendor)) for word in ("completed", "success", "SUCCESS")),
        *(status_body(vendor, word, **failure_data(vendor, "no")) for word in ("failed", "FAILURE")),
    ]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A valid reply with some values replaced, or truncated."""
    body = json.loads(json.dumps(draw(st.sampled_from(_templates(draw(st.sampled_from(list(VENDORS))))))))
    for _ in range(draw(st.integers(0, 4))):
        node = body
        while isinstance(node, dict | list) and node:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                node[key] = draw(_JSON)
                break
            node = node[key]
    content = json.dumps(body).encode()
    truncated = draw(st.none() | st.integers(0, len(content)))
    return content[:truncated]


_CONTENT = (
    st.binary(max_size=60)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | _mutated()
    | st.sampled_from(_MALFORMED)
)
_STATUS = st.sampled_from([200, 200, 200, 201, 202, 204, 400, 401, 403, 404, 409, 429, 503]) | st.integers(
    100, 599
)
_HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "content-type", "location"]),
    st.text(max_size=40)
    | st.sampled_from(
        ["1e400", "-5", "Fri, 20 Nov 2026 12:00:00 GMT", "Fri, 20 Nov 2026 99:00:00 +9999", ","]
    ),
)
_REPLIES = st.builds(HttpReply, status=_STATUS, headers=_HEADERS, content=_CONTENT)


def _storable(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "replace") == value.encode("utf-8", "surrogatepass")


def _assert_consistent(status: JobStatus) -> None:
    if status.has_video:
        assert status.state is JobState.SUCCEEDED
        assert status.result_urls
    assert all(is_http_url(link) for link in status.result_urls)
    assert all(link.lower().startswith(("http://", "https://")) for link in status.result_urls)
    if status.state is not JobState.SUCCEEDED:
        assert not status.result_urls
    assert (status.failure is not None) == (status.state in (JobState.FAILED, JobState.CANCELLED))
    assert status.progress is None or 0 <= status.progress <= 100
    assert (status.expires_at is None) == (status.expires_basis == "unknown")
    for time in (status.created_at, status.completed_at, status.expires_at):
        assert time is None or time.utcoffset() is not None
    assert _storable(status.raw_state)
    assert len(status.raw_state) <= 100
    if status.failure is not None:
        assert _storable(status.failure.code + status.failure.message)
    repr(status)


def _assert_error(error: VidgenError) -> None:
    assert str(error)
    assert _storable(str(error))
    assert error.retry_after is None or error.retry_after >= 0


def _read_as_everything(vendor: Vendor, http_reply: HttpReply) -> None:
    for model in ("p-video", None):
        request = request_for(vendor.name, **({"model": model} if model else {}))
        try:
            submission = vendor.read_submit(request, vendor.default_base_url, http_reply, now=NOW)
        except SubmitError as error:
            _assert_error(error)
        else:
            _assert_consistent(submission.status)
            assert submission.job.task_id or submission.status.state in ENDED
            assert submission.job.task_id.isprintable()
            assert http_reply.status < 300
            if submission.job.task_id:
                vendor.status_call(submission.job).path.encode("ascii")
    try:
        _assert_consistent(vendor.read_status(vendor_job(vendor.name), http_reply, now=NOW))
        assert http_reply.status < 300
    except StatusError as error:
        _assert_error(error)
    try:
        assert all(isinstance(name, str) and name for name in vendor.read_models(http_reply))
    except VidgenError as error:
        _assert_error(error)


@_every_vendor
@given(http_reply=_REPLIES)
@example(http_reply=HttpReply(status=200, content=b'{"data":{"taskId":"t","state":"pending"},"code":1e308}'))
@_SETTINGS
def test_any_reply_gives_a_value_or_an_error_of_this_package(vendor: str, http_reply: HttpReply) -> None:
    _read_as_everything(VENDORS[vendor], http_reply)


@_every_vendor
@pytest.mark.parametrize("content", _MALFORMED, ids=range(len(_MALFORMED)))
@pytest.mark.parametrize("status", [100, 200, 204, 302, 400, 404, 429, 503, 599])
def test_malformed_replies_give_a_value_or_an_error_of_this_package(
    vendor: str, content: bytes, status: int
) -> None:
    _read_as_everything(VENDORS[vendor], HttpReply(status=status, content=content))


@_every_vendor
def test_a_truncated_reply_is_always_an_error(vendor: str) -> None:
    for template in _templates(vendor):
        content = json.dumps(template).encode()
        for end in range(len(content)):
            truncated = HttpReply(status=200, content=content[:end])
            with pytest.raises(SubmitError):
                VENDORS[vendor].read_submit(request_for(vendor), "https://x", truncated, now=NOW)
            with pytest.raises(StatusError):
                VENDORS[vendor].read_status(vendor_job(vendor), truncated, now=NOW)


@_every_vendor
@given(status=st.integers(300, 599), content=_CONTENT)
@settings(_SETTINGS, max_examples=150)
def test_an_http_error_never_means_accepted_and_never_ends_a_job(
    vendor: str, status: int, content: bytes
) -> None:
    http_reply = HttpReply(status=status, content=content)
    with pytest.raises(SubmitError):
        VENDORS[vendor].read_submit(request_for(vendor), "https://x", http_reply, now=NOW)
    with pytest.raises(StatusError):
        VENDORS[vendor].read_status(vendor_job(vendor), http_reply, now=NOW)
