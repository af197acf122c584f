# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Every example of the vendors' five documents, as they show it: requests byte for byte, replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from vendor_case import NOW, VENDORS, read_status, read_submit, reply

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.vendors.http_messages import HttpCall

_DOCUMENTS = Path(__file__).resolve().parents[1] / "fixtures" / "documents"
_EXAMPLES = [
    example
    for document in sorted(_DOCUMENTS.glob("*.json"))
    for example in json.loads(document.read_text(encoding="utf-8"))
]
#: The HTTP client adds these to every call.
_ADDED_HEADERS = {"Authorization", "Content-Type"}


def _examples(*kinds: str, part: str) -> Any:
    """The examples of some kinds: requests have the part ``method``, replies ``http_status``."""
    result = [example for example in _EXAMPLES if example["kind"] in kinds and part in example]
    assert result
    return pytest.mark.parametrize("example", result, ids=lambda example: example["name"])


def _url(vendor: str, call: HttpCall) -> str:
    query = f"?{urlencode(call.query)}" if call.query else ""
    return VENDORS[vendor].default_base_url + call.path + query


def _compact(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def test_all_five_documents_have_fixtures() -> None:
    assert len(list(_DOCUMENTS.glob("*.json"))) == 5
    assert len({example["name"] for example in _EXAMPLES}) == len(_EXAMPLES)


@_examples("create", part="method")
def test_a_documented_request_is_sent_byte_for_byte(example: dict[str, Any]) -> None:
    vendor, request = VENDORS[example["vendor"]], VideoRequest(**example["request"])
    rejected = [problem for problem in vendor.problems(request) if problem.is_error]
    assert [problem.field for problem in rejected] == example.get("rejected", [])
    if rejected:
        return
    call = vendor.submit_call(request)
    assert call.method == example["method"]
    assert _url(example["vendor"], call) == example["url"]
    assert dict(call.headers) == {k: v for k, v in example["headers"].items() if k not in _ADDED_HEADERS}
    assert _compact(call.body) == _compact(example["body"])


def test_apixos_list_of_all_fields_is_rejected_as_a_request() -> None:
    catalogue = next(example for example in _EXAMPLES if "catalogue" in example["name"])
    (problem,) = [p for p in VENDORS["apixo"].problems(VideoRequest(**catalogue["request"])) if p.is_error]
    assert "not both" in problem.constraint


@_examples("status", part="method")
def test_the_status_call_goes_to_the_documented_url(example: dict[str, Any]) -> None:
    vendor = VENDORS[example["vendor"]]
    job = VideoJob(vendor=vendor.name, base_url=vendor.default_base_url, **example["job"])
    call = vendor.status_call(job)
    assert (call.method, _url(vendor.name, call)) == (example["method"], example["url"])
    assert (dict(call.headers), call.body) == ({}, None)


@_examples("models", part="method")
def test_the_model_list_is_read_from_the_documented_url(example: dict[str, Any]) -> None:
    call = VENDORS[example["vendor"]].models_call()
    assert call is not None
    assert (call.method, _url(example["vendor"], call)) == (example["method"], example["url"])
    assert (dict(call.headers), call.body) == ({}, None)


def test_only_apixgo_documents_a_model_list() -> None:
    assert [name for name, vendor in VENDORS.items() if vendor.models_call() is not None] == ["apixgo"]


@_examples("create", part="http_status")
def test_a_documented_reply_to_a_submission_is_read(example: dict[str, Any]) -> None:
    expected = dict(example["expect"])
    result = read_submit(example["vendor"], reply(example["http_status"], example["body"]))
    if "error" in expected:
        assert isinstance(result, VidgenError)
        assert type(result).__name__ == expected["error"]
        assert (result.vendor_code, result.vendor_message) == (expected["code"], expected["words"])
        return
    assert isinstance(result, Submission), result
    assert result.job.task_id == expected.pop("task_id")
    assert result.job.vendor == example["vendor"]
    assert result.job.base_url == VENDORS[example["vendor"]].default_base_url
    _assert_status(result.status, expected)


@_examples("status", "callback", part="http_status")
def test_a_documented_status_is_read(example: dict[str, Any]) -> None:
    result = read_status(example["vendor"], reply(example["http_status"], example["body"]))
    assert isinstance(result, JobStatus), result
    _assert_status(result, example["expect"])


def _assert_status(status: JobStatus, expected: dict[str, Any]) -> None:
    """Compare every field: those that the example does not have must be unset."""
    failure = status.failure
    result = {
        "state": str(status.state),
        "raw_state": status.raw_state,
        "state_is_known": status.state_is_known,
        "progress": status.progress,
        "result_urls": list(status.result_urls),
        "thumbnail_url": status.thumbnail_url,
        "created_at": status.created_at and status.created_at.isoformat(),
        "completed_at": status.completed_at and status.completed_at.isoformat(),
        "expires_at": status.expires_at and status.expires_at.isoformat(),
        "expires_basis": status.expires_basis,
        "duration_seconds": status.duration_seconds,
        "cost": status.cost,
        "failure": failure
        and {"category": str(failure.category), "code": failure.code, "message": failure.message},
    }
    unset: dict[str, Any] = {
        **dict.fromkeys(result, None),
        # Apixo's create reply names no state; that is documented, so the state counts as known.
        "state_is_known": True,
        "result_urls": [],
        "expires_basis": "unknown",
    }
    assert result == {**unset, **expected}
    assert status.has_video == bool(expected.get("result_urls"))


def test_without_a_completion_time_links_expire_after_the_reply() -> None:
    example = next(e for e in _EXAMPLES if e["name"] == "Apixgo: success reply")
    status = read_status("apixgo", reply(200, example["body"]))
    assert isinstance(status, JobStatus)
    assert status.expires_at is not None
    assert (status.expires_at - NOW).total_seconds() == 3600
