# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Only videos and images are opened, whatever a path says."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_vidgen.simulator.placeholder_media import placeholder_jpeg, placeholder_mp4
from airflow_provider_vidgen.videos_tab import media_files
from airflow_provider_vidgen.videos_tab.media_files import (
    MediaError,
    content_disposition,
    open_poster,
    open_video,
    sign,
)

MP4 = placeholder_mp4("note", 1, 16, 16)
WEBM = (
    b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB\x87\x81\x02B\x85\x81\x02"
    + bytes(200)
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20)


def path_of(folder: Path, content: bytes, name: str = "a b.mp4") -> str:
    (folder / name).write_bytes(content)
    return f"file://{folder}/{name}"


@pytest.mark.parametrize(("content", "content_type"), [(MP4, "video/mp4"), (WEBM, "video/webm")])
def test_a_video_is_opened_with_the_type_of_its_bytes(
    content: bytes, content_type: str, tmp_path: Path
) -> None:
    opened = open_video(path_of(tmp_path, content, "misleading.html"))
    assert (opened.content_type, opened.size, opened.name) == (content_type, len(content), "misleading.html")
    opened.file.close()


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(placeholder_jpeg("x"), "image/jpeg"), (PNG, "image/png"), (WEBP, "image/webp")],
)
def test_a_poster_is_opened_with_the_type_of_its_bytes(
    content: bytes, content_type: str, tmp_path: Path
) -> None:
    opened = open_poster(path_of(tmp_path, content))
    assert opened.content_type == content_type
    opened.file.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[core]\nfernet_key = secret\n",
        b"root:x:0:0:root:/root:/bin/bash\n",
        b"<html><script>alert(1)</script>",
        b"SQLite format 3\0" + bytes(100),
        b"abcdfree as a bird",  # begins like QuickTime of the last century
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        b"\x1aE\xdf\xa3 not matroska" + bytes(100),
        b"\0\0\0\x04ftyp",
        PNG,
        WEBP,
    ],
)
def test_any_other_file_is_not_served(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as raised:
        open_video(path_of(tmp_path, content))
    assert raised.value.status == HTTPStatus.FORBIDDEN
    assert "is not a video" in raised.value.text


@pytest.mark.parametrize(
    "content", [MP4, b"GIF89a" + bytes(20), b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_an_image_that_could_hold_a_script_is_no_poster(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as raised:
        open_poster(path_of(tmp_path, content))
    assert "is not a poster" in raised.value.text


def open_files() -> list[str]:
    return sorted(os.fspath(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())


def test_a_file_that_is_refused_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(tmp_path, b"secret")
    before = open_files()
    with pytest.raises(MediaError):
        open_video(path)
    assert open_files() == before


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/environ", "/proc/kmsg", "/etc/passwd", "/"])
def test_files_of_the_operating_system_are_not_served(path: str) -> None:
    with pytest.raises(MediaError):
        open_video(f"file://{path}")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match="is not a video"):
        open_video(f"file://{tmp_path}/pipe")


def test_a_folder_and_a_missing_file_are_said_to_be_missing(tmp_path: Path) -> None:
    for path in (f"file://{tmp_path}", f"file://{tmp_path}/gone.mp4"):
        with pytest.raises(MediaError, match="There is no file") as raised:
            open_video(path)
        assert raised.value.status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "path", ["", "nonsense://x", "http://127.0.0.1/x.mp4", "file://\0", "s3://", "\ud800"]
)
def test_a_path_that_is_none_is_an_error_for_people(path: str) -> None:
    with pytest.raises(MediaError) as raised:
        open_video(path)
    raised.value.text.encode()


def test_a_file_without_access_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> Any:
        raise PermissionError("no")

    monkeypatch.setattr(media_files, "storage_path", forbidden)
    with pytest.raises(MediaError, match="the API server has no access"):
        open_video("file:///x")


def test_a_local_file_is_not_signed(tmp_path: Path) -> None:
    opened = open_video(path_of(tmp_path, MP4))
    assert sign(opened, download=False) is None
    opened.file.close()


class Store(MemoryFileSystem):
    """A store whose answer to a request for a signed link is set by each test."""

    cachable = False
    protocol = "gs"
    answer: Any = None
    options: ClassVar[dict[str, Any]] = {}

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> Any:
        type(self).options = {"expiration": expiration, **kwargs}
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def in_store(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_SIGNING_STORE", "{}")
    store = Store()
    store.pipe_file("/videos/a.mp4", MP4)
    # Under a name of its own: other tests attach their own store.
    attach("gs", conn_id="signing_store", fs=store)
    opened = open_video("gs://signing_store@videos/a.mp4")
    yield opened
    opened.file.close()


def test_a_store_signs_for_some_minutes(in_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "answer", "https://storage.example/a.mp4?signature=x")
    assert sign(in_store, download=True) == "https://storage.example/a.mp4?signature=x"
    assert Store.options["expiration"] == 900
    assert Store.options["response_type"] == "video/mp4"
    assert Store.options["response_disposition"] == "attachment; filename*=utf-8''a.mp4"


@pytest.mark.parametrize(
    "answer", [NotImplementedError(), AttributeError("no private key"), None, "javascript:alert(1)", "/a.mp4"]
)
def test_without_a_signed_link_the_file_is_streamed(
    answer: Any, in_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "answer", answer)
    assert sign(in_store, download=False) is None


def test_the_etag_changes_with_the_file(tmp_path: Path) -> None:
    etags = set()
    for content in (MP4, MP4 + bytes(8)):
        opened = open_video(path_of(tmp_path, content))
        etags.add(opened.etag)
        opened.file.close()
    assert len(etags) == 2


def test_a_name_cannot_add_headers() -> None:
    assert (
        content_disposition('a"\r\nX: y.mp4', download=False)
        == "inline; filename*=utf-8''a%22%0D%0AX%3A%20y.mp4"
    )
