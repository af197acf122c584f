# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A poster lands beside its video: the vendor's, else a first frame; and never at the cost of the video."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_landing import FRESH, LINK, Cdn, Reply, cdn, left  # noqa: F401

from airflow_provider_vidgen.errors import DownloadFailed, LinkNotLive
from airflow_provider_vidgen.landing import About, Landing
from dev.films import film
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
def land(cdn: Cdn, tmp_path: Path) -> Land:  # noqa: F811
    def run(*thumbs: Any, path: str = "v.mp4", content: bytes = MP4, **how: Any) -> dict[str, Any]:
        cdn.replies[LINK] = [Reply(content, Content_Length=str(len(content)))]
        cdn.replies[THUMB] = list(thumbs)
        cdn.asked.clear()
        about = About(result={"thumbnail_url": how.pop("thumbnail", THUMB if thumbs else None)})
        clock = Clock()
        options = {"verify": False, "poster": True, "sleep": clock.sleep, "now": clock.now, **how}
        landing = Landing(settings(), **options)
        return landing.land([LINK], f"file://{tmp_path}/{path}", job=job(), about=about)[0]

    return run


def sidecar(folder: Path) -> Any:
    return json.loads((folder / "v.mp4.json").read_text())


@pytest.fixture
def no_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.posters.can_play", lambda: False)


@pytest.mark.parametrize("ext", PICTURES)
def test_a_thumbnail_lands_under_the_extension_of_its_own_bytes(ext: str, land: Land, tmp_path: Path) -> None:
    manifest = land(Reply(PICTURES[ext][:5], PICTURES[ext][5:]))
    assert manifest["poster"] == f"file://{tmp_path}/v.{ext}"
    assert (tmp_path / f"v.{ext}").read_bytes() == PICTURES[ext]
    assert sidecar(tmp_path)["poster"] == manifest["poster"]
    assert left(tmp_path) == sorted([f"v.{ext}", "v.mp4", "v.mp4.json"])


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [("mp4", 160, 96), ("webm", 160, 96), ("turned", 96, 160), ("upside", 160, 96)],
)
def test_without_a_thumbnail_the_first_frame_is_the_poster(
    name: str, width: int, height: int, land: Land, tmp_path: Path
) -> None:
    from PIL import Image
    from test_landing_probing import SIDEWAYS, UPSIDE_DOWN, turned

    films = {
        "turned": lambda: turned(SIDEWAYS, film("mp4")),
        "upside": lambda: turned(UPSIDE_DOWN, film("mp4")),
    }
    manifest = land(content=films.get(name, lambda: film(name))())
    with Image.open(tmp_path / "v.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (width, height))
        picture.load()
    assert manifest["poster"] == f"file://{tmp_path}/v.jpg"


def two_halves(folder: Path) -> bytes:
    """Return a film that is white on its left and black on its right."""
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
        # Where a player shows what is stored on the left: (a, b) is where "right" goes, and down is positive.
        ((1, 0, 0, 1), "left"),
        ((0, 1, -1, 0), "top"),
        ((0, -1, 1, 0), "bottom"),
        ((-1, 0, 0, -1), "right"),
    ],
)
def test_a_first_frame_is_turned_as_players_turn_it(
    matrix: tuple[int, int, int, int], white: str, land: Land, tmp_path: Path
) -> None:
    from PIL import Image
    from test_landing_probing import turned

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
    "dead": LinkNotLive("The link at cdn.example.com is dead (HTTP 404)"),
    "broken": Reply(JPG[:9], OSError("s3cret")),
}


@pytest.mark.parametrize("case", NO_PICTURES)
def test_a_bad_thumbnail_gives_way_to_the_first_frame(case: str, land: Land, tmp_path: Path) -> None:
    assert land(NO_PICTURES[case], content=film("mp4"))["poster"] == f"file://{tmp_path}/v.jpg"
    assert (tmp_path / "v.jpg").read_bytes().startswith(b"\xff\xd8\xff")


