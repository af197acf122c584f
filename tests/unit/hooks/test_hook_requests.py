# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The requests that the hook sends to each vendor, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock

from airflow_provider_vidgen.errors import JobConnectionMismatch, StatusRefused
from airflow_provider_vidgen.models import JobState, VideoRequest
from tests.support.accounts import BASE, KEY, PROMPT, VENDORS, MakeHook, job
from tests.support.vendor_replies import CREATE, STATUS, create_body, finished, running

IMAGE = "https://example.com/a.png"
BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "apimodels": (
        {"model": "grok-video-3", "duration": 5, "aspect_ratio": "9:16", "resolution": "720p"},
        '{"model":"grok-video-3","prompt":"%s","aspect_ratio":"9:16","size":"720P"}',
    ),
    "apixo": (
        {
            "model": "grok-video",
            "duration": 6,
            "resolution": "480p",
            "image_urls": [IMAGE],
            "style": "fun",
            "routing": "value",
            "extra": {"input": {"seed": 7}, "x": 1},
        },
        '{"request_type":"async","provider":"value","input":{"mode":"image-to-video","prompt":"%s",'
        f'"duration":6,"resolution":"480p","image_urls":["{IMAGE}"],"style":"fun","seed":7}},"x":1}}',
    ),
    "apixgo": (
        {"model": "grok-image-video", "duration": 6, "aspect_ratio": "16:9", "resolution": "720p"},
        '{"model":"grok-image-video","prompt":"%s","seconds":6,"aspect_ratio":"16:9","resolution":"720p"}',
    ),
    "apimart": (
        {
            "model": "grok-imagine-1.0-video-apimart",
            "duration": 6,
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "extra": {"seed": 7},
        },
        '{"model":"grok-imagine-1.0-video-apimart","prompt":"%s","size":"16:9","duration":6,"quality":"720p",'
        '"seed":7}',
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_submission_is_sent_as_documented(vendor: str, make_hook: MakeHook) -> None:
    fields, body = BODIES[vendor]
    prompt = "Ein Leuchtturm im Sturm, 灯塔"
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        submission = make_hook(vendor).submit(VideoRequest(prompt=prompt, **fields), idempotency_key="k-1")
    (sent,) = web.request_history
    assert sent.method == "POST"
    assert sent.url == CREATE[vendor]
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers.get("Idempotency-Key") == ("k-1" if vendor == "apimart" else None)
    assert sent.body == (body % prompt).encode()
    assert submission.job.to_dict() == job(vendor).to_dict()
    assert submission.status.state is JobState.QUEUED


def test_the_hook_estimates_by_the_documented_price(make_hook: MakeHook) -> None:
    request = VideoRequest(prompt=PROMPT, model="grok-video-3", duration=5)
    estimate = make_hook("apimodels").estimate(request)
    assert estimate is not None
    assert (estimate.amount, estimate.basis) == (0.08, "estimated")
    assert make_hook("apixo").estimate(request) is None


def test_an_estimate_that_a_vendor_cannot_compute_prevents_no_delivery(
    make_hook: MakeHook, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    hook = make_hook("apimodels")

    def estimate(request: VideoRequest) -> None:
        raise TypeError(f"no price for {request.prompt}")

    monkeypatch.setattr(hook.settings.vendor, "estimate", estimate, raising=True)
    assert hook.estimate(VideoRequest(prompt=PROMPT)) is None
    message = logged()
    assert "The cost could not be estimated (TypeError)" in message
    assert PROMPT not in message


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_status_check_is_a_get_with_the_api_key_and_without_a_body(
    vendor: str, make_hook: MakeHook
) -> None:
    with requests_mock.Mocker() as web:
        web.get(STATUS[vendor], json=finished(vendor))
        result = make_hook(vendor).get_status(job(vendor))
    (sent,) = web.request_history
    assert (sent.method, sent.url, sent.body) == ("GET", STATUS[vendor], None)
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert "Content-Type" not in sent.headers
    assert "Idempotency-Key" not in sent.headers
    assert result.has_video


def test_special_characters_in_a_job_id_are_quoted(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(requests_mock.ANY, json=running("apixgo"))
        make_hook("apixgo").get_status(job("apixgo", task_id="a/../b?c=d&e"))
    assert web.request_history[0].url.endswith("/v1/video/generations/a%2F..%2Fb%3Fc%3Dd%26e")


def test_prefix_and_port_of_the_base_url_are_kept(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get(requests_mock.ANY, json=running("apixgo"))
        prefixed_job = job("apixgo", base_url="https://gw.example.com:8443/pre")
        make_hook("apixgo", host="gw.example.com/pre", port=8443).get_status(prefixed_job)
    assert web.request_history[0].url == "https://gw.example.com:8443/pre/v1/video/generations/task_1"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_of_another_host_is_not_polled(vendor: str, make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web, pytest.raises(JobConnectionMismatch) as error:
        make_hook(vendor, host="https://staging.example.com").get_status(job(vendor))
    assert web.request_history == []
    assert "https://staging.example.com" in str(error.value)
    assert BASE[vendor] in str(error.value)
    assert "continues at the vendor" in str(error.value)


@pytest.mark.parametrize("code", [401, 403])
def test_one_refused_check_is_retried_and_a_second_one_raises(code: int, make_hook: MakeHook) -> None:
    refused = {"status_code": code, "json": {"code": code}}
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], [refused, {"json": running("apixo")}])
        assert make_hook("apixo").get_status(job("apixo")).state == "running"
        web.get(STATUS["apixo"], [refused])
        with pytest.raises(StatusRefused) as error:
            make_hook("apixo").get_status(job("apixo"))
    assert not error.value.fatal
    assert len(web.request_history) == 4


def test_connect_and_read_timeout_are_set_on_the_request(make_hook: MakeHook) -> None:
    hook = make_hook("apimodels", extra={"timeout": 7})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimodels"], json=create_body("apimodels"))
        web.post("https://apimodels.app/api/v1/video/p-video", json={"data": {"url": "https://c.example/v"}})
        hook.submit(VideoRequest(prompt=PROMPT, model="grok-video-3"))
        hook.submit(VideoRequest(prompt=PROMPT, model="p-video"))
    # The synchronous endpoint blocks for as long as the video takes.
    assert [sent.timeout for sent in web.request_history] == [(7.0, 7.0), (7.0, 180.0)]


def test_a_netrc_entry_does_not_replace_the_api_key(
    make_hook: MakeHook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], json=create_body("apixgo"))
        web.get(STATUS["apixgo"], json=running("apixgo"))
        hook = make_hook("apixgo")
        hook.submit(VideoRequest(prompt=PROMPT, model="grok-image-video"))
        hook.get_status(job())
    assert {sent.headers["Authorization"] for sent in web.request_history} == {f"Bearer {KEY}"}


def test_models_are_fetched_if_the_vendor_has_an_endpoint(make_hook: MakeHook) -> None:
    with requests_mock.Mocker() as web:
        web.get("https://img.apixgo.com/v1/models", json={"data": [{"id": "a"}, {"id": "b"}]})
        assert make_hook("apixgo").list_models() == ["a", "b"]
    assert [sent.method for sent in web.request_history] == ["GET"]


@pytest.mark.parametrize("vendor", ["apimodels", "apixo", "apimart"])
def test_models_are_the_documented_ones_if_the_vendor_has_no_endpoint(
    vendor: str, make_hook: MakeHook
) -> None:
    with requests_mock.Mocker() as web:
        hook = make_hook(vendor)
        assert hook.list_models() == list(hook.settings.vendor.models)
    assert web.request_history == []


def test_get_conn_returns_the_hooks_one_client(make_hook: MakeHook) -> None:
    hook = make_hook("apixo")
    assert hook.get_conn() is hook.client
