# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing in an object store: the same guarantees as on a disk."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StorageError, TargetExists
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.servers.storage import LocalS3
from dev.servers.video_server import VideoServer, write_random_mp4

MIB = 1024**2
PART = 8 * MIB
#: More parts than there are buffers.
SIZE = 4 * PART + 5


def land(
    server: VideoServer, name: str, *, task_id: str = "task_1", account: str = "aws_default", **kwargs: Any
) -> dict[str, Any]:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "s3", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    landing = Landing(settings, verify=False, sleep=lambda _: None, **kwargs)
    return landing.land([f"{server.url}/film.mp4"], f"s3://{account}@videos/{name}/v.mp4", job=job)[0]


@pytest.fixture
def store(tmp_path: Path, s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3.connection)
    write_random_mp4(tmp_path / "film.mp4", SIZE, 7)
    with VideoServer(tmp_path).running() as server:
        yield server


@pytest.mark.parametrize("which", ["s3", "s3rver", "s3_refusing_conditions", "s3_ignoring_conditions"])
def test_a_file_lands_in_parts_with_its_sidecar_and_is_recognised(
    store: Any, which: str, request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3: LocalS3 = request.getfixturevalue(which)
    # Airflow caches the file system of each connection.
    account = f"aws_{which}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{account.upper()}", s3.connection)
    file = land(store, "whole", account=account)
    there = s3.client().get_object(Bucket="videos", Key="whole/v.mp4")
    assert (there["ContentType"], there["Metadata"]["jobid"]) == ("video/mp4", "task_1")
    assert hashlib.sha256(there["Body"].read()).hexdigest() == file["sha256"]
    beside = s3.client().get_object(Bucket="videos", Key="whole/v.mp4.json")["Body"].read()
    assert json.loads(beside)["file"]["sha256"] == file["sha256"]
    assert land(store, "whole", account=account) == {**file, "already_existed": True}
    with pytest.raises(TargetExists):
        land(store, "whole", account=account, task_id="task_2")
    assert store.methods["GET"] == 1


def test_an_upload_refused_by_s3_fails_and_leaves_nothing(
    store: VideoServer, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    take, asked = S3FileSystem._call_s3, []

    async def refuse_at_the_end(storage: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        if method == "complete_multipart_upload":
            raise PermissionError("no")
        return await take(storage, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", refuse_at_the_end)
    with pytest.raises(StorageError, match="PermissionError"):
        land(store, "refused")
    assert asked[-1] == "abort_multipart_upload"
    assert "Contents" not in s3.client().list_objects_v2(Bucket="videos", Prefix="refused/")
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket="videos", Prefix="refused/")


def test_a_failed_abort_is_logged_and_hides_no_error(
    store: VideoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from s3fs import S3FileSystem

    take = S3FileSystem._call_s3

    async def refuse(storage: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method in ("complete_multipart_upload", "abort_multipart_upload"):
            raise PermissionError(method)
        return await take(storage, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", refuse)
    with pytest.raises(StorageError, match="complete"):
        land(store, "stuck")
    assert "could not be aborted (PermissionError)" in caplog.text


def test_a_part_that_s3_refuses_fails_the_landing(
    store: VideoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_vidgen.landing.writers.s3 import S3Writer

    async def refuse(*_: Any) -> Any:
        raise PermissionError("part")

    monkeypatch.setattr(S3Writer, "_upload_part", refuse)
    with pytest.raises(StorageError, match="part"):
        land(store, "parts")


def test_options_of_the_file_system_are_sent_with_every_call(
    store: VideoServer, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import ObjectStoragePath

    storage = ObjectStoragePath("s3://aws_default@videos/").fs
    monkeypatch.setattr(storage, "s3_additional_kwargs", {"ServerSideEncryption": "AES256", "ACL": "private"})
    monkeypatch.setattr(storage, "requester_pays", True)
    land(store, "encrypted", sidecar=False)
    response = s3.client().head_object(Bucket="videos", Key="encrypted/v.mp4")
    assert response["ServerSideEncryption"] == "AES256"
    assert response["ContentLength"] == SIZE


def test_s3_checks_each_part_and_stores_the_checksum_with_the_object(store: VideoServer, s3: LocalS3) -> None:
    file = land(store, "checked", sidecar=False)
    response = s3.client().head_object(Bucket="videos", Key="checked/v.mp4", ChecksumMode="ENABLED")
    whole = s3.client().get_object(Bucket="videos", Key="checked/v.mp4")["Body"].read()
    assert hashlib.sha256(whole).hexdigest() == file["sha256"]
    each = b"".join(zlib.crc32(whole[at : at + PART]).to_bytes(4) for at in range(0, SIZE, PART))
    # S3 appends the number of parts, moto does not.
    assert (
        response["ChecksumCRC32"].removesuffix("-5")
        == base64.b64encode(zlib.crc32(each).to_bytes(4)).decode()
    )


def test_no_checksum_is_requested_where_checksums_are_disabled(
    store: VideoServer, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(s3.connection)
    connection["extra"]["config_kwargs"] = {"request_checksum_calculation": "when_required"}
    monkeypatch.setenv("AIRFLOW_CONN_PLAIN", json.dumps(connection))
    from s3fs import S3FileSystem

    take, begun = S3FileSystem._call_s3, []

    async def note(storage: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "create_multipart_upload":
            begun.append(kwargs)
        return await take(storage, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", note)
    land(store, "plain", account="plain", sidecar=False)
    assert begun == [{"Bucket": "videos", "Key": "plain/v.mp4"}]


def test_a_file_of_complete_parts_ends_without_an_empty_one(store: VideoServer, s3: LocalS3) -> None:
    digest = write_random_mp4(store.folder / "film.mp4", 2 * PART)
    assert land(store, "even", sidecar=False)["sha256"] == digest
    response = s3.client().head_object(Bucket="videos", Key="even/v.mp4", PartNumber=1)
    assert (response["PartsCount"], response["ContentLength"]) == (2, PART)
