# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Stores to land in, each with a bucket ``videos``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from landing_places import Place

from dev.object_stores import LocalS3, local_azure, local_gcs, local_s3


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3."""
    with local_s3() as found:
        yield found


@pytest.fixture(scope="session")
def gcs() -> Iterator[Any]:
    """The file system of a Google Cloud Storage."""
    with local_gcs() as found:
        yield found


@pytest.fixture(scope="session")
def azure() -> Iterator[Any]:
    """The file system of an Azure Blob Storage."""
    with local_azure() as found:
        yield found


@pytest.fixture(params=["local", "s3", "gcs", "azure"])
def place(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A local disk, and the stores of Amazon, Google and Microsoft."""
    folder = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    if request.param == "local":
        (tmp_path / "landed").mkdir()
        output = f"file://{tmp_path}/landed/"
        yield Place(output, lambda: {p.name: p.read_bytes() for p in (tmp_path / "landed").iterdir()})
    elif request.param == "s3":
        s3: LocalS3 = request.getfixturevalue("s3")
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3.connection)
        seen = s3.client()

        def names() -> dict[str, bytes]:
            found = seen.list_objects_v2(Bucket="videos", Prefix=f"{folder}/").get("Contents", ())
            body = {
                key["Key"]: seen.get_object(Bucket="videos", Key=key["Key"])["Body"].read() for key in found
            }
            uploads = seen.list_multipart_uploads(Bucket="videos", Prefix=f"{folder}/").get("Uploads", ())
            return {key.rpartition("/")[2]: content for key, content in body.items()} | {
                f"unfinished {upload['Key']}": b"" for upload in uploads
            }

        yield Place(f"s3://aws_default@videos/{folder}/", names)
    else:
        there, scheme = request.getfixturevalue(request.param), {"gcs": "gs", "azure": "abfs"}[request.param]
        attach(scheme, fs=there)

        def contents() -> dict[str, bytes]:
            there.invalidate_cache()
            return {path.rpartition("/")[2]: there.cat_file(path) for path in there.find(f"videos/{folder}")}

        yield Place(f"{scheme}://videos/{folder}/", contents)
