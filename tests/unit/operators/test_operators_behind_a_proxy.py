# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Problems of a worker's proxies are detected before payment, and lose no job later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT, VENDORS
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, finished

Connect = Callable[..., None]
PROXY = "http://worker:s3cret@proxy.example.com:3128"


def generation(output_path: str | None, **fields: Any) -> VideoGenerationOperator:
    fields = {"prompt": PROMPT, "deferrable": False, **fields}
    return VideoGenerationOperator(task_id="t", output_path=output_path, **fields)


@pytest.fixture
def web() -> Any:
    with requests_mock.Mocker() as web:
        for vendor in VENDORS:
            web.post(CREATE[vendor], json=create_body(vendor))
            web.get(STATUS[vendor], json=finished(vendor))
        web.get(LINK, content=MP4)
        yield web


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_generation_whose_download_would_be_blocked_is_refused_before_payment(
    vendor: str,
    deferrable: bool,
    vidgen: Connect,
    web: requests_mock.Mocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vidgen(vendor)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    with pytest.raises(AirflowFailException) as failure:
        generation(f"file://{tmp_path}/{{product}}/", deferrable=deferrable).execute(context())
    text = str(failure.value)
    for part in (
        "allow_proxied_downloads=false: must be true in the connection 'vidgen_default'",
        "or NO_PROXY must be *",
        "the proxy proxy.example.com:3128 from HTTPS_PROXY",
        "output_path=",
        "Nothing was spent.",
    ):
        assert part in text
    assert "s3cret" not in text
    assert web.request_history == []


def test_an_invalid_request_is_reported_together_with_proxy_problems(
    vidgen: Connect, web: requests_mock.Mocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(AirflowFailException) as failure:
        generation(f"file://{tmp_path}/", duration=-1).execute(context())
    for field in ("duration=", "REQUESTS_CA_BUNDLE='/nowhere/ca.pem'"):
        assert str(failure.value).count(f"- {field}") == 1
    assert web.request_history == []


@pytest.mark.parametrize("extra", [{"allow_proxied_downloads": True}, {"allow_private_urls": True}])
def test_with_allow_proxied_downloads_the_proxy_is_used(
    extra: dict[str, bool],
    vidgen: Connect,
    web: requests_mock.Mocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vidgen("apixo", extra=extra)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    generation(f"file://{tmp_path}/v.mp4").execute(context())
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert {sent.proxies["https"] for sent in web.request_history} == {PROXY}


def test_a_generation_without_output_path_needs_no_allow_proxied_downloads(
    vidgen: Connect, web: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert generation(None).execute(context())["result_urls"] == [LINK]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem"), ("HTTPS_PROXY", "socks5://proxy.example.com")],
)
def test_an_unusable_environment_is_refused_before_payment(
    variable: str,
    value: str,
    vidgen: Connect,
    web: requests_mock.Mocker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vidgen("apixo")
    monkeypatch.setenv(variable, value)
    with pytest.raises(AirflowFailException, match=rf"(?s){variable}=.*Nothing was spent"):
        generation(None).execute(context())
    assert web.request_history == []


def test_a_paid_job_stays_attached_while_downloads_are_blocked_and_lands_afterwards(
    vidgen: Connect, web: requests_mock.Mocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    task = context()
    web.get(LINK, [{"status_code": 503}])
    with pytest.raises(AirflowException):
        generation(f"file://{tmp_path}/v.mp4").execute(task)
    web.get(LINK, content=MP4)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    again = context()
    again["task_state_store"] = task["task_state_store"]
    with pytest.raises(
        AirflowFailException, match=r"allow_proxied_downloads.*task_1.*The video was paid for"
    ):
        generation(f"file://{tmp_path}/v.mp4").execute(again)
    monkeypatch.setenv("NO_PROXY", "cdn.example.com")
    cleared = context(max_tries=5)
    cleared["task_state_store"] = task["task_state_store"]
    generation(f"file://{tmp_path}/v.mp4").execute(cleared)
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert sum(sent.method == "POST" for sent in web.request_history) == 1


@pytest.mark.parametrize("video", [False, True])
def test_a_blocked_download_is_refused_before_any_request(
    video: bool,
    vidgen: Connect,
    web: requests_mock.Mocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vidgen("apixo")
    result = {"vendor": "apixo", "model": "grok-video", "task_id": "task_1", "result_urls": [LINK]}
    source: dict[str, Any] = {"video": result} if video else {"url": LINK}
    download = VideoDownloadOperator(task_id="t", output_path=f"file://{tmp_path}/v.mp4", **source)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    with pytest.raises(AirflowFailException, match="allow_proxied_downloads") as failure:
        download.execute(context())
    assert "s3cret" not in str(failure.value)
    assert web.request_history == []
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("NO_PROXY", "example.com")
    download.execute(context())
    assert (tmp_path / "v.mp4").read_bytes() == MP4
