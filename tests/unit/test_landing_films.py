# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What lands is a whole film, under the extension and the content type of its own container."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_landing import FRESH, LINK, Cdn, Reply, cdn, left  # noqa: F401
from urllib3.exceptions import ProtocolError

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo, TargetExists, UnsafeLink
from airflow_provider_vidgen.landing import Landing
from dev.films import FORMATS, borders, film
from tests.support.accounts import job, settings
from tests.support.clock import Clock

TYPES = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mkv": "video/x-matroska"}

Land = Callable[..., dict[str, Any]]


def ext_of(name: str) -> str:
    return name.partition(",")[0]


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Land:  # noqa: F811
    def run(*replies: Any, path: str = "", **how: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        cdn.asked.clear()
        clock = Clock()
        landing = Landing(
            settings(), **{"verify": False, "sidecar": False, "sleep": clock.sleep, "now": clock.now, **how}
        )
        return landing.land([LINK], f"file://{tmp_path}/{path}", job=job())[0]

    return run


def announced(content: bytes) -> Reply:
    return Reply(content, Content_Length=str(len(content)))


def chunked(content: bytes) -> Reply:
    return Reply(content, Transfer_Encoding="chunked")


@pytest.mark.parametrize("reply", [announced, chunked, Reply])
@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_film_lands_under_its_own_extension_and_type(
    name: str, reply: Callable[[bytes], Reply], land: Land, tmp_path: Path
) -> None:
    manifest = land(reply(film(name)), sidecar=True)
    path = f"task_1-0.{ext_of(name)}"
    assert manifest["path"] == f"file://{tmp_path}/{path}"
    assert manifest["content_type"] == TYPES[ext_of(name)]
    assert (tmp_path / path).read_bytes() == film(name)
    told = json.loads((tmp_path / f"{path}.json").read_text())
    assert (told["file"]["name"], told["file"]["content_type"]) == (path, TYPES[ext_of(name)])


@pytest.mark.parametrize("name", FORMATS)
def test_a_film_cut_at_a_border_never_lands_where_no_length_is_announced(
    name: str, land: Land, tmp_path: Path
) -> None:
    whole = film(name)
    for cut in borders(whole):
        with pytest.raises((DownloadFailed, NotAVideo)):
            land(Reply(whole[:cut]))
        assert left(tmp_path) == [], f"cut at {cut} of {len(whole)}"


@pytest.mark.parametrize("name", [name for name in FORMATS if "fragmented" not in name])
def test_a_film_cut_at_a_border_never_lands_even_where_the_announced_length_is_that_of_the_cut(
    name: str, land: Land, tmp_path: Path
) -> None:
    whole = film(name)
    for cut in borders(whole):
        with pytest.raises((DownloadFailed, NotAVideo)):
            land(announced(whole[:cut]))
        assert left(tmp_path) == [], f"cut at {cut} of {len(whole)}"


def test_where_the_container_does_not_tell_the_end_the_store_of_results_must(
    land: Land, tmp_path: Path
) -> None:
    with pytest.raises(DownloadFailed, match="Neither the file nor the store of results tells"):
        land(Reply(film("live")))
    assert left(tmp_path) == []
    land(chunked(film("live")))
    assert (tmp_path / "task_1-0.webm").read_bytes() == film("live")


def test_a_length_that_is_told_with_the_rest_of_a_file_is_announced(land: Land, tmp_path: Path) -> None:
    whole = film("live")
    told = f"bytes 999-{len(whole) - 1}/{len(whole)}"
    land(
        Reply(whole[:999], ProtocolError(), ETag='"one"'),
        Reply(whole[999:], status=206, ETag='"one"', Content_Range=told),
    )
    assert (tmp_path / "task_1-0.webm").read_bytes() == whole


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def branded(brand: bytes) -> bytes:
    mp4 = film("mp4")
    return mp4[:8] + brand + mp4[12:]


NO_FILMS: dict[str, bytes] = {
    "32 bytes of ftyp": film("mp4")[:32],
    "no moov": film("mp4")[:32] + box(b"mdat", bytes(5000)),
    "HEIC": branded(b"heic"),
    "AVIF": branded(b"avif"),
    "HEIF": branded(b"mif1"),
    "M4A": branded(b"M4A "),
    "no video track": film("mp4").replace(b"vide", b"soun"),
    "no track": film("mp4")[:32] + box(b"moov", box(b"mvhd", bytes(100))) + box(b"mdat", bytes(50)),
    "a still image of Matroska's kin": b"\x1aE\xdf\xa3\x87B\x82\x84webp" + bytes(50),
}


@pytest.mark.parametrize("name", NO_FILMS)
def test_what_is_no_film_does_not_land(name: str, land: Land, tmp_path: Path) -> None:
    with pytest.raises((DownloadFailed, NotAVideo)):
        land(announced(NO_FILMS[name]))
    assert left(tmp_path) == []


@pytest.mark.parametrize("brand", [b"heic", b"avif", b"mif1", b"M4A "])
def test_images_and_sound_are_called_what_they_are(brand: bytes, land: Land) -> None:
    with pytest.raises(NotAVideo, match="image" if brand != b"M4A " else "sound"):
        land(announced(branded(brand)))


def test_an_old_mov_has_no_ftyp(land: Land, tmp_path: Path) -> None:
    mov = film("mov")
    # Its first box is dropped, and one of the same size comes in so that the offsets hold.
    old = box(b"wide", bytes(12)) + mov[20:]
    assert land(announced(old))["content_type"] == "video/quicktime"
    assert (tmp_path / "task_1-0.mov").read_bytes() == old


@pytest.mark.parametrize("name", ["webm", "mov", "mp4"])
def test_a_film_that_is_there_is_found_under_any_extension_without_a_download(
    name: str,
    land: Land,
    cdn: Cdn,  # noqa: F811
) -> None:
    first = land(announced(film(name)), sidecar=True)
    assert land(UnsafeLink("x"), sidecar=True) == {**first, "already_there": True}
    assert cdn.asked == []


def test_a_fixed_name_is_kept_and_its_content_type_is_right(land: Land, tmp_path: Path) -> None:
    manifest = land(announced(film("webm")), path="v.mp4")
    assert (manifest["path"], manifest["content_type"]) == (f"file://{tmp_path}/v.mp4", "video/webm")


def test_a_link_that_gives_another_container_at_the_second_try_lands_under_that_ones_name(
    land: Land, tmp_path: Path
) -> None:
    manifest = land(Reply(film("mp4")[:2000]), announced(film("webm")))
    assert left(tmp_path) == ["task_1-0.webm"]
    assert manifest["sha256"] == hashlib.sha256(film("webm")).hexdigest()


def test_another_file_under_the_films_own_extension_is_refused(land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.webm").write_bytes(b"theirs")
    with pytest.raises(TargetExists):
        land(announced(film("webm")), path="v.{ext}")
    assert land(announced(film("mp4")), path="v.{ext}")["path"].endswith("/v.mp4")
    assert left(tmp_path) == ["v.mp4", "v.webm"]


def test_several_films_of_a_job_have_each_its_own_extension(
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
) -> None:
    cdn.replies = {LINK: [announced(film("mov"))], FRESH: [announced(film("webm"))]}
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False)
    landing.land([LINK, FRESH], f"file://{tmp_path}/v.{{ext}}", job=job())
    assert left(tmp_path) == ["v-0.mov", "v-1.webm"]
