# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A file in storage is whole or absent, whatever the link gives."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes import MP4, Clock, job, settings

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    JobNotFound,
    NotAVideo,
    ResultExpired,
    StatusUnavailable,
    TargetExists,
    VidgenError,
)
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.transport import download

LINK, FRESH = "https://cdn.example.com/a?sig=s3cret", "https://cdn.example.com/b"


class Reply:
    """What the store of results sends: chunks, of which one may be an error."""

    def __init__(self, *chunks: bytes | BaseException, **headers: str) -> None:
        self.chunks = chunks
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def iter_content(self, size: int) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


class Cdn:
    """Gives the replies of a link in turn, the last one for ever; an error is raised."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply | Exception]] = {}
        self.asked: list[str] = []

    @contextmanager
    def open_link(self, link: str, settings: Any) -> Iterator[Any]:
        self.asked.append(link)
        replies = self.replies[link]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        yield reply


def whole(content: bytes = MP4) -> Reply:
    return Reply(content, Content_Length=str(len(content)))


@pytest.fixture
def cdn(monkeypatch: pytest.MonkeyPatch) -> Cdn:
    cdn = Cdn()
    monkeypatch.setattr(download, "open_link", cdn.open_link)
    return cdn


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Land what the link replies with in ``v.mp4``, one reply after the other."""

    def run(*replies: Any, path: str = "v.mp4", overwrite: bool = False, **more: Any) -> list[dict[str, Any]]:
        cdn.replies[LINK] = list(replies)
        landing = Landing(settings("apixgo"), overwrite=overwrite, sleep=Clock().sleep)
        return landing.land([LINK], f"file://{tmp_path}/{path}", **{"job": job(), **more})

    return run


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_whole_file_lands_with_its_manifest(land: Callable[..., Any], tmp_path: Path) -> None:
    assert land(whole()) == [
        {
            "path": f"file://{tmp_path}/v.mp4",
            "bytes": len(MP4),
            "sha256": hashlib.sha256(MP4).hexdigest(),
            "content_type": "video/mp4",
            "task_id": "task_1",
        }
    ]
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert left(tmp_path) == ["v.mp4"]


def test_folders_on_the_way_are_made(land: Callable[..., Any], tmp_path: Path) -> None:
    land(whole(), path="a/b/c.mp4")
    assert left(tmp_path) == ["a/b/c.mp4"]


@pytest.mark.parametrize("pieces", [1, 3, 7, 8, 9])
def test_the_container_is_told_also_from_small_first_pieces(
    pieces: int, land: Callable[..., Any], tmp_path: Path
) -> None:
    land(Reply(*(MP4[i : i + pieces] for i in range(0, len(MP4), pieces))))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


