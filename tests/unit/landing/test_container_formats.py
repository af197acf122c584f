# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Only complete videos land, with the extension and content type of their actual container."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import FRESH, LINK, Cdn, Reply, files_in
from urllib3.exceptions import ProtocolError

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo, TargetExists, UnsafeLink
from airflow_provider_vidgen.landing import Landing
from dev.sample_videos import FORMATS, boundaries, sample_video
from tests.support.accounts import job, settings
from tests.support.clock import Clock

TYPES = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mkv": "video/x-matroska"}

Land = Callable[..., dict[str, Any]]


def ext_of(name: str) -> str:
    return name.partition(",")[0]


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Land:
    def run(*replies: Any, path: str = "", **kwargs: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        cdn.requested.clear()
        clock = Clock()
        landing = Landing(
            settings(),
            **{"verify": False, "sidecar": False, "sleep": clock.sleep, "now": clock.now, **kwargs},
        )
        return landing.land([LINK], f"file://{tmp_path}/{path}", job=job())[0]

    return run


def announced(content: bytes) -> Reply:
    return Reply(content, Content_Length=str(len(content)))


def chunked(content: bytes) -> Reply:
    return Reply(content, Transfer_Encoding="chunked")


@pytest.mark.parametrize("reply", [announced, chunked, Reply])
@pytest.mark.parametrize("name", FORMATS)
def test_a_complete_video_lands_with_its_own_extension_and_content_type(
    name: str, reply: Callable[[bytes], Reply], land: Land, tmp_path: Path
) -> None:
    manifest = land(reply(sample_video(name)), sidecar=True)
    path = f"task_1-0.{ext_of(name)}"
    assert manifest["path"] == f"file://{tmp_path}/{path}"
    assert manifest["content_type"] == TYPES[ext_of(name)]
    assert (tmp_path / path).read_bytes() == sample_video(name)
    content = json.loads((tmp_path / f"{path}.json").read_text())
    assert (content["file"]["name"], content["file"]["content_type"]) == (path, TYPES[ext_of(name)])


@pytest.mark.parametrize("name", FORMATS)
def test_a_video_truncated_between_boxes_never_lands_without_announced_length(
    name: str, land: Land, tmp_path: Path
) -> None:
    whole = sample_video(name)
    for cut in boundaries(whole):
        with pytest.raises((DownloadFailed, NotAVideo)):
            land(Reply(whole[:cut]))
        assert files_in(tmp_path) == [], f"cut at {cut} of {len(whole)}"


@pytest.mark.parametrize("name", [name for name in FORMATS if "fragmented" not in name])
def test_a_video_truncated_between_boxes_never_lands_with_the_truncated_length_announced(
    name: str, land: Land, tmp_path: Path
) -> None:
    whole = sample_video(name)
    for cut in boundaries(whole):
        with pytest.raises((DownloadFailed, NotAVideo)):
            land(announced(whole[:cut]))
        assert files_in(tmp_path) == [], f"cut at {cut} of {len(whole)}"


def test_a_container_that_does_not_state_its_end_needs_an_announced_length(
    land: Land, tmp_path: Path
) -> None:
    with pytest.raises(DownloadFailed, match="Neither the file nor the HTTP response states"):
        land(Reply(sample_video("live")))
    assert files_in(tmp_path) == []
    land(chunked(sample_video("live")))
    assert (tmp_path / "task_1-0.webm").read_bytes() == sample_video("live")


def test_a_length_in_content_range_counts_as_announced(land: Land, tmp_path: Path) -> None:
    whole = sample_video("live")
    content_range = f"bytes 999-{len(whole) - 1}/{len(whole)}"
    land(
        Reply(whole[:999], ProtocolError(), ETag='"one"'),
        Reply(whole[999:], status=206, ETag='"one"', Content_Range=content_range),
    )
    assert (tmp_path / "task_1-0.webm").read_bytes() == whole


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def branded(brand: bytes) -> bytes:
    mp4 = sample_video("mp4")
    return mp4[:8] + brand + mp4[12:]


NO_FILMS: dict[str, bytes] = {
    "32 bytes of ftyp": sample_video("mp4")[:32],
    "no moov": sample_video("mp4")[:32] + box(b"mdat", bytes(5000)),
    "HEIC": branded(b"heic"),
    "AVIF": branded(b"avif"),
    "HEIF": branded(b"mif1"),
    "M4A": branded(b"M4A "),
    "no video track": sample_video("mp4").replace(b"vide", b"soun"),
    "no track": sample_video("mp4")[:32] + box(b"moov", box(b"mvhd", bytes(100))) + box(b"mdat", bytes(50)),
    "a still image of Matroska's kin": b"\x1aE\xdf\xa3\x87B\x82\x84webp" + bytes(50),
}


@pytest.mark.parametrize("name", NO_FILMS)
def test_a_file_that_is_no_video_does_not_land(name: str, land: Land, tmp_path: Path) -> None:
    with pytest.raises((DownloadFailed, NotAVideo)):
        land(announced(NO_FILMS[name]))
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("brand", [b"heic", b"avif", b"mif1", b"M4A "])
def test_images_and_audio_are_named_in_the_error(brand: bytes, land: Land) -> None:
    with pytest.raises(NotAVideo, match="image" if brand != b"M4A " else "audio"):
        land(announced(branded(brand)))


def test_an_old_mov_has_no_ftyp(land: Land, tmp_path: Path) -> None:
    mov = sample_video("mov")
    # Its first box is replaced by one of the same size, so that the offsets remain valid.
    old = box(b"wide", bytes(12)) + mov[20:]
    assert land(announced(old))["content_type"] == "video/quicktime"
    assert (tmp_path / "task_1-0.mov").read_bytes() == old


@pytest.mark.parametrize("name", ["webm", "mov", "mp4"])
def test_an_existing_video_is_found_under_any_extension_without_a_download(
    name: str,
    land: Land,
    cdn: Cdn,
) -> None:
    first = land(announced(sample_video(name)), sidecar=True)
    assert land(UnsafeLink("x"), sidecar=True) == {**first, "already_existed": True}
    assert cdn.requested == []


def test_a_fixed_extension_is_kept_with_the_actual_content_type(land: Land, tmp_path: Path) -> None:
    manifest = land(announced(sample_video("webm")), path="v.mp4")
    assert (manifest["path"], manifest["content_type"]) == (f"file://{tmp_path}/v.mp4", "video/webm")


def test_a_link_that_returns_another_container_at_the_second_try_lands_with_that_extension(
    land: Land, tmp_path: Path
) -> None:
    manifest = land(Reply(sample_video("mp4")[:2000]), announced(sample_video("webm")))
    assert files_in(tmp_path) == ["task_1-0.webm"]
    assert manifest["sha256"] == hashlib.sha256(sample_video("webm")).hexdigest()


def test_another_file_with_the_videos_own_extension_is_refused(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.webm").write_bytes(b"theirs")
    with pytest.raises(TargetExists):
        land(announced(sample_video("webm")), path="v.{ext}")
    assert land(announced(sample_video("mp4")), path="v.{ext}")["path"].endswith("/v.mp4")
    assert files_in(tmp_path) == ["v.mp4", "v.webm"]


def test_each_video_of_a_job_has_its_own_extension(
    cdn: Cdn,
    tmp_path: Path,
) -> None:
    cdn.replies = {LINK: [announced(sample_video("mov"))], FRESH: [announced(sample_video("webm"))]}
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False)
    landing.land([LINK, FRESH], f"file://{tmp_path}/v.{{ext}}", job=job())
    assert files_in(tmp_path) == ["v-0.mov", "v-1.webm"]
