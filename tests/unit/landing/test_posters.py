# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A poster lands next to its video: the thumbnail, else the first frame; an error never fails the video."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import FRESH, LINK, Cdn, Reply, files_in

from airflow_provider_vidgen.errors import DownloadFailed, LinkUnavailable
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from dev.sample_videos import sample_video
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

THUMB = "https://cdn.example.com/t.html?sig=s3cret"
PICTURES = {
    "jpg": b"\xff\xd8\xff\xe0" + bytes(40),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "webp": b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40),
    "gif": b"GIF89a" + bytes(40),
}
JPG = PICTURES["jpg"]

Land = Callable[..., dict[str, Any]]


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Land:
    def run(*thumbs: Any, path: str = "v.mp4", content: bytes = MP4, **kwargs: Any) -> dict[str, Any]:
        cdn.replies[LINK] = [Reply(content, Content_Length=str(len(content)))]
        cdn.replies[THUMB] = list(thumbs)
        cdn.requested.clear()
        metadata = VideoMetadata(result={"thumbnail_url": kwargs.pop("thumbnail", THUMB if thumbs else None)})
        clock = Clock()
        options = {"verify": False, "poster": True, "sleep": clock.sleep, "now": clock.now, **kwargs}
        landing = Landing(settings(), **options)
        return landing.land([LINK], f"file://{tmp_path}/{path}", job=job(), metadata=metadata)[0]

    return run


def sidecar(folder: Path) -> Any:
    return json.loads((folder / "v.mp4.json").read_text())


@pytest.fixture
def no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.posters.is_pyav_installed", lambda: False)


