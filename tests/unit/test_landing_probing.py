# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A landed film is looked into, which may go wrong without harm, and held against its vendor's promise."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from test_landing import LINK, Cdn, Reply, cdn, left  # noqa: F401

from airflow_provider_vidgen.errors import NotPlayable, VideoMismatch
from airflow_provider_vidgen.landing import About, Landing, probing
from airflow_provider_vidgen.models import VideoRequest
from dev.films import film
from tests.support.accounts import MODEL, PROMPT, job, settings
from tests.support.clock import Clock

SIDEWAYS = (0, 1, -1, 0)
UPSIDE_DOWN = (-1, 0, 0, -1)

Land = Callable[..., dict[str, Any]]


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Land:  # noqa: F811
    def run(content: bytes, *, vendor: str = "apixo", asked: VideoRequest | None = None, **how: Any) -> Any:
        cdn.replies[LINK] = [Reply(content, Content_Length=str(len(content)))]
        landing = Landing(settings(vendor), sleep=Clock().sleep, **{"verify": "fail", **how})
        about = About(request=asked)
        return landing.land([LINK], f"file://{tmp_path}/", job=job(vendor), about=about)[0]

    return run


def asks(vendor: str, **fields: Any) -> VideoRequest:
    return VideoRequest(**{"prompt": PROMPT, "model": MODEL[vendor], **fields})


def turned(matrix: tuple[int, int, int, int], whole: bytes) -> bytes:
    """Return a film that a player is to turn, as a phone writes it."""
    content = bytearray(whole)
    start = content.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (value % (1 << 16) << 16 for value in matrix)
    for place, value in ((0, a), (4, b), (12, c), (16, d)):
        content[start + place : start + place + 4] = value.to_bytes(4)
    return bytes(content)


@pytest.mark.parametrize("name", ["mp4", "mov"])
@pytest.mark.parametrize(
    ("matrix", "size"),
    [((1, 0, 0, 1), (160, 96)), (SIDEWAYS, (96, 160)), ((0, -1, 1, 0), (96, 160)), (UPSIDE_DOWN, (160, 96))],
)
def test_a_picture_has_the_size_in_which_it_is_shown(
    name: str, matrix: tuple[int, int, int, int], size: tuple[int, int], land: Land
) -> None:
    manifest = land(turned(matrix, film(name)), asked=asks("apixo", aspect_ratio=f"{size[0]}:{size[1]}"))
    assert (manifest["probe"]["width"], manifest["probe"]["height"]) == size
    wrong = asks("apixo", aspect_ratio=f"{size[1]}:{size[0]}")
    with pytest.raises(VideoMismatch, match=f"{size[0]}x{size[1]}, not {size[1]}:{size[0]}"):
        land(turned(matrix, film(name)), asked=wrong, overwrite=True)


def test_a_picture_of_wide_points_is_wider_than_it_is_stored(land: Land, tmp_path: Path) -> None:
    import av
    from av.video.stream import VideoStream

    with av.open(str(tmp_path / "anamorphic"), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=24)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 144, 96, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        file.mux(video.encode(av.VideoFrame(144, 96, "yuv420p")))
        file.mux(video.encode(None))
    manifest = land((tmp_path / "anamorphic").read_bytes(), asked=asks("apixo", aspect_ratio="2:1"))
    assert (manifest["probe"]["width"], manifest["probe"]["height"]) == (192, 96)


@pytest.mark.parametrize(
    ("vendor", "fields"),
    [
        ("apimart", {"image_urls": ["https://shop.example.com/lamp.jpg"]}),
        ("apixo", {"image_urls": ["https://shop.example.com/lamp.jpg"]}),
        ("apixo", {"continue_from": {"task_id": "x", "index": 0}}),
        ("apimodels", {"model": "p-video", "image_urls": ["https://shop.example.com/lamp.jpg"]}),
    ],
)
def test_where_an_image_decides_the_ratio_no_other_is_expected(
    vendor: str, fields: dict[str, Any], land: Land
) -> None:
    asked = asks(vendor, aspect_ratio="9:16", **fields)
    assert land(film("mp4"), vendor=vendor, asked=asked)["mismatches"] == []


