# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Videos of every container over real sockets: complete ones land, truncated ones never do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from test_download_faults import KEY, head

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.sample_videos import FORMATS, boundaries, sample_video
from dev.servers.video_server import VideoServer

Send = Callable[[Any, bytes, int], None]


def announced(asked: Any, whole: bytes, cut: int) -> None:
    head(asked, Content_Length=len(whole))
    asked.wfile.write(whole[:cut])


def unannounced(asked: Any, whole: bytes, cut: int) -> None:
    head(asked)
    asked.wfile.write(whole[:cut])


def chunked(asked: Any, whole: bytes, cut: int) -> None:
    head(asked, Transfer_Encoding="chunked")
    asked.wfile.write(b"%x\r\n%b\r\n" % (cut, whole[:cut]))
    if cut == len(whole):
        asked.wfile.write(b"0\r\n\r\n")


class Store(VideoServer):
    """Sends a part of a video, with a given framing."""

    film: bytes
    cut: int
    way: Send

    def send(self, asked: BaseHTTPRequestHandler) -> None:
        self.way(asked, self.film, self.cut)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path).running() as server:
        assert isinstance(server, Store)
        yield server


@pytest.mark.parametrize("way", [announced, unannounced, chunked])
@pytest.mark.parametrize("name", FORMATS)
def test_a_complete_video_lands_and_one_truncated_between_boxes_does_not(
    name: str, way: Send, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second try would get the same truncated video.
    monkeypatch.setattr("airflow_provider_vidgen.landing.links._MAX_BROKEN", 1)
    monkeypatch.setattr("airflow_provider_vidgen.landing.links._BACKOFF", ())
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read("films", host="http://127.0.0.1:9", password=KEY, extra=extra)
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id="task_1")
    landing = Landing(settings, sidecar=False, sleep=lambda _: None)
    folder = tmp_path / "landed"
    store.film, store.way = sample_video(name), way

    def land(cut: int) -> Any:
        store.cut = cut
        return landing.land([f"{store.url}/film"], f"file://{folder}/", job=job)[0]

    for cut in (0, *boundaries(store.film)):
        with pytest.raises((DownloadFailed, NotAVideo)):
            land(cut)
        assert not folder.exists() or list(folder.iterdir()) == [], f"cut at {cut} of {len(store.film)}"
    manifest = land(len(store.film))
    assert manifest["path"] == f"file://{folder}/task_1-0.{name.partition(',')[0]}"
    assert (manifest["probe"]["width"], manifest["probe"]["height"]) == (160, 96)
    assert (folder / Path(manifest["path"]).name).read_bytes() == store.film
