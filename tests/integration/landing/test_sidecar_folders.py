# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Sidecars in a folder of their own: the videos are public, the prompts are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from landing_targets import LandingTarget

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.models import VideoJob, VideoRequest
from dev.servers.video_server import VideoServer, write_random_mp4


def landing(sidecar: Any, **kwargs: Any) -> Landing:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "sidecars", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    return Landing(settings, verify=False, sleep=lambda _: None, sidecar=sidecar, **kwargs)


def land(
    server: VideoServer, output: str, sidecar: Any, *, task_id: str = "task_1", of: int = 1, **kwargs: Any
) -> list[dict[str, Any]]:
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    metadata = VideoMetadata(request=VideoRequest(prompt="a secret launch"))
    links = [f"{server.url}/film.mp4"] * of
    return landing(sidecar, **kwargs).land(links, output, job=job, map_index=3, metadata=metadata)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    (tmp_path / "films").mkdir()
    write_random_mp4(tmp_path / "films" / "film.mp4", 5000)
    with VideoServer(tmp_path / "films").running() as found:
        yield found


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_videos_in_any_store_can_have_their_sidecars_in_another(
    server: VideoServer, target: LandingTarget, notes: Path
) -> None:
    (file,) = land(server, target.output, f"file://{notes}/{{vendor}}/{{task_id}}/")
    assert list(target.names()) == ["task_1-0.mp4"]
    assert names(notes) == ["apixo/task_1/task_1-0.mp4.json"]
    assert file["sidecar"] == f"file://{notes}/apixo/task_1/task_1-0.mp4.json"
    assert "a secret launch" in (notes / "apixo/task_1/task_1-0.mp4.json").read_text()
    asked = sum(server.methods.values())
    assert land(server, target.output, f"file://{notes}/{{vendor}}/{{task_id}}/") == [
        {**file, "already_existed": True}
    ]
    assert sum(server.methods.values()) == asked, "the sidecar tells the file, it need not be fetched"


def test_sidecars_can_be_in_any_store(server: VideoServer, target: LandingTarget, tmp_path: Path) -> None:
    (file,) = land(server, f"file://{tmp_path}/videos/", target.output)
    assert names(tmp_path / "videos") == ["task_1-0.mp4"]
    (name,) = target.names()
    assert name == "task_1-0.mp4.json"
    assert file["sidecar"].endswith("/task_1-0.mp4.json")


def test_each_file_of_a_job_has_its_sidecar(server: VideoServer, notes: Path, tmp_path: Path) -> None:
    land(server, f"{tmp_path}/landed/v.mp4", f"{notes}/{{map_index}}/", of=2)
    assert names(notes) == ["3/v-0.mp4.json", "3/v-1.mp4.json"]


def test_videos_with_equal_names_in_two_folders_are_told_apart(
    server: VideoServer, notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = land(server, f"{tmp_path}/a/v.mp4", f"{notes}/")
    (second,) = land(server, f"{tmp_path}/b/v.mp4", f"{notes}/", task_id="task_2")
    assert first["sidecar"] == f"{notes}/v.mp4.json"
    assert second["sidecar"] is None
    assert f"another file already exists at {notes}/v.mp4.json" in caplog.text
    assert json.loads((notes / "v.mp4.json").read_text())["task_id"] == "task_1"
    assert land(server, f"{tmp_path}/b/v.mp4", f"{notes}/", task_id="task_2")[0]["already_existed"]
    with pytest.raises(TargetExists):
        land(server, f"{tmp_path}/a/v.mp4", f"{notes}/", task_id="task_3")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("nostorage://b/", "must be in storage that is installed"),
        ("{tmp}/notes", "must end in /, since it is a folder"),
        ("", "must be a folder that ends in /"),
        ("{tmp}/{product}/", "must not contain {product}"),
        ("{tmp}/None/", "must not contain the name 'None'"),
        ("{tmp}/file/", "must not be under "),
        ("/proc/notes/", "does not accept files"),
        ("{{ x }}/", "must be rendered"),
        (7, "must be True, False or a folder's path"),
        (None, "must be True, False or a folder's path"),
    ],
)
def test_an_unusable_sidecar_folder_is_refused_before_payment(
    folder: Any, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    if isinstance(folder, str):
        folder = folder.replace("{tmp}", str(tmp_path))
    (problem, *_) = landing(folder).target_problems(f"{tmp_path}/landed/")
    assert problem.field == "sidecar"
    assert expected in problem.constraint


@pytest.mark.parametrize("target", ["s3", "s3rver", "gcs", "azure"], indirect=True)
def test_a_missing_bucket_for_sidecars_is_refused(target: LandingTarget, tmp_path: Path) -> None:
    scheme = target.output.partition("videos/")[0]
    (problem,) = landing(f"{scheme}typo/{{task_id}}/").target_problems(f"{tmp_path}/landed/")
    assert str(problem).endswith("must be in a bucket that exists: there is no bucket 'typo'")


@pytest.mark.parametrize("sidecar", [True, False, "{tmp}/notes/", "{tmp}/{vendor}/{task_id}/"])
def test_a_usable_sidecar_folder_is_accepted(sidecar: Any, tmp_path: Path) -> None:
    if isinstance(sidecar, str):
        sidecar = sidecar.replace("{tmp}", str(tmp_path))
    assert landing(sidecar).target_problems(f"{tmp_path}/landed/") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["nostorage://b/", "no/slash", "/proc/notes/"])
def test_a_sidecar_folder_that_became_unusable_does_not_fail_the_landing(
    server: VideoServer, tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = land(server, f"{tmp_path}/landed/", folder)
    assert (file["bytes"], file["sidecar"]) == (5000, None)
    assert "sidecar" in caplog.text
