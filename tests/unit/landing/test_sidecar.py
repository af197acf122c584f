# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sidecar documents its video, and lets a later try recognise it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import (
    LINK,
    Cdn,
    files_in,
    whole,
)

from airflow_provider_vidgen.errors import (
    TargetExists,
    UnsafeLink,
)
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.models import VideoRequest
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

PICTURE = "data:image/png;base64," + "A" * 5000


REQUEST = VideoRequest(
    prompt="a lighthouse 灯塔",
    model="grok-video",
    duration=6,
    image_urls=["https://u:p@shop.example.com/lamp.jpg?X-Amz-Signature=s3cret", PICTURE],
    callback_url="https://hook.example.com/s3cret-token",
    extra={"negative": "rain", "links": ["https://a.example.com/b?s3cret"]},
)


RESULT = {
    "created_at": "2026-11-20T12:00:00+00:00",
    "completed_at": "2026-11-20T12:01:00+00:00",
    "cost": {"amount": 0.08, "currency": "USD", "basis": "reported"},
    "duration_seconds": 6.0,
    "result_urls": [LINK],
}


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Any:
    def run(*replies: Any, task_id: str = "task_1", **kwargs: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        cdn.requested.clear()
        metadata = kwargs.pop("metadata", VideoMetadata(request=REQUEST, result=RESULT))
        landing = Landing(settings(), **{"verify": False, "sleep": Clock().sleep, **kwargs})
        path = f"file://{tmp_path}/v.mp4"
        return landing.land([LINK], path, job=job("apixo", task_id=task_id), metadata=metadata)[0]

    return run


def test_a_sidecar_documents_its_file(land: Any, tmp_path: Path) -> None:
    assert land(whole())["sidecar"] == f"file://{tmp_path}/v.mp4.json"
    text = (tmp_path / "v.mp4.json").read_text()
    content = json.loads(text)
    assert content.pop("landed_at").endswith("+00:00")
    assert content == {
        "generator": "airflow-provider-vidgen",
        "schema_version": 1,
        "vendor": "apixo",
        "model": "grok-video",
        "task_id": "task_1",
        "index": 0,
        "fingerprint": None,
        "request": {
            "prompt": "a lighthouse 灯塔",
            "model": "grok-video",
            "duration": 6,
            "image_urls": [
                "https://shop.example.com/lamp.jpg",
                "data:image/png;base64,... (5000 characters)",
            ],
            "extra": {"negative": "rain", "links": ["https://a.example.com/b"]},
        },
        "created_at": RESULT["created_at"],
        "completed_at": RESULT["completed_at"],
        "cost": RESULT["cost"],
        "file": {
            "name": "v.mp4",
            "path": f"file://{tmp_path}/v.mp4",
            "bytes": len(MP4),
            "sha256": hashlib.sha256(MP4).hexdigest(),
            "content_type": "video/mp4",
        },
        "poster": None,
        "probe": None,
        "mismatches": [],
    }
    assert "s3cret" not in text
    assert "灯塔" in text


def test_the_prompt_or_the_whole_sidecar_can_be_omitted(land: Any, tmp_path: Path) -> None:
    land(whole(), sidecar_prompt=False)
    assert json.loads((tmp_path / "v.mp4.json").read_text())["request"] == {
        "model": "grok-video",
        "duration": 6,
    }
    (tmp_path / "v.mp4").unlink()
    (tmp_path / "v.mp4.json").unlink()
    assert land(whole(), sidecar=False)["sidecar"] is None
    assert files_in(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_complete_file_of_the_same_job_is_recognised_without_a_download(
    overwrite: bool,
    land: Any,
    cdn: Cdn,
) -> None:
    first = land(whole())
    again = land(UnsafeLink("x"), overwrite=overwrite)
    assert again == {**first, "already_existed": True}
    assert cdn.requested == []


def test_a_file_of_another_job_is_refused_without_a_download(land: Any, cdn: Cdn, tmp_path: Path) -> None:
    land(whole())
    with pytest.raises(TargetExists, match="of another job or request"):
        land(whole(), task_id="task_2")
    assert cdn.requested == []
    other = MP4 + b"2"
    land(whole(other), task_id="task_2", overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == other
    assert json.loads((tmp_path / "v.mp4.json").read_text())["task_id"] == "task_2"


def metadata_with(fingerprint: str) -> VideoMetadata:
    return VideoMetadata(request=REQUEST, result=RESULT, fingerprint=fingerprint)


def test_a_reused_job_id_does_not_match_the_video_of_another_request(
    land: Any,
    cdn: Cdn,
    tmp_path: Path,
) -> None:
    land(whole(), metadata=metadata_with("one"))
    assert json.loads((tmp_path / "v.mp4.json").read_text())["fingerprint"] == "one"
    with pytest.raises(TargetExists, match="another job or request"):
        land(whole(MP4 + b"2"), metadata=metadata_with("two"))
    assert cdn.requested == []
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert not land(whole(MP4 + b"2"), metadata=metadata_with("two"), overwrite=True)["already_existed"]
    assert (tmp_path / "v.mp4").read_bytes() == MP4 + b"2"
    assert json.loads((tmp_path / "v.mp4.json").read_text())["fingerprint"] == "two"


@pytest.mark.parametrize(("before", "now"), [("one", "one"), ("", "one"), ("one", ""), ("", "")])
def test_without_a_fingerprint_the_job_id_is_sufficient(
    before: str,
    now: str,
    land: Any,
    cdn: Cdn,
) -> None:
    land(whole(), metadata=metadata_with(before))
    assert land(UnsafeLink("x"), metadata=metadata_with(now))["already_existed"]
    assert cdn.requested == []


def test_a_sidecar_without_fingerprint_is_recognised(land: Any, cdn: Cdn, tmp_path: Path) -> None:
    land(whole())
    content = json.loads((tmp_path / "v.mp4.json").read_text())
    del content["fingerprint"]
    (tmp_path / "v.mp4.json").write_text(json.dumps(content))
    assert land(UnsafeLink("x"), metadata=metadata_with("one"))["already_existed"]
    assert cdn.requested == []


@pytest.mark.parametrize("harm", [MP4[:-1], MP4[:-1] + b"!", b""])
def test_a_file_that_differs_from_its_sidecar_is_not_recognised(
    harm: bytes, land: Any, tmp_path: Path
) -> None:
    land(whole())
    (tmp_path / "v.mp4").write_bytes(harm)
    with pytest.raises(TargetExists):
        land(whole())
    land(whole(), overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize(
    "sidecar", [None, b"", b"[]", b"{", b'{"generator": "airflow-provider-vidgen"}', b"[" * 9999]
)
def test_without_a_valid_sidecar_the_bytes_are_compared(
    sidecar: bytes | None,
    land: Any,
    cdn: Cdn,
    tmp_path: Path,
) -> None:
    (tmp_path / "v.mp4").write_bytes(MP4)
    if sidecar is not None:
        (tmp_path / "v.mp4.json").write_bytes(sidecar)
    assert land(whole())["already_existed"]
    assert cdn.requested == [LINK]
    # The missing sidecar of a killed worker is added; a file of other origin is kept.
    assert (tmp_path / "v.mp4.json").exists()
    assert sidecar is None or (tmp_path / "v.mp4.json").read_bytes() == sidecar


def test_a_sidecar_that_cannot_be_written_does_not_fail_the_landing(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.sidecar.json.dumps", lambda *_, **__: 1 / 0)
    assert land(whole())["sidecar"] is None
    assert files_in(tmp_path) == ["v.mp4"]
