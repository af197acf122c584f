# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A missing bucket is detected before payment, and never created."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StorageError, StorageUnreachable
from airflow_provider_vidgen.landing import Landing
from dev.loopback import free_port
from dev.servers.storage import LocalS3
from dev.servers.video_server import VideoServer, write_random_mp4


def landing(**kwargs: Any) -> Landing:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "targets", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    return Landing(settings, verify=False, sleep=lambda _: None, **kwargs)


class Buckets:
    """The buckets of a store, through its own client."""

    def __init__(self, scheme: str, names: Callable[[], list[str]]) -> None:
        self.scheme = scheme
        self.names = names


@pytest.fixture(params=["s3", "s3rver", "gcs", "azure"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    there = request.getfixturevalue(request.param)
    if isinstance(there, LocalS3):
        # Airflow caches the file system of each connection.
        account = f"aws_{request.param}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{account.upper()}", there.connection)
        names = [bucket["Name"] for bucket in there.client().list_buckets()["Buckets"]]
        return Buckets(f"s3://{account}@", lambda: names)
    scheme = {"gcs": "gs", "azure": "abfs"}[request.param]
    attach(scheme, fs=there)

    def listed() -> list[str]:
        there.invalidate_cache()
        return [bucket.rstrip("/") for bucket in there.ls("", detail=False)]

    return Buckets(f"{scheme}://", listed)


@pytest.mark.parametrize("path", ["typo/v.mp4", "typo/", "typo/{task_id}.mp4", "typo/a/{vendor}/v.mp4"])
def test_a_missing_bucket_is_refused(store: Buckets, path: str) -> None:
    (problem,) = landing().target_problems(f"{store.scheme}{path}")
    assert problem.constraint == "must be in a bucket that exists: there is no bucket 'typo'"


@pytest.mark.parametrize("path", ["videos/v.mp4", "videos/", "videos/{task_id}.mp4", "{vendor}/v.mp4"])
def test_a_free_or_not_yet_known_target_is_accepted(store: Buckets, path: str) -> None:
    assert landing().target_problems(f"{store.scheme}{path}") == []


def test_a_file_in_a_store_exists_until_it_is_changed_or_deleted(store: Buckets, tmp_path: Path) -> None:
    from airflow.sdk import ObjectStoragePath

    write_random_mp4(tmp_path / "film.mp4", 1000)
    service = landing()
    with VideoServer(tmp_path).running() as server:
        files = service.land([f"{server.url}/film.mp4"], f"{store.scheme}videos/there/v.mp4")
    assert service.files_exist(files)
    assert not service.files_exist([*files, {**files[0], "path": f"{store.scheme}videos/there/w.mp4"}])
    assert not service.files_exist([{**files[0], "path": f"{store.scheme}typo/v.mp4"}])
    path = ObjectStoragePath(files[0]["path"])
    path.fs.pipe_file(path.path, (tmp_path / "film.mp4").read_bytes()[:-1] + b"!")
    assert not service.files_exist(files)
    path.fs.rm_file(path.path)
    assert not service.files_exist(files)


def test_landing_creates_no_bucket(store: Buckets, tmp_path: Path) -> None:
    before = store.names()
    assert "videos" in before
    write_random_mp4(tmp_path / "film.mp4", 1000)
    with VideoServer(tmp_path).running() as server, pytest.raises(StorageError, match="no new video is made"):
        landing().land([f"{server.url}/film.mp4"], f"{store.scheme}typo/v.mp4")
    assert store.names() == before


def test_a_store_that_does_not_answer_is_unreachable_before_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "endpoint_url": f"http://127.0.0.1:{free_port()}",
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    account = {"conn_type": "aws", "login": "x", "password": "secret-0123456789", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(account))
    with pytest.raises(StorageUnreachable, match=r"Nothing was spent\..*a retry checks again") as found:
        landing().target_problems("s3://silent@videos/v.mp4")
    assert not found.value.fatal
    assert "secret" not in str(found.value)
