# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Storage to land in, each with a bucket ``videos``."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from landing_targets import LandingTarget

from dev.servers.storage import (
    LocalS3,
    LocalSftp,
    local_azure,
    local_gcs,
    local_s3,
    local_s3rver,
    local_sftp,
)

#: It would log its shutdown after pytest has closed the log.
logging.getLogger("asyncssh").setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3."""
    with local_s3() as found:
        yield found


@pytest.fixture(scope="session")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """Another S3, s3rver, which refuses an existing name."""
    with local_s3rver(tmp_path_factory.mktemp("s3rver"), "supported") as found:
        yield found


@pytest.fixture(scope="session")
def s3_refusing_conditions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """One that answers NotImplemented to conditional writes."""
    with local_s3rver(tmp_path_factory.mktemp("s3rver"), "unsupported") as found:
        yield found


@pytest.fixture(scope="session")
def s3_ignoring_conditions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """One that ignores the conditions of writes."""
    with local_s3rver(tmp_path_factory.mktemp("s3rver"), "ignored") as found:
        yield found


@pytest.fixture(scope="session")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSftp]:
    """An SFTP server."""
    with local_sftp(tmp_path_factory.mktemp("sftp")) as found:
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


@pytest.fixture(params=["local", "s3", "s3rver", "sftp", "gcs", "azure"])
def target(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LandingTarget]:
    """A local disk, two S3, an SFTP server, Google Cloud Storage and Azure."""
    folder = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    if request.param == "local":
        (tmp_path / "landed").mkdir()
        output = f"file://{tmp_path}/landed/"
        yield LandingTarget(output, lambda: {p.name: p.read_bytes() for p in (tmp_path / "landed").iterdir()})
    elif request.param == "sftp":
        sftp: LocalSftp = request.getfixturevalue("sftp")
        monkeypatch.setenv("AIRFLOW_CONN_SFTP_DEFAULT", sftp.connection)
        there = sftp.folder / folder
        there.mkdir()
        yield LandingTarget(
            f"sftp://sftp_default@/{folder}/", lambda: {p.name: p.read_bytes() for p in there.iterdir()}
        )
    elif request.param.startswith("s3"):
        s3: LocalS3 = request.getfixturevalue(request.param)
        # Airflow caches the file system of each connection.
        account = f"aws_{request.param}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{account.upper()}", s3.connection)
        seen = s3.client()

        def names() -> dict[str, bytes]:
            found = seen.list_objects_v2(Bucket="videos", Prefix=f"{folder}/").get("Contents", ())
            body = {
                key["Key"]: seen.get_object(Bucket="videos", Key=key["Key"])["Body"].read() for key in found
            }
            if request.param != "s3":  # s3rver does not tell
                return {key.rpartition("/")[2]: content for key, content in body.items()}
            uploads = seen.list_multipart_uploads(Bucket="videos", Prefix=f"{folder}/").get("Uploads", ())
            return {key.rpartition("/")[2]: content for key, content in body.items()} | {
                f"unfinished {upload['Key']}": b"" for upload in uploads
            }

        yield LandingTarget(f"s3://{account}@videos/{folder}/", names)
    else:
        there, scheme = request.getfixturevalue(request.param), {"gcs": "gs", "azure": "abfs"}[request.param]
        attach(scheme, fs=there)

        def contents() -> dict[str, bytes]:
            there.invalidate_cache()
            return {path.rpartition("/")[2]: there.cat_file(path) for path in there.find(f"videos/{folder}")}

        yield LandingTarget(f"{scheme}://videos/{folder}/", contents)
