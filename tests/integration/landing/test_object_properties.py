# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Properties of objects in a store: content type, metadata and upload_args."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StorageError
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.servers.storage import LocalS3
from dev.servers.video_server import VideoServer, write_random_mp4

SMALL, LARGE = 5000, 9 * 1024**2

#: Content type, Cache-Control, metadata and upload_args, as the store returns them.
Head = Callable[[str], tuple[str, str, Mapping[str, str], Mapping[str, Any]]]


class Store:
    """A store to land in, and the properties of its objects."""

    def __init__(self, output: str, head: Head) -> None:
        self.output = output
        self.head = head


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    (tmp_path / "films").mkdir()
    with VideoServer(tmp_path / "films").running() as found:
        yield found


@pytest.fixture(params=["s3", "gcs", "azure"])
def store(request: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    there = request.getfixturevalue(request.param)
    folder = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    if isinstance(there, LocalS3):
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", there.connection)
        client = there.client()

        def head_s3(name: str) -> Any:
            response = client.head_object(Bucket="videos", Key=f"{folder}/{name}")
            return response["ContentType"], response["CacheControl"], response["Metadata"], response

        return Store(f"s3://aws_default@videos/{folder}/", head_s3)
    scheme = {"gcs": "gs", "azure": "abfs"}[request.param]
    attach(scheme, fs=there)

    def head_gcs(name: str) -> Any:
        there.invalidate_cache()
        response = there.info(f"videos/{folder}/{name}")
        return response["contentType"], response.get("cacheControl"), response.get("metadata", {}), response

    def head_azure(name: str) -> Any:
        there.invalidate_cache()
        response = there.info(f"videos/{folder}/{name}", refresh=True)
        of_it = response["content_settings"]
        kept = {key: value for key, value in response["metadata"].items() if key != "is_directory"}
        return of_it["content_type"], of_it["cache_control"], kept, of_it

    return Store(f"{scheme}://videos/{folder}/", head_gcs if scheme == "gs" else head_azure)


def land(server: VideoServer, output: str, *, task_id: str = "task_1", **kwargs: Any) -> dict[str, Any]:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "described", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    landing = Landing(settings, verify=False, **kwargs)
    return landing.land([f"{server.url}/film.mp4"], f"{output}v.mp4", job=job)[0]


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_video_has_its_content_type_and_metadata(server: VideoServer, store: Store, size: int) -> None:
    digest = write_random_mp4(server.folder / "film.mp4", size)
    land(server, store.output, task_id="täsk 1")
    kind, caching, kept, _ = store.head("v.mp4")
    assert (kind, caching) == ("video/mp4", "no-cache")
    assert kept.pop("sha256", digest) == digest
    assert kept == {"vendor": "apixo", "model": "grok-video", "jobid": "t%C3%A4sk%201"}


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_the_checksum_is_stored_where_the_store_takes_metadata_at_the_end(
    server: VideoServer, store: Store, size: int
) -> None:
    digest = write_random_mp4(server.folder / "film.mp4", size)
    land(server, store.output)
    kept = store.head("v.mp4")[2]
    at_the_end = size == SMALL or store.output.startswith("abfs")
    assert kept.get("sha256") == (digest if at_the_end else None)


def test_a_sidecar_is_served_as_json(server: VideoServer, store: Store) -> None:
    write_random_mp4(server.folder / "film.mp4", SMALL)
    land(server, store.output)
    kind, caching, kept, _ = store.head("v.mp4.json")
    assert (kind, caching) == ("application/json", "no-cache")
    assert kept == {"vendor": "apixo", "model": "grok-video", "jobid": "task_1"}


WANTED: dict[str, dict[str, Any]] = {
    "s3": {
        "Metadata": {"team": "ads"},
        "CacheControl": "public, max-age=60",
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "key-1",
        "Tagging": "team=ads&for=web",
        "ACL": "public-read",
    },
    "gs": {"metadata": {"team": "ads"}, "cache_control": "public, max-age=60", "content_language": "de"},
    "abfs": {"metadata": {"team": "ads"}, "cache_control": "public, max-age=60", "content_language": "de"},
}


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_video_is_stored_with_upload_args(
    server: VideoServer, store: Store, s3: LocalS3, size: int
) -> None:
    write_random_mp4(server.folder / "film.mp4", size)
    scheme = store.output.partition(":")[0]
    land(server, store.output, upload_args=WANTED[scheme])
    kind, caching, kept, response = store.head("v.mp4")
    assert (kind, caching) == ("video/mp4", "public, max-age=60")
    assert (kept["team"], kept["jobid"]) == ("ads", "task_1")
    _, caching, kept, of_sidecar = store.head("v.mp4.json")
    assert (caching, "team" in kept) == ("no-cache", False)
    if scheme != "s3":
        name = {"gs": "contentLanguage", "abfs": "content_language"}[scheme]
        assert response[name] == "de"
        return
    for each in (response, of_sidecar):
        assert (each["StorageClass"], each["ServerSideEncryption"]) == ("STANDARD_IA", "aws:kms")
        assert each["SSEKMSKeyId"] == "key-1"
    key = f"{store.output.partition('@videos/')[2]}v.mp4"
    tags = s3.client().get_object_tagging(Bucket="videos", Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "ads", "for": "web"}

    def public(key: str) -> bool:
        grants = s3.client().get_object_acl(Bucket="videos", Key=key)["Grants"]
        return any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)

    assert public(key)
    assert not public(f"{key}.json"), "the prompt would be shown to everybody"


def test_rejected_upload_args_land_nothing(server: VideoServer, store: Store) -> None:
    write_random_mp4(server.folder / "film.mp4", SMALL)
    with pytest.raises(StorageError, match=r"upload_args\[Bdy\].*was paid for.*clear the task") as failure:
        land(server, store.output, upload_args={"Bdy": b"x"})
    assert "task_1" in str(failure.value)
    assert not server.methods


def test_a_value_that_s3_rejects_is_reported_before_payment(
    s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3.connection)
    settings = ConnectionSettings.read(
        "described", host=None, password="sim-0123456789abcdef", extra={"vendor": "apixo"}
    )
    landing = Landing(settings, verify=False, upload_args={"StorageClass": 7})
    (problem,) = landing.target_problems("s3://aws_default@videos/described/v.mp4")
    assert problem.constraint.startswith(
        "must be where such a file is accepted with its upload_args: ParamValid"
    )
    assert "StorageClass" in problem.constraint


def test_the_sidecar_is_unchanged_by_a_second_landing(server: VideoServer, store: Store) -> None:
    from airflow_provider_vidgen.landing.storage import storage_path

    write_random_mp4(server.folder / "film.mp4", SMALL)
    path = storage_path(land(server, store.output)["sidecar"])
    assert json.loads(path.fs.cat_file(path.path))["task_id"] == "task_1"