@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize("case", NO_PICTURES)
def test_trouble_with_a_poster_is_a_warning(
    case: str, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(NO_PICTURES[case])
    assert manifest["poster"] is None
    assert left(tmp_path) == ["v.mp4", "v.mp4.json"]
    assert "v.mp4 has no poster" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("thumbnail", ["http://10.0.0.1/t.jpg", "file:///etc/passwd", 7, ["x"]])
def test_a_thumbnail_is_fetched_only_from_where_a_video_may_be(
    thumbnail: Any,
    land: Land,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cdn: Cdn,  # noqa: F811
) -> None:
    from airflow_provider_vidgen.transport import download

    real = download.check_link
    fake = cdn.open_link

    def open_link(link: str, account: Any, **how: Any) -> Any:
        real(link, account)
        return fake(link, account, **how)

    monkeypatch.setattr(download, "open_link", open_link)
    assert land(thumbnail=thumbnail, content=film("mp4"))["poster"] == f"file://{tmp_path}/v.jpg"
    assert cdn.asked == [LINK]


def test_a_thumbnail_that_comes_alive_late_is_tried_again(land: Land, cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    land(DownloadFailed("x"), LinkNotLive("y"), Reply(JPG))
    assert (tmp_path / "v.jpg").read_bytes() == JPG
    assert cdn.asked == [LINK, THUMB, THUMB, THUMB]


def test_a_thumbnail_that_does_not_end_is_given_up(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()

    class Drip(Reply):
        def pieces(self) -> Any:
            yield JPG
            while True:
                clock.sleep(1)
                yield b"x"

    assert land(Drip(), now=clock.now, sleep=clock.sleep)["poster"] is None
    assert sum(clock.slept) < 80
    assert "has no poster" in caplog.text


@pytest.mark.usefixtures("no_pyav")
def test_where_there_is_no_thumbnail_and_no_pyav_nothing_is_missed(
    land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert land()["poster"] is None
    assert "poster" not in caplog.text


@pytest.mark.parametrize("poster", [True, False])
def test_a_file_that_is_there_keeps_its_poster(poster: bool, land: Land, cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    first = land(Reply(PICTURES["png"]))
    again = land(LinkNotLive("x"), poster=poster)
    assert again == {**first, "already_there": True}
    assert cdn.asked == []
    assert (tmp_path / "v.png").read_bytes() == PICTURES["png"]


@pytest.mark.parametrize("before", ["never", "removed"])
def test_a_file_that_is_there_without_its_poster_gets_one(
    before: str,
    land: Land,
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = land(Reply(JPG), poster=before == "removed")
    landed = sidecar(tmp_path)
    (tmp_path / "v.jpg").unlink(missing_ok=True)
    again = land(Reply(JPG))
    assert again == {**first, "already_there": True, "poster": f"file://{tmp_path}/v.jpg"}
    assert cdn.asked == [THUMB]
    assert sidecar(tmp_path) == {**landed, "poster": again["poster"]}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_strangers_picture_is_replaced_only_if_asked(
    overwrite: bool, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "v.jpg").write_bytes(b"theirs")
    manifest = land(Reply(JPG), overwrite=overwrite)
    assert (tmp_path / "v.jpg").read_bytes() == (JPG if overwrite else b"theirs")
    assert manifest["poster"] == (f"file://{tmp_path}/v.jpg" if overwrite else None)
    assert ("has no poster" in caplog.text) is not overwrite


def test_the_same_picture_is_its_poster(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.jpg").write_bytes(JPG)
    assert land(Reply(JPG))["poster"] == f"file://{tmp_path}/v.jpg"


def test_a_poster_does_not_take_its_videos_own_name(land: Land, tmp_path: Path) -> None:
    manifest = land(Reply(JPG), path="v.jpg", overwrite=True)
    assert manifest["poster"] is None
    assert (tmp_path / "v.jpg").read_bytes() == MP4


def test_a_storage_that_takes_no_poster_has_the_video(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_vidgen.landing import posters

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device, s3cret")

    monkeypatch.setattr(posters, "whole_or_absent", full)
    assert land(Reply(JPG))["poster"] is None
    assert "v.mp4 has no poster (OSError)" in caplog.text
    assert left(tmp_path) == ["v.mp4", "v.mp4.json"]


def test_a_task_that_is_stopped_stops_at_its_poster(land: Land, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        land(Reply(JPG[:9], KeyboardInterrupt()))
    # The video has its sidecar, so the next try finds it.
    assert left(tmp_path) == ["v.mp4", "v.mp4.json"]


def test_each_file_of_a_job_has_its_own_poster(cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    cdn.replies = {
        LINK: [Reply(film("mp4"))],
        FRESH: [Reply(film("webm"))],
        THUMB: [Reply(PICTURES["png"])],
    }
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False, poster=True)
    about = About(result={"thumbnail_url": THUMB})
    files = landing.land([LINK, FRESH], f"file://{tmp_path}/", job=job(), about=about)
    # The one thumbnail is that of the first file.
    assert [Path(file["poster"]).name for file in files] == ["task_1-0.png", "task_1-1.jpg"]
    assert cdn.asked.count(THUMB) == 1


def test_films_of_one_stem_do_not_share_a_poster(land: Land, tmp_path: Path) -> None:
    assert land(Reply(JPG), path="v.{ext}")["poster"]
    assert land(Reply(JPG + b"2"), path="v.{ext}", content=film("webm"), overwrite=False)["already_there"]
    (tmp_path / "v.mp4.json").unlink()
    assert land(Reply(JPG + b"2"), path="v.{ext}", content=film("webm"))["poster"] is None
    assert (tmp_path / "v.jpg").read_bytes() == JPG