@pytest.mark.parametrize("ext", PICTURES)
def test_a_thumbnail_lands_under_the_extension_of_its_own_bytes(ext: str, land: Land, tmp_path: Path) -> None:
    manifest = land(Reply(PICTURES[ext][:5], PICTURES[ext][5:]))
    assert manifest["poster"] == f"file://{tmp_path}/v.{ext}"
    assert (tmp_path / f"v.{ext}").read_bytes() == PICTURES[ext]
    assert sidecar(tmp_path)["poster"] == manifest["poster"]
    assert files_in(tmp_path) == sorted([f"v.{ext}", "v.mp4", "v.mp4.json"])


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("mp4", 160, 96), ("webm", 160, 96), ("turned", 96, 160), ("upside", 160, 96)],
)
def test_without_a_thumbnail_the_first_frame_is_the_poster(
    name: str, width: int, height: int, land: Land, tmp_path: Path
) -> None:
    from PIL import Image
    from test_probe import SIDEWAYS, UPSIDE_DOWN, turned

    films = {
        "turned": lambda: turned(SIDEWAYS, sample_video("mp4")),
        "upside": lambda: turned(UPSIDE_DOWN, sample_video("mp4")),
    }
    manifest = land(content=films.get(name, lambda: sample_video(name))())
    with Image.open(tmp_path / "v.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (width, height))
        picture.load()
    assert manifest["poster"] == f"file://{tmp_path}/v.jpg"


def two_halves(folder: Path) -> bytes:
    """Return a video that is white on its left and black on its right."""
    import av
    from av.video.stream import VideoStream

    with av.open(str(folder / "halves"), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=24)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        picture = av.VideoFrame(160, 96, "yuv420p")
        light, *colours = picture.planes
        light.update((bytes([235] * 80 + [16] * (light.line_size - 80))) * 96)
        for colour in colours:
            colour.update(bytes([128]) * colour.buffer_size)
        file.mux(video.encode(picture))
        file.mux(video.encode(None))
    return (folder / "halves").read_bytes()


@pytest.mark.parametrize(
    ("matrix", "white"),
    [
        # Where a player shows the stored left side: (a, b) is the direction of "right", and down is positive.
        ((1, 0, 0, 1), "left"),
        ((0, 1, -1, 0), "top"),
        ((0, -1, 1, 0), "bottom"),
        ((-1, 0, 0, -1), "right"),
    ],
)
def test_the_first_frame_is_rotated_as_players_show_it(
    matrix: tuple[int, int, int, int], white: str, land: Land, tmp_path: Path
) -> None:
    from PIL import Image
    from test_probe import turned

    land(content=turned(matrix, two_halves(tmp_path)))
    with Image.open(tmp_path / "v.jpg") as picture:
        grey, (width, height) = picture.convert("L"), picture.size
    places = {
        "left": (5, height // 2),
        "right": (width - 5, height // 2),
        "top": (width // 2, 5),
        "bottom": (width // 2, height - 5),
    }
    light = {name: grey.getpixel(place) > 180 for name, place in places.items() if name != white}
    assert grey.getpixel(places[white]) > 180
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[white]
    assert not light[opposite]


NO_PICTURES: dict[str, Any] = {
    "a page": Reply(b"<!DOCTYPE html><script>"),
    "a drawing": Reply(b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>"),
    "a video": Reply(MP4),
    "sound in a RIFF": Reply(b"RIFF\x20\0\0\0WAVEfmt " + bytes(40)),
    "nothing": Reply(b""),
    "a long one": Reply(JPG, *[bytes(1024**2)] * 20),
    "no answer": DownloadFailed("cdn.example.com did not answer"),
    "dead": LinkUnavailable("The link at cdn.example.com is dead (HTTP 404)"),
    "broken": Reply(JPG[:9], OSError("s3cret")),
}


@pytest.mark.parametrize("case", NO_PICTURES)
def test_a_bad_thumbnail_is_replaced_by_the_first_frame(case: str, land: Land, tmp_path: Path) -> None:
    assert land(NO_PICTURES[case], content=sample_video("mp4"))["poster"] == f"file://{tmp_path}/v.jpg"
    assert (tmp_path / "v.jpg").read_bytes().startswith(b"\xff\xd8\xff")


@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize("case", NO_PICTURES)
def test_an_error_with_a_poster_is_a_warning(
    case: str, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(NO_PICTURES[case])
    assert manifest["poster"] is None
    assert files_in(tmp_path) == ["v.mp4", "v.mp4.json"]
    assert "v.mp4 has landed without a poster" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("thumbnail", ["http://10.0.0.1/t.jpg", "file:///etc/passwd", 7, ["x"]])
def test_a_thumbnail_is_fetched_only_from_hosts_allowed_for_videos(
    thumbnail: Any,
    land: Land,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cdn: Cdn,
) -> None:
    from airflow_provider_vidgen.http import result_links

    real = result_links.check_link
    fake = cdn.open_link

    def open_link(link: str, account: Any, **kwargs: Any) -> Any:
        real(link, account)
        return fake(link, account, **kwargs)

    monkeypatch.setattr(result_links, "open_link", open_link)
    assert land(thumbnail=thumbnail, content=sample_video("mp4"))["poster"] == f"file://{tmp_path}/v.jpg"
    assert cdn.requested == [LINK]


def test_a_thumbnail_that_becomes_live_late_is_retried(land: Land, cdn: Cdn, tmp_path: Path) -> None:
    land(DownloadFailed("x"), LinkUnavailable("y"), Reply(JPG))
    assert (tmp_path / "v.jpg").read_bytes() == JPG
    assert cdn.requested == [LINK, THUMB, THUMB, THUMB]


def test_a_thumbnail_that_never_ends_is_given_up(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()

    class Drip(Reply):
        def body_chunks(self) -> Any:
            yield JPG
            while True:
                clock.sleep(1)
                yield b"x"

    assert land(Drip(), now=clock.now, sleep=clock.sleep)["poster"] is None
    assert sum(clock.slept) < 80
    assert "has landed without a poster" in caplog.text


@pytest.mark.usefixtures("no_pyav")
def test_without_thumbnail_and_pyav_there_is_no_poster_and_no_warning(
    land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert land()["poster"] is None
    assert "poster" not in caplog.text


@pytest.mark.parametrize("poster", [True, False])
def test_an_existing_file_keeps_its_poster(poster: bool, land: Land, cdn: Cdn, tmp_path: Path) -> None:
    first = land(Reply(PICTURES["png"]))
    again = land(LinkUnavailable("x"), poster=poster)
    assert again == {**first, "already_existed": True}
    assert cdn.requested == []
    assert (tmp_path / "v.png").read_bytes() == PICTURES["png"]


@pytest.mark.parametrize("before", ["never", "removed"])
def test_an_existing_file_without_poster_gets_one(
    before: str,
    land: Land,
    cdn: Cdn,
    tmp_path: Path,
) -> None:
    first = land(Reply(JPG), poster=before == "removed")
    landed = sidecar(tmp_path)
    (tmp_path / "v.jpg").unlink(missing_ok=True)
    again = land(Reply(JPG))
    assert again == {**first, "already_existed": True, "poster": f"file://{tmp_path}/v.jpg"}
    assert cdn.requested == [THUMB]
    assert sidecar(tmp_path) == {**landed, "poster": again["poster"]}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_image_of_other_origin_is_replaced_only_with_overwrite(
    overwrite: bool, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "v.jpg").write_bytes(b"theirs")
    manifest = land(Reply(JPG), overwrite=overwrite)
    assert (tmp_path / "v.jpg").read_bytes() == (JPG if overwrite else b"theirs")
    assert manifest["poster"] == (f"file://{tmp_path}/v.jpg" if overwrite else None)
    assert ("has landed without a poster" in caplog.text) is not overwrite


def test_an_existing_identical_image_is_the_poster(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.jpg").write_bytes(JPG)
    assert land(Reply(JPG))["poster"] == f"file://{tmp_path}/v.jpg"


def test_a_poster_never_replaces_its_own_video(land: Land, tmp_path: Path) -> None:
    manifest = land(Reply(JPG), path="v.jpg", overwrite=True)
    assert manifest["poster"] is None
    assert (tmp_path / "v.jpg").read_bytes() == MP4


def test_a_storage_that_refuses_the_poster_keeps_the_video(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_vidgen.landing import posters

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device, s3cret")

    monkeypatch.setattr(posters, "atomic_writer", full)
    assert land(Reply(JPG))["poster"] is None
    assert "v.mp4 has landed without a poster (OSError)" in caplog.text
    assert files_in(tmp_path) == ["v.mp4", "v.mp4.json"]


def test_a_stopped_task_stops_its_thumbnail_download(land: Land, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        land(Reply(JPG[:9], KeyboardInterrupt()))
    # The video has its sidecar, so the next try recognises it.
    assert files_in(tmp_path) == ["v.mp4", "v.mp4.json"]


def test_each_file_of_a_job_has_its_own_poster(cdn: Cdn, tmp_path: Path) -> None:
    cdn.replies = {
        LINK: [Reply(sample_video("mp4"))],
        FRESH: [Reply(sample_video("webm"))],
        THUMB: [Reply(PICTURES["png"])],
    }
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False, poster=True)
    metadata = VideoMetadata(result={"thumbnail_url": THUMB})
    files = landing.land([LINK, FRESH], f"file://{tmp_path}/", job=job(), metadata=metadata)
    # The only thumbnail is the first file's.
    assert [Path(file["poster"]).name for file in files] == ["task_1-0.png", "task_1-1.jpg"]
    assert cdn.requested.count(THUMB) == 1


def test_videos_with_equal_stems_do_not_share_a_poster(land: Land, tmp_path: Path) -> None:
    assert land(Reply(JPG), path="v.{ext}")["poster"]
    assert land(Reply(JPG + b"2"), path="v.{ext}", content=sample_video("webm"), overwrite=False)[
        "already_existed"
    ]
    (tmp_path / "v.mp4.json").unlink()
    assert land(Reply(JPG + b"2"), path="v.{ext}", content=sample_video("webm"))["poster"] is None
    assert (tmp_path / "v.jpg").read_bytes() == JPG