@pytest.mark.parametrize(
    ("vendor", "fields"),
    [
        ("apimart", {}),
        ("apixo", {}),
        ("apimodels", {"model": "p-video"}),
        ("apimodels", {"image_urls": ["https://shop.example.com/lamp.jpg"]}),
        ("apixgo", {"image_urls": ["https://shop.example.com/lamp.jpg"]}),
    ],
)
def test_elsewhere_the_ratio_is_the_one_that_was_asked_for(
    vendor: str, fields: dict[str, Any], land: Land
) -> None:
    with pytest.raises(VideoMismatch, match="not 9:16"):
        land(film("mp4"), vendor=vendor, asked=asks(vendor, aspect_ratio="9:16", **fields))


class Sour(io.BytesIO):
    """A file whose storage fails while it is read."""

    def read(self, *_: Any) -> bytes:
        raise RuntimeError("GET https://store.example.com/b?sig=s3cret: reset")


@pytest.fixture(params=["opened", "read", "sought"])
def unreadable(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films cannot be read any more once they have landed."""
    really = LocalFileSystem.open

    class Stuck(io.BytesIO):
        def seek(self, *_: Any) -> int:
            raise PermissionError("GET https://store.example.com/b?sig=s3cret: no range")

    def fail(self: Any, path: str, mode: str = "rb", **how: Any) -> Any:
        if mode != "rb" or path.endswith(".json"):
            return really(self, path, mode, **how)
        if request.param == "opened":
            raise PermissionError("GET https://store.example.com/b?sig=s3cret: no")
        return Sour() if request.param == "read" else Stuck(film("mp4"))

    monkeypatch.setattr(LocalFileSystem, "open", fail)


@pytest.mark.parametrize("verify", [True, "fail"])
@pytest.mark.usefixtures("unreadable")
def test_a_film_that_cannot_be_looked_into_has_landed_all_the_same(
    verify: Any, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(film("mp4"), verify=verify)
    assert (manifest["probe"], manifest["mismatches"]) == (None, [])
    assert left(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert json.loads((tmp_path / "task_1-0.mp4.json").read_text())["probe"] is None
    assert "could not be looked into" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_sidecar_is_there_before_the_film_is_looked_into(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(probing, "probe", killed)
        with pytest.raises(KeyboardInterrupt):
            land(film("mp4"))
    assert left(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert land(film("mp4"))["already_there"]


def test_what_was_found_stands_in_the_sidecar(land: Land, tmp_path: Path) -> None:
    manifest = land(film("webm"))
    assert manifest["probe"] == {"duration_seconds": 1.514, "width": 160, "height": 96, "codec": "vp8"}
    told = json.loads((tmp_path / "task_1-0.webm.json").read_text())
    assert told["probe"] == manifest["probe"]


def undecodable() -> bytes:
    """Return a film with all its bytes, which lacks what its pictures are read with."""
    return film("mp4").replace(b"avcC", b"free")


@pytest.mark.parametrize("verify", [True, "fail"])
def test_a_film_that_does_not_play_fails_with_the_file_in_its_place(
    verify: Any, land: Land, tmp_path: Path
) -> None:
    for _ in ("at once", "and when it is there already"):
        with pytest.raises(NotPlayable, match="The video was paid for") as failure:
            land(undecodable(), verify=verify)
        assert "apixo job task_1" in str(failure.value)
        assert failure.value.ends_retries
    assert (tmp_path / "task_1-0.mp4").read_bytes() == undecodable()
    assert json.loads((tmp_path / "task_1-0.mp4.json").read_text())["mismatches"] == ["it does not play"]
    assert land(undecodable(), verify=False)["mismatches"] == []


def test_a_film_whose_tables_cannot_be_found_is_not_turned(tmp_path: Path) -> None:
    from airflow_provider_vidgen.landing.probing import _is_turned

    sideways = turned(SIDEWAYS, film("mp4"))
    assert _is_turned(io.BytesIO(sideways))
    for odd in (
        sideways[:2000],
        sideways[:32] + bytes(99),
        film("webm"),
        sideways[:32] + b"\0\0\0\0mdat",
        b"",
    ):
        assert not _is_turned(io.BytesIO(odd))


def test_a_worker_without_pyav_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from airflow_provider_vidgen.landing.playing import can_play

    assert can_play()
    monkeypatch.setitem(sys.modules, "av", None)
    assert not can_play()


def test_a_codec_that_this_pyav_does_not_know_is_no_reason_to_fail(
    land: Land, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(film("mp4").replace(b"avc1", b"zzz9"))
    assert (manifest["probe"], manifest["mismatches"]) == (None, [])
    assert "could not be looked into" in caplog.text
