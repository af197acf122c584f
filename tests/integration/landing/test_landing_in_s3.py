# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing in an object store: the same promises as on a disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from landing_s3 import client, connection

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo, TargetExists
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from dev.film_server import FilmServer, make_film

MIB = 1024**2
SIZE = 12 * MIB + 5


class Breaking(FilmServer):
    """Hangs up after so many bytes, the first few times."""

    breaks = 0
    after = 0

    def send(self, asked: Any) -> None:
        if self.breaks > 0:
            self.breaks -= 1
            path = self.folder / Path(asked.path).name
            start = int(asked.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            size = path.stat().st_size
            asked.send_response(206 if start else 200)
            asked.send_header("ETag", f'"{path.name}-{size}"')
            asked.send_header("Content-Length", str(size - start))
            if start:
                asked.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            asked.end_headers()
            asked.wfile.write(path.read_bytes()[start : start + self.after])
            asked.close_connection = True
            return
        super().send(asked)


def land(server: FilmServer, name: str, *, task_id: str = "task_1", **how: Any) -> dict[str, Any]:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "s3", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    landing = Landing(settings, verify=False, sleep=lambda _: None, **how)
    return landing.land([f"{server.url}/film.mp4"], f"s3://aws_default@videos/{name}/v.mp4", job=job)[0]


@pytest.fixture
def store(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(s3))
    make_film(tmp_path / "film.mp4", SIZE, 7)
    with Breaking(tmp_path).running() as server:
        yield server


def keys(s3: str, name: str) -> dict[str, int]:
    found = client(s3).list_objects_v2(Bucket="videos", Prefix=f"{name}/").get("Contents", ())
    return {key["Key"].rpartition("/")[2]: key["Size"] for key in found}


def uploads(s3: str) -> int:
    return len(client(s3).list_multipart_uploads(Bucket="videos").get("Uploads", ()))


def test_a_file_lands_in_parts_with_its_sidecar_and_is_known_again(store: Any, s3: str) -> None:
    file = land(store, "whole")
    body = client(s3).get_object(Bucket="videos", Key="whole/v.mp4")["Body"].read()
    assert hashlib.sha256(body).hexdigest() == file["sha256"]
    beside = client(s3).get_object(Bucket="videos", Key="whole/v.mp4.json")["Body"].read()
    assert json.loads(beside)["file"]["sha256"] == file["sha256"]
    assert land(store, "whole") == {**file, "already_there": True}
    with pytest.raises(TargetExists):
        land(store, "whole", task_id="task_2")
    assert store.methods["GET"] == 1


def test_a_broken_download_goes_on_within_the_same_upload(store: Any, s3: str) -> None:
    store.breaks, store.after = 3, 3 * MIB
    before = uploads(s3)
    land(store, "broken", sidecar=False)
    assert keys(s3, "broken") == {"v.mp4": SIZE}
    assert uploads(s3) == before


@pytest.mark.parametrize("after", [0, 100, 7 * MIB])
def test_a_download_that_keeps_breaking_leaves_nothing(
    after: int, store: Any, s3: str, tmp_path: Path
) -> None:
    store.breaks, store.after = 99, after
    before = uploads(s3)
    if after == 7 * MIB:
        (tmp_path / "film.mp4").write_bytes(b"<html>" * 9)
        store.breaks = 0
    with pytest.raises((DownloadFailed, NotAVideo)):
        land(store, f"never-{after}")
    assert keys(s3, f"never-{after}") == {}
    assert uploads(s3) == before
