# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A video, its sidecar and its poster in every kind of storage, read back from there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from landing_targets import LandingTarget
from test_download_faults import KEY

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.models import VideoJob
from dev.sample_videos import sample_video
from dev.servers.video_server import VideoServer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.mark.parametrize("thumbnail", [True, False])
@pytest.mark.parametrize("name", ["mp4", "webm"])
def test_a_video_is_probed_and_gets_its_poster(
    name: str, thumbnail: bool, target: LandingTarget, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(sample_video(name))
    (tmp_path / "thumb").write_bytes(PNG)
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read("posters", host="http://127.0.0.1:9", password=KEY, extra=extra)
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id="task_1")
    with VideoServer(tmp_path).running() as server:

        def land() -> dict[str, object]:
            metadata = VideoMetadata(result={"thumbnail_url": f"{server.url}/thumb" if thumbnail else None})
            landing = Landing(settings, poster=True, sleep=lambda _: None)
            return landing.land([f"{server.url}/film"], target.output, job=job, metadata=metadata)[0]

        manifest = land()
        assert land() == {**manifest, "already_existed": True}
        assert server.methods["GET"] == (2 if thumbnail else 1)
    poster = f"task_1-0.{'png' if thumbnail else 'jpg'}"
    there = target.names()
    assert sorted(there) == sorted([f"task_1-0.{name}", f"task_1-0.{name}.json", poster])
    assert there[f"task_1-0.{name}"] == sample_video(name)
    assert there[poster] == PNG if thumbnail else there[poster].startswith(b"\xff\xd8\xff")
    assert manifest["poster"] == f"{target.output}{poster}"
    content = json.loads(there[f"task_1-0.{name}.json"])
    assert (content["poster"], content["probe"]) == (manifest["poster"], manifest["probe"])
    assert content["probe"]["width"] == 160
