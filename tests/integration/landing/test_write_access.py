# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The permissions of an account are tested by an aborted upload before payment, which leaves nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.servers.storage import READ_ONLY, WRITE_ONLY, LocalS3, azure_with_permissions, local_s3
from dev.servers.video_server import VideoServer, write_random_mp4

LARGE = 9 * 1024**2


def landing(**kwargs: Any) -> Landing:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "access", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    return Landing(settings, verify=False, sleep=lambda _: None, **kwargs)


@pytest.fixture
def film(tmp_path: Path) -> Iterator[str]:
    write_random_mp4(tmp_path / "film.mp4", LARGE)
    with VideoServer(tmp_path).running() as server:
        yield f"{server.url}/film.mp4"


@pytest.fixture(scope="module")
def guarded_s3() -> Iterator[dict[str, LocalS3]]:
    """An S3 that enforces the policies of its accounts."""
    with local_s3() as everything:
        objects = "arn:aws:s3:::videos/ads/*"
        write = {"Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": objects}
        read = {"Action": ["s3:Get*", "s3:List*", "s3:HeadBucket"], "Resource": "*"}
        accounts = {
            "admin": everything.user_with_policy("admin", {"Action": "*", "Resource": "*"}),
            "writer": everything.user_with_policy("writer", write),
            "reader": everything.user_with_policy("reader", read),
        }
        everything.enforce_policies()
        yield accounts


@pytest.fixture
def s3_accounts(guarded_s3: dict[str, LocalS3], monkeypatch: pytest.MonkeyPatch) -> dict[str, LocalS3]:
    for name, account in guarded_s3.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_GUARDED_{name.upper()}", account.connection)
    return guarded_s3


def left_in(s3: LocalS3) -> tuple[list[str], list[str]]:
    """The names of objects and of incomplete uploads."""
    client = s3.client()
    objects = client.list_objects_v2(Bucket="videos").get("Contents", ())
    uploads = client.list_multipart_uploads(Bucket="videos").get("Uploads", ())
    return [found["Key"] for found in objects], [found["Key"] for found in uploads]


@pytest.mark.parametrize("path", ["ads/v.mp4", "ads/", "ads/{task_id}/{vendor}.mp4", "ads/a-{index}.{ext}"])
def test_an_s3_account_that_may_write_but_not_list_is_accepted(
    s3_accounts: dict[str, LocalS3], path: str
) -> None:
    before = left_in(s3_accounts["admin"])
    assert landing().target_problems(f"s3://guarded_writer@videos/{path}") == []
    assert left_in(s3_accounts["admin"]) == before
    assert not before[1]


@pytest.mark.parametrize("path", ["ads/v.mp4", "ads/", "{vendor}/{task_id}.mp4"])
def test_a_read_only_s3_account_is_refused_before_payment(s3_accounts: dict[str, LocalS3], path: str) -> None:
    (problem,) = landing().target_problems(f"s3://guarded_reader@videos/{path}")
    assert problem.constraint.startswith(
        "must be where this account may write: it may not write s3://guarded_r"
    )
    assert "PermissionError" in problem.constraint


def test_an_account_that_may_write_only_elsewhere_is_refused(s3_accounts: dict[str, LocalS3]) -> None:
    (problem,) = landing().target_problems("s3://guarded_writer@videos/other/{task_id}.mp4")
    assert "it may not write s3://guarded_writer@videos/other/" in problem.constraint


def test_an_s3_account_that_may_only_write_lands_a_video_and_its_sidecar(
    s3_accounts: dict[str, LocalS3], film: str
) -> None:
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id="task_1")
    target = "s3://guarded_writer@videos/ads/{task_id}.mp4"
    (file,) = landing().land([film], target, job=job)
    client = s3_accounts["admin"].client()
    there = client.get_object(Bucket="videos", Key="ads/task_1.mp4")["Body"].read()
    assert hashlib.sha256(there).hexdigest() == file["sha256"]
    content = json.loads(client.get_object(Bucket="videos", Key="ads/task_1.mp4.json")["Body"].read())
    assert content["task_id"] == "task_1"
    with pytest.raises(TargetExists):
        landing().land([film], target, job=job)
    assert left_in(s3_accounts["admin"])[1] == []


@pytest.fixture(params=["gcs", "azure"])
def elsewhere(request: Any) -> dict[str, str]:
    """A read-only and a write-only target at Google and Azure."""
    there = request.getfixturevalue(request.param)
    if request.param == "gcs":
        attach("gs", fs=there)
        return {"reader": f"gs://{READ_ONLY}/", "writer": f"gs://{WRITE_ONLY}/"}
    attach("abfs", conn_id="reader", fs=azure_with_permissions(there, read=True))
    attach("abfs", conn_id="writer", fs=azure_with_permissions(there, write=True))
    return {"reader": "abfs://reader@videos/access/", "writer": "abfs://writer@videos/access/"}


@pytest.mark.parametrize("name", ["v.mp4", "", "{task_id}.mp4"])
def test_a_read_only_account_of_google_or_azure_is_refused(elsewhere: dict[str, str], name: str) -> None:
    (problem,) = landing().target_problems(elsewhere["reader"] + name)
    assert problem.constraint.startswith("must be where this account may write: it may not write ")


@pytest.mark.parametrize("name", ["v.mp4", "", "{task_id}.mp4"])
def test_a_write_only_account_of_google_or_azure_is_accepted(elsewhere: dict[str, str], name: str) -> None:
    assert landing().target_problems(elsewhere["writer"] + name) == []


def test_a_write_only_account_of_google_or_azure_lands_a_video(elsewhere: dict[str, str], film: str) -> None:
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id="task_1")
    (file,) = landing().land([film], elsewhere["writer"], job=job)
    assert (file["bytes"], file["already_existed"]) == (LARGE, False)
    assert file["sidecar"] == f"{elsewhere['writer']}task_1-0.mp4.json"


def test_the_preflight_check_leaves_nothing_at_google_and_azure(gcs: Any, azure: Any) -> None:
    for scheme, there in (("gs", gcs), ("abfs", azure)):
        attach(scheme, fs=there)
        assert landing().target_problems(f"{scheme}://videos/looked-at/") == []
        there.invalidate_cache()
        assert there.find("videos/looked-at") == []
