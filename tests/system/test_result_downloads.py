# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Each way in which a Dag can download the result of a generation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dev.servers.storage import LocalS3
from dev.video_decoding import decode_video
from tests.support.task_runs import Runs

DAG = "system_downloads"
MANIFEST = {
    "path",
    "bytes",
    "sha256",
    "content_type",
    "task_id",
    "already_existed",
    "sidecar",
    "poster",
    "probe",
    "mismatches",
}
TALL, WIDE, SQUARE = (480, 854), (854, 480), (480, 480)


def assert_valid_file(manifest: list[dict[str, Any]], seconds: float, size: tuple[int, int]) -> Path:
    """Assert that the one file of a manifest matches it, is playable, and has this length and size."""
    [file] = manifest
    assert set(file) == MANIFEST
    assert file["mismatches"] == []
    path = Path(urlsplit(file["path"]).path)
    content = path.read_bytes()
    assert (file["bytes"], file["content_type"]) == (len(content), "video/mp4")
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    video = decode_video(path)
    assert video.seconds == pytest.approx(seconds, abs=0.5)
    assert (video.width, video.height) == size
    return path


def test_the_generating_task_lands_its_own_file(runs: Runs, videos_folder: Path) -> None:
    task = runs.task(DAG, "one")
    task.wait_until_finished("success")
    result = task.xcom()
    path = assert_valid_file(result["files"], 3, TALL)
    assert path == videos_folder / "landed" / f"{result['task_id']}-0.mp4"
    assert result["files"][0]["task_id"] == result["task_id"]


def test_result_urls_expand_into_mapped_downloads(runs: Runs, videos_folder: Path) -> None:
    task = runs.task(DAG, "each_link", 0)
    task.wait_until_finished("success")
    links = runs.task(DAG, "each").xcom()
    assert links == runs.task(DAG, "one").xcom("result_urls")
    assert assert_valid_file(task.xcom(), 3, TALL) == videos_folder / "links" / "0.mp4"


def test_result_urls_are_a_plain_url_argument_too(runs: Runs, videos_folder: Path) -> None:
    task = runs.task(DAG, "plain_link")
    task.wait_until_finished("success")
    assert assert_valid_file(task.xcom(), 3, TALL) == videos_folder / "plain.mp4"


@pytest.mark.parametrize(("index", "size"), [(0, WIDE), (1, SQUARE)])
def test_the_output_of_a_mapped_generation_expands(runs: Runs, index: int, size: tuple[int, int]) -> None:
    task = runs.task(DAG, "each_video", index)
    task.wait_until_finished("success")
    job = runs.task(DAG, "several", index).xcom()["task_id"]
    path = assert_valid_file(task.xcom(), 2, size)
    assert (path.name, task.xcom()[0]["task_id"]) == (f"{job}-0.mp4", job)


def test_no_partial_file_is_left(runs: Runs, videos_folder: Path) -> None:
    for task_id in ("one", "plain_link"):
        runs.task(DAG, task_id).wait_until_finished("success")
    files = [path for path in videos_folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".mp4", ".json", ".jpg"}


def test_a_download_lands_in_s3(runs: Runs, s3: LocalS3, tmp_path: Path) -> None:
    task = runs.task(DAG, "to_s3")
    task.wait_until_finished("success")
    [file] = task.xcom()
    assert file["path"] == f"s3://system_s3@videos/pangolins/{file['task_id']}-0.mp4"
    store = s3.client()
    [poster, entry, sidecar] = store.list_objects_v2(Bucket="videos", Prefix="pangolins/")["Contents"]
    assert sidecar["Key"] == f"{entry['Key']}.json"
    assert file["poster"] == f"s3://system_s3@videos/{poster['Key']}"
    assert (entry["Key"], entry["Size"]) == (f"pangolins/{file['task_id']}-0.mp4", file["bytes"])
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(store.get_object(Bucket="videos", Key=entry["Key"])["Body"].read())
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == file["sha256"]
    assert (decode_video(copy).width, decode_video(copy).height) == TALL
