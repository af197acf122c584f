# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A landed video is probed, which may fail without harm, and compared with the request."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import LINK, Cdn, Reply, files_in
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from airflow_provider_vidgen.errors import NotPlayable, VideoMismatch
from airflow_provider_vidgen.landing import Landing, VideoMetadata, probe
from airflow_provider_vidgen.landing.probe import Probe, mismatches
from airflow_provider_vidgen.models import VideoRequest
from dev.sample_videos import sample_video
from tests.support.accounts import MODEL, PROMPT, job, settings
from tests.support.clock import Clock

SIDEWAYS = (0, 1, -1, 0)
UPSIDE_DOWN = (-1, 0, 0, -1)

Land = Callable[..., dict[str, Any]]


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Land:
    def run(
        content: bytes, *, vendor: str = "apixo", requested: VideoRequest | None = None, **kwargs: Any
    ) -> Any:
        cdn.replies[LINK] = [Reply(content, Content_Length=str(len(content)))]
        landing = Landing(settings(vendor), sleep=Clock().sleep, **{"verify": "fail", **kwargs})
        metadata = VideoMetadata(request=requested)
        return landing.land([LINK], f"file://{tmp_path}/", job=job(vendor), metadata=metadata)[0]

    return run


def asks(vendor: str, **fields: Any) -> VideoRequest:
    return VideoRequest(**{"prompt": PROMPT, "model": MODEL[vendor], **fields})


def turned(matrix: tuple[int, int, int, int], whole: bytes) -> bytes:
    """Return a video that players rotate, as a phone writes it."""
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
def test_a_probe_has_the_size_that_players_show(
    name: str, matrix: tuple[int, int, int, int], size: tuple[int, int], land: Land
) -> None:
    manifest = land(
        turned(matrix, sample_video(name)), requested=asks("apixo", aspect_ratio=f"{size[0]}:{size[1]}")
    )
    assert (manifest["probe"]["width"], manifest["probe"]["height"]) == size
    wrong = asks("apixo", aspect_ratio=f"{size[1]}:{size[0]}")
    with pytest.raises(VideoMismatch, match=f"{size[0]}x{size[1]}, not {size[1]}:{size[0]}"):
        land(turned(matrix, sample_video(name)), requested=wrong, overwrite=True)


def test_non_square_pixels_scale_the_width(land: Land, tmp_path: Path) -> None:
    import av
    from av.video.stream import VideoStream

    with av.open(str(tmp_path / "anamorphic"), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=24)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 144, 96, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        file.mux(video.encode(av.VideoFrame(144, 96, "yuv420p")))
        file.mux(video.encode(None))
    manifest = land((tmp_path / "anamorphic").read_bytes(), requested=asks("apixo", aspect_ratio="2:1"))
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
def test_a_ratio_determined_by_the_image_is_not_compared(
    vendor: str, fields: dict[str, Any], land: Land
) -> None:
    requested = asks(vendor, aspect_ratio="9:16", **fields)
    assert land(sample_video("mp4"), vendor=vendor, requested=requested)["mismatches"] == []


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
def test_otherwise_the_requested_ratio_is_compared(vendor: str, fields: dict[str, Any], land: Land) -> None:
    with pytest.raises(VideoMismatch, match="not 9:16"):
        land(sample_video("mp4"), vendor=vendor, requested=asks(vendor, aspect_ratio="9:16", **fields))


class Sour(io.BytesIO):
    """A file whose storage fails while it is read."""

    def read(self, *_: Any) -> bytes:
        raise RuntimeError("GET https://store.example.com/b?sig=s3cret: reset")


