# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Two landings commit to one path at the same time: the first succeeds, the other fails."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from landing_targets import LandingTarget

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.landing.storage import exists, storage_path
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import atomic_writer
from airflow_provider_vidgen.models import VideoJob
from dev.servers.video_server import VideoServer, write_random_mp4

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

#: Two parts on S3, and several blocks elsewhere.
LARGE = 9 * 1024**2
OPTIONS = UploadOptions(content_type="video/mp4")
#: The calls that make an object visible in S3.
SHOWING = ("put_object", "complete_multipart_upload")


@pytest.fixture
def too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both of two landings find the path free; later checks see the file."""
    looks = [False, False]

    def look(path: ObjectStoragePath) -> bool:
        return looks.pop() if looks else exists(path)

    monkeypatch.setattr("airflow_provider_vidgen.landing.writers.exists", look)
    monkeypatch.setattr("airflow_provider_vidgen.landing.file_landing.exists", lambda _: False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    (tmp_path / "films").mkdir()
    with VideoServer(tmp_path / "films").running() as found:
        yield found


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def land(
    server: VideoServer, target: LandingTarget, film: str, *, task_id: str = "task_1", **kwargs: Any
) -> Any:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "instant", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    landing = Landing(settings, verify=False, sidecar=False, sleep=lambda _: None, **kwargs)
    return landing.land([f"{server.url}/{film}"], f"{target.output}v.mp4", job=job)[0]


@pytest.mark.usefixtures("too_early")
@pytest.mark.parametrize("more", [b"", bytes(LARGE)], ids=["small", "large"])
def test_the_first_of_two_simultaneous_landings_stays(target: LandingTarget, more: bytes) -> None:
    path = storage_path(f"{target.output}v.mp4")
    refused = pytest.raises(TargetExists, match="in the meantime")
    with refused, atomic_writer(path, overwrite=False, options=OPTIONS) as late:
        late.write(b"late" + more)
        with atomic_writer(path, overwrite=False, options=OPTIONS) as early:
            early.write(b"early" + more)
    assert target.names() == {"v.mp4": b"early" + more}


def test_with_overwrite_the_later_of_two_landings_replaces_the_first(target: LandingTarget) -> None:
    path = storage_path(f"{target.output}v.mp4")
    with atomic_writer(path, overwrite=True, options=OPTIONS) as late:
        late.write(b"late")
        with atomic_writer(path, overwrite=True, options=OPTIONS) as early:
            early.write(b"early")
    assert target.names() == {"v.mp4": b"late"}


@pytest.mark.usefixtures("too_early")
def test_a_video_of_another_job_stays_and_the_error_names_the_job(
    server: VideoServer, target: LandingTarget
) -> None:
    digest = write_random_mp4(server.folder / "one.mp4", LARGE, 1)
    write_random_mp4(server.folder / "two.mp4", LARGE, 2)
    assert land(server, target, "one.mp4", task_id="task_1")["sha256"] == digest
    with pytest.raises(TargetExists, match="apixo job task_2"):
        land(server, target, "two.mp4", task_id="task_2")
    assert target.names() == {"v.mp4": (server.folder / "one.mp4").read_bytes()}


@pytest.mark.usefixtures("too_early")
def test_simultaneous_landings_of_the_same_bytes_both_succeed(
    server: VideoServer, target: LandingTarget
) -> None:
    write_random_mp4(server.folder / "one.mp4", LARGE, 1)
    first, second = (land(server, target, "one.mp4") for _ in range(2))
    assert second == {**first, "already_existed": True}
    assert list(target.names()) == ["v.mp4"]


def between(monkeypatch: pytest.MonkeyPatch, wrap: Callable[..., Any]) -> None:
    """Wrap the calls that make an object visible in S3."""
    from s3fs import S3FileSystem

    take = S3FileSystem._call_s3

    async def call(storage: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        async def go() -> Any:
            return await take(storage, method, *args, **kwargs)

        return await (wrap(go, kwargs) if method in SHOWING else go())

    monkeypatch.setattr(S3FileSystem, "_call_s3", call)


@pytest.mark.parametrize("target", ["s3"], indirect=True)
@pytest.mark.parametrize("size", [5000, LARGE], ids=["small", "large"])
def test_a_lost_response_of_s3_is_recognised_as_success(
    server: VideoServer, target: LandingTarget, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async def twice(go: Callable[..., Any], _: Any) -> Any:
        await go()
        return await go()

    between(monkeypatch, twice)
    digest = write_random_mp4(server.folder / "one.mp4", size)
    assert land(server, target, "one.mp4")["sha256"] == digest
    assert target.names() == {"v.mp4": (server.folder / "one.mp4").read_bytes()}


WITHOUT_CONDITIONS = ["s3_refusing_conditions", "s3_ignoring_conditions"]


@pytest.mark.parametrize("target", WITHOUT_CONDITIONS, indirect=True)
@pytest.mark.parametrize("size", [5000, LARGE], ids=["small", "large"])
def test_an_s3_compatible_store_without_conditional_writes_works(
    server: VideoServer, target: LandingTarget, size: int
) -> None:
    digest = write_random_mp4(server.folder / "one.mp4", size)
    assert land(server, target, "one.mp4")["sha256"] == digest
    assert target.names() == {"v.mp4": (server.folder / "one.mp4").read_bytes()}
    assert land(server, target, "one.mp4")["already_existed"]


@pytest.mark.parametrize("target", WITHOUT_CONDITIONS, indirect=True)
@pytest.mark.parametrize("more", [b"", bytes(LARGE)], ids=["small", "large"])
def test_without_conditional_writes_a_file_created_during_the_download_stays(
    target: LandingTarget, more: bytes
) -> None:
    path = storage_path(f"{target.output}v.mp4")
    refused = pytest.raises(TargetExists, match="in the meantime")
    with refused, atomic_writer(path, overwrite=False, options=OPTIONS) as late:
        late.write(b"late" + more)
        with atomic_writer(path, overwrite=False, options=OPTIONS) as early:
            early.write(b"early" + more)
    assert target.names() == {"v.mp4": b"early" + more}


def test_a_disk_without_hard_links_works(
    server: VideoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    digest = write_random_mp4(server.folder / "one.mp4", 5000)
    landed = tmp_path / "landed"
    target = LandingTarget(f"file://{landed}/", dict)
    assert land(server, target, "one.mp4")["sha256"] == digest
    assert names_in(landed) == ["v.mp4"]


def test_a_part_file_left_after_the_link_is_removed_by_the_next_landing(
    server: VideoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_random_mp4(server.folder / "one.mp4", 5000)
    landed = tmp_path / "landed"
    target = LandingTarget(f"file://{landed}/", dict)
    with monkeypatch.context() as killed:
        killed.setattr("airflow_provider_vidgen.landing.writers.local.LocalWriter.discard", lambda _: None)
        land(server, target, "one.mp4")
    assert len(names_in(landed)) == 2
    gc.collect()  # the dead worker holds no lock
    assert land(server, target, "one.mp4")["already_existed"]
    assert len(names_in(landed)) == 2, "it may be another host's, whose lock is not seen here"
    later = datetime.now(UTC) + timedelta(hours=1, seconds=5)
    assert land(server, target, "one.mp4", now=lambda: later)["already_existed"]
    assert names_in(landed) == ["v.mp4"]