BAD: dict[str, tuple[Reply, type[VidgenError]]] = {
    "empty": (Reply(Content_Length="0"), NotAVideo),
    "HTML": (Reply(b"<!DOCTYPE html><html>"), NotAVideo),
    "JSON": (Reply(b'{"error": "expired"}'), NotAVideo),
    "four bytes": (Reply(MP4[:4]), NotAVideo),
    "short": (Reply(MP4, Content_Length=str(len(MP4) + 1)), DownloadFailed),
    "long": (Reply(MP4, Content_Length=str(len(MP4) - 1)), DownloadFailed),
    "cut": (Reply(MP4[:100], requests.exceptions.ChunkedEncodingError()), DownloadFailed),
    "reset": (Reply(MP4[:100], requests.ConnectionError()), DownloadFailed),
    "stalled": (Reply(MP4[:100], requests.ReadTimeout()), DownloadFailed),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_a_whole_video_leaves_nothing(
    case: str, land: Callable[..., Any], tmp_path: Path
) -> None:
    reply, error = BAD[case]
    with pytest.raises(error) as failure:
        land(reply)
    assert left(tmp_path) == []
    assert "Job: apixgo job task_1." in str(failure.value)
    assert "The video was paid for." in str(failure.value)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_a_whole_video_leaves_what_was_there(
    case: str, land: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "v.mp4").write_bytes(b"old")
    with pytest.raises(BAD[case][1]):
        land(BAD[case][0], overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == b"old"
    assert left(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError(), OSError("disk full")])
def test_a_worker_that_is_stopped_in_the_middle_leaves_nothing(
    error: BaseException, land: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(type(error)):
        land(Reply(MP4[:100], error))
    assert left(tmp_path) == []


def test_a_download_that_breaks_off_is_tried_again(
    land: Callable[..., Any], cdn: Cdn, tmp_path: Path
) -> None:
    cut = BAD["cut"][0]
    land(cut, DownloadFailed("x"), cut, whole())
    assert cdn.asked == [LINK] * 4
    assert left(tmp_path) == ["v.mp4"]


def test_a_download_that_keeps_breaking_off_is_given_up(land: Callable[..., Any], cdn: Cdn) -> None:
    with pytest.raises(DownloadFailed, match="no new video is made"):
        land(DownloadFailed("x"))
    assert cdn.asked == [LINK] * 4


def test_an_encoded_body_is_measured_as_it_was_sent(land: Callable[..., Any], tmp_path: Path) -> None:
    sent = len(gzip.compress(MP4))
    land(Reply(MP4, Content_Length=str(sent), Content_Encoding="gzip"))
    assert left(tmp_path) == ["v.mp4"]


def test_a_body_that_never_ends_does_not_fill_the_disk(
    land: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing._LARGEST", 2000)
    with pytest.raises(NotAVideo, match="larger than 2000"):
        land(Reply(*[MP4] * 50))
    assert left(tmp_path) == []


@pytest.mark.parametrize("dead", [ResultExpired("x"), Reply(b"<html>expired</html>"), Reply()])
def test_a_dead_link_is_refreshed_and_lands(dead: Any, land: Callable[..., Any], cdn: Cdn) -> None:
    cdn.replies[FRESH] = [whole()]
    assert land(dead, refresh=lambda: [FRESH])[0]["bytes"] == len(MP4)
    assert cdn.asked == [LINK, FRESH]


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_a_link_that_dies_after_broken_downloads_is_refreshed_too(
    breaks: int, land: Callable[..., Any], cdn: Cdn
) -> None:
    cdn.replies[FRESH] = [whole()]
    land(*[DownloadFailed("x")] * breaks, ResultExpired("x"), refresh=lambda: [FRESH])
    assert cdn.asked == [LINK] * (breaks + 1) + [FRESH]


def test_a_link_is_refreshed_once_and_then_dead(land: Callable[..., Any], cdn: Cdn) -> None:
    cdn.replies[FRESH] = [ResultExpired("x")]
    asked: list[int] = []
    with pytest.raises(ResultExpired, match="make and pay a new one"):
        land(ResultExpired("x"), refresh=lambda: asked.append(1) or [FRESH])
    assert cdn.asked == [LINK, FRESH]
    assert asked == [1]


@pytest.mark.parametrize("fresh", [[], [FRESH, FRESH]])
def test_a_refresh_without_a_link_in_place_leaves_it_dead(
    fresh: list[str], land: Callable[..., Any], cdn: Cdn
) -> None:
    cdn.replies[FRESH] = [whole()]
    with pytest.raises(ResultExpired):
        land(ResultExpired("x"), refresh=lambda: fresh)


def test_a_job_the_vendor_has_forgotten_leaves_the_link_dead(land: Callable[..., Any]) -> None:
    def gone() -> list[str]:
        raise JobNotFound("x")

    with pytest.raises(ResultExpired):
        land(ResultExpired("x"), refresh=gone)


def test_a_vendor_that_cannot_be_asked_for_a_fresh_link_is_a_matter_for_a_retry(
    land: Callable[..., Any],
) -> None:
    def down() -> list[str]:
        raise StatusUnavailable("x")

    with pytest.raises(StatusUnavailable):
        land(ResultExpired("x"), refresh=down)


def test_without_a_vendor_to_ask_a_dead_link_is_tried_once(land: Callable[..., Any], cdn: Cdn) -> None:
    with pytest.raises(ResultExpired):
        land(ResultExpired("x"))
    assert cdn.asked == [LINK]


def test_the_same_file_is_left_alone(land: Callable[..., Any], tmp_path: Path) -> None:
    land(whole())
    before = (tmp_path / "v.mp4").stat().st_mtime_ns
    assert land(whole())[0]["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert (tmp_path / "v.mp4").stat().st_mtime_ns == before


@pytest.mark.parametrize("there", [b"", b"other", MP4 + b"more", MP4[:-1], MP4[:-1] + b"x"])
def test_another_file_is_refused_and_kept(there: bytes, land: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(there)
    with pytest.raises(TargetExists):
        land(whole())
    assert (tmp_path / "v.mp4").read_bytes() == there


def test_another_file_is_replaced_if_asked(land: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"other")
    land(whole(), overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_files_before_the_one_that_failed_stay(cdn: Cdn, tmp_path: Path) -> None:
    cdn.replies = {LINK: [whole()], FRESH: [ResultExpired("x")]}
    with pytest.raises(ResultExpired):
        Landing(settings()).land([LINK, FRESH], f"file://{tmp_path}/", job=job())
    assert left(tmp_path) == ["task_1-0.mp4"]