@pytest.fixture(params=["opened", "read", "sought"])
def unreadable(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos cannot be read once they have landed."""
    really = LocalFileSystem.open

    class Stuck(io.BytesIO):
        def seek(self, *_: Any) -> int:
            raise PermissionError("GET https://store.example.com/b?sig=s3cret: no range")

    def fail(self: Any, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "rb" or path.endswith(".json"):
            return really(self, path, mode, **kwargs)
        if request.param == "opened":
            raise PermissionError("GET https://store.example.com/b?sig=s3cret: no")
        return Sour() if request.param == "read" else Stuck(sample_video("mp4"))

    monkeypatch.setattr(LocalFileSystem, "open", fail)


@pytest.mark.parametrize("verify", [True, "fail"])
@pytest.mark.usefixtures("unreadable")
def test_a_video_that_cannot_be_probed_has_landed(
    verify: Any, land: Land, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(sample_video("mp4"), verify=verify)
    assert (manifest["probe"], manifest["mismatches"]) == (None, [])
    assert files_in(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert json.loads((tmp_path / "task_1-0.mp4.json").read_text())["probe"] is None
    assert "could not be probed" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_sidecar_is_written_before_the_probe(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(probe, "probe", killed)
        with pytest.raises(KeyboardInterrupt):
            land(sample_video("mp4"))
    assert files_in(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert land(sample_video("mp4"))["already_existed"]


def test_the_probe_is_in_the_sidecar(land: Land, tmp_path: Path) -> None:
    manifest = land(sample_video("webm"))
    assert manifest["probe"] == {"duration_seconds": 1.514, "width": 160, "height": 96, "codec": "vp8"}
    content = json.loads((tmp_path / "task_1-0.webm.json").read_text())
    assert content["probe"] == manifest["probe"]


def undecodable() -> bytes:
    """Return a complete video without the decoder configuration of its frames."""
    return sample_video("mp4").replace(b"avcC", b"free")


@pytest.mark.parametrize("verify", [True, "fail"])
def test_a_video_that_cannot_be_played_fails_with_the_file_landed(
    verify: Any, land: Land, tmp_path: Path
) -> None:
    for _ in ("at once", "and when it is there already"):
        with pytest.raises(NotPlayable, match="The video was paid for") as failure:
            land(undecodable(), verify=verify)
        assert "apixo job task_1" in str(failure.value)
        assert failure.value.fatal
    assert (tmp_path / "task_1-0.mp4").read_bytes() == undecodable()
    assert json.loads((tmp_path / "task_1-0.mp4.json").read_text())["mismatches"] == ["it cannot be played"]
    assert land(undecodable(), verify=False)["mismatches"] == []


def test_a_video_without_tables_is_not_rotated(tmp_path: Path) -> None:
    from airflow_provider_vidgen.landing.probe import _is_rotated

    sideways = turned(SIDEWAYS, sample_video("mp4"))
    assert _is_rotated(io.BytesIO(sideways))
    for odd in (
        sideways[:2000],
        sideways[:32] + bytes(99),
        sample_video("webm"),
        sideways[:32] + b"\0\0\0\0mdat",
        b"",
    ):
        assert not _is_rotated(io.BytesIO(odd))


def test_a_missing_pyav_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from airflow_provider_vidgen.landing.pyav import is_pyav_installed

    assert is_pyav_installed()
    monkeypatch.setitem(sys.modules, "av", None)
    assert not is_pyav_installed()


def test_a_codec_that_pyav_does_not_support_does_not_fail_the_landing(
    land: Land, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = land(sample_video("mp4").replace(b"avc1", b"zzz9"))
    assert (manifest["probe"], manifest["mismatches"]) == (None, [])
    assert "could not be probed" in caplog.text


FOUND = Probe(6.04, 720, 1280, "h264")


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ({}, []),
        ({"duration": 6, "aspect_ratio": "9:16", "resolution": "720p"}, []),
        ({"duration": None, "aspect_ratio": None, "resolution": None}, []),
        ({"duration": "auto", "aspect_ratio": "auto", "resolution": "auto"}, []),
        ({"duration": 5}, ["its duration is 6.04 s, not 5 s"]),
        ({"aspect_ratio": "16:9"}, ["its size is 720x1280, not 16:9"]),
        ({"resolution": "1080P"}, ["its size is 720x1280, not 1080p"]),
    ],
)
def test_a_video_is_compared_with_the_request(requested: dict[str, Any], expected: list[str]) -> None:
    assert mismatches(FOUND, requested) == expected


def test_without_a_request_the_vendors_duration_is_compared() -> None:
    assert VideoMetadata(result={"duration_seconds": 6.0}).requested_properties() == {"duration": 6.0}
