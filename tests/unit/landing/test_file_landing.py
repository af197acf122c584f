# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A file in storage is complete or absent, whatever the link returns."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import Land, Reply, broken, files_in, rest, whole
from urllib3.exceptions import ProtocolError

from airflow_provider_vidgen.errors import (
    StorageError,
    TargetExists,
    UnsafeLink,
    VideoMismatch,
)
from airflow_provider_vidgen.landing import Landing, VideoMetadata, probe
from airflow_provider_vidgen.landing.probe import Probe
from tests.support.accounts import job, settings
from tests.support.vendor_replies import MP4

#: The vendor's own duration, for a probe to be compared with.
SIX_SECONDS = VideoMetadata(result={"duration_seconds": 6.0})


def test_a_complete_file_lands_with_its_manifest(land: Land, tmp_path: Path) -> None:
    assert land(whole()) == {
        "path": f"file://{tmp_path}/v.mp4",
        "bytes": len(MP4),
        "sha256": hashlib.sha256(MP4).hexdigest(),
        "content_type": "video/mp4",
        "task_id": "task_1",
        "already_existed": False,
        "sidecar": None,
        "poster": None,
        "probe": None,
        "mismatches": [],
    }
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert files_in(tmp_path) == ["v.mp4"]


def test_parent_folders_are_created(land: Land, tmp_path: Path) -> None:
    land(whole(), path="a/b/c.mp4")
    assert files_in(tmp_path) == ["a/b/c.mp4"]


@pytest.mark.parametrize("stretch", [1, 300, len(MP4)])
@pytest.mark.parametrize("system", ["Linux", "macOS"])
def test_bytes_written_back_early_are_complete_at_the_end(
    stretch: int, system: str, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.writers.local._WRITEBACK_INTERVAL", stretch)
    if system == "macOS":
        monkeypatch.delattr(os, "posix_fadvise")
    pieces = [MP4[start : start + 100] for start in range(0, len(MP4), 100)]
    land(Reply(*pieces[:9], ProtocolError()), Reply(*pieces))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect"), TypeError("a defect")])
def test_an_interrupted_worker_leaves_nothing(error: BaseException, land: Land, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised:
        land(Reply(MP4[:100], error))
    assert raised.value is error
    assert files_in(tmp_path) == []


STORAGE = "airflow_provider_vidgen.landing.writers.local.LocalWriter"


@pytest.mark.parametrize("call", ["__init__", "write", "restart", "commit", "discard"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), RuntimeError("event loop"), ValueError("s3")]
)
def test_any_exception_of_the_storage_is_a_storage_error(
    call: str,
    error: Exception,
    land: Land,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"{STORAGE}.{call}", fail)
    with pytest.raises(StorageError, match=str(error.args[-1])):
        land(broken(ETag=""), whole())
    assert "unexpected" not in caplog.text


def test_an_unexpected_exception_is_no_storage_error_and_logs_the_billing(
    land: Land,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(
        "airflow_provider_vidgen.landing.download.ContainerValidator.feed", lambda *_: {}["s3cret"]
    )
    with pytest.raises(KeyError):
        land(whole())
    for words in (
        "apixgo job task_1",
        "unexpected KeyError",
        "was paid for",
        "A retry downloads again",
    ):
        assert words in caplog.text
    assert "s3cret" not in caplog.text
    assert files_in(tmp_path) == []


def test_a_storage_error_leaves_nothing_and_is_retryable_without_payment(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airflow_provider_vidgen.landing.writers.local.LocalWriter.write", fail)
    with pytest.raises(StorageError) as failed:
        land(whole())
    assert not failed.value.fatal
    for words in ("v.mp4 could not be stored", "No space left on device", "task_1", "was paid", "A retry"):
        assert words in str(failed.value)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("link", ["https://[bad", "https://[::1", "https://]/v.mp4"])
def test_a_malformed_link_is_unsafe(link: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeLink, match="not an http") as failure:
        Landing(settings(), verify=False).land([link], f"file://{tmp_path}/", job=job())
    assert "task_1" in str(failure.value)
    assert files_in(tmp_path) == []


def test_an_identical_existing_file_is_left_unchanged(land: Land, tmp_path: Path) -> None:
    land(whole())
    before = (tmp_path / "v.mp4").stat().st_mtime_ns
    assert land(whole())["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert (tmp_path / "v.mp4").stat().st_mtime_ns == before


@pytest.mark.parametrize("there", [b"", b"other", MP4 + b"more", MP4[:-1], MP4[:-1] + b"x"])
def test_a_different_existing_file_is_refused_and_kept(there: bytes, land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(there)
    with pytest.raises(TargetExists):
        land(whole())
    assert (tmp_path / "v.mp4").read_bytes() == there


def test_a_different_existing_file_is_replaced_with_overwrite(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"other")
    land(whole(), overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_an_existing_file_is_compared_over_several_connections(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(MP4)
    assert land(broken(), broken(ETag=""), broken(), rest())["already_existed"]


def test_a_file_created_during_the_download_is_not_replaced(land: Land, tmp_path: Path) -> None:
    class Meanwhile(Reply):
        def body_chunks(self) -> Iterator[bytes]:
            yield MP4[:400]
            (tmp_path / "v.mp4").write_bytes(b"theirs")
            yield MP4[400:]

    with pytest.raises(TargetExists, match="meantime"):
        land(Meanwhile())
    assert (tmp_path / "v.mp4").read_bytes() == b"theirs"
    assert files_in(tmp_path) == ["v.mp4"]


def test_a_mismatch_is_a_warning_or_with_verify_fail_an_error_with_the_file_landed(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(probe, "probe", lambda target: Probe(3.0, 720, 1280, "h264"))
    manifest = land(whole(), verify=True, sidecar=True, metadata=SIX_SECONDS)
    assert manifest["probe"] == {"duration_seconds": 3.0, "width": 720, "height": 1280, "codec": "h264"}
    assert manifest["mismatches"] == ["its duration is 3 s, not 6 s"]
    assert "not 6 s" in caplog.text
    for _ in ("at once", "and again when the file is there already"):
        with pytest.raises(VideoMismatch, match="The video was paid for"):
            land(whole(), verify="fail", sidecar=True, metadata=SIX_SECONDS)
        assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_verify_fail_without_pyav_is_refused_before_payment(
    land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.preflight.is_pyav_installed", lambda: False)
    monkeypatch.setattr("airflow_provider_vidgen.landing.file_landing.is_pyav_installed", lambda: False)
    (problem,) = Landing(settings(), verify="fail").target_problems(f"file://{tmp_path}/")
    assert str(problem) == "verify='fail': needs PyAV: pip install airflow-provider-vidgen[verify]"
    assert land(whole(), verify=True)["probe"] is None


def test_verify_fail_without_pyav_lands_a_paid_video_before_it_fails(
    land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.file_landing.is_pyav_installed", lambda: False)
    with pytest.raises(VideoMismatch, match=r"needs PyAV.*The video was paid for.*The file stays") as failure:
        land(whole(), verify="fail")
    assert "task_1" in str(failure.value)
    assert (tmp_path / "v.mp4").read_bytes() == MP4
