# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A file in storage is whole or absent, whatever the link gives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkNotLive,
    NotAVideo,
    StorageFailed,
    TargetExists,
    UnsafeLink,
    VidgenError,
)
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.transport import download
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

STALLED = ReadTimeoutError(None, "", "")  # type: ignore[arg-type]
LINK, FRESH = "https://cdn.example.com/a?sig=s3cret", "https://cdn.example.com/b"


class Reply:
    """What the store of results sends: chunks, of which one may be an error."""

    def __init__(self, *chunks: bytes | BaseException, status: int = 200, **headers: str) -> None:
        self.chunks = chunks
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.opened()

    def opened(self) -> Reply:
        self.raw, self.left = self, self.pieces()
        return self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        return next(self.left, b"")

    def pieces(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


class Cdn:
    """Gives the replies of a link in turn, the last one for ever; an error is raised."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply | Exception]] = {}
        self.asked: list[str] = []
        self.ranges: list[tuple[int, str]] = []

    @contextmanager
    def open_link(
        self, link: str, settings: Any, *, start: int = 0, if_range: str = "", connections: Any = None
    ) -> Iterator[Any]:
        self.asked.append(link)
        self.ranges.append((start, if_range))
        replies = self.replies[link]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        yield reply.opened()


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

    def run(
        *replies: Any,
        path: str = "v.mp4",
        overwrite: bool = False,
        sidecar: bool = False,
        verify: Any = False,
        **more: Any,
    ) -> list[dict[str, Any]]:
        cdn.replies[LINK] = list(replies)
        clock = Clock()
        landing = Landing(
            settings("apixgo"),
            overwrite=overwrite,
            sidecar=sidecar,
            verify=verify,
            sleep=clock.sleep,
            now=clock.now,
        )
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
            "already_there": False,
            "sidecar": None,
            "poster": None,
            "probe": None,
            "mismatches": [],
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


@pytest.mark.parametrize("stretch", [1, 300, len(MP4)])
@pytest.mark.parametrize("system", ["Linux", "macOS"])
def test_what_is_moved_to_the_disk_on_the_way_is_there_at_the_end(
    stretch: int, system: str, land: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.storing._STRETCH", stretch)
    if system == "macOS":
        monkeypatch.delattr(os, "posix_fadvise")
    pieces = [MP4[start : start + 100] for start in range(0, len(MP4), 100)]
    land(Reply(*pieces[:9], ProtocolError()), Reply(*pieces))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("raised", [ConnectionResetError("s3cret"), OSError(113, "no route"), STALLED])
def test_whatever_the_network_raises_breaks_a_download_off_and_the_next_connection_goes_on(
    raised: Exception, land: Callable[..., list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = land(Reply(MP4[:100], raised, Content_Length=str(len(MP4))), whole())
    assert file["bytes"] == len(MP4)
    assert "s3cret" not in caplog.text


BAD: dict[str, tuple[Reply, type[VidgenError]]] = {
    "empty": (Reply(Content_Length="0"), NotAVideo),
    "HTML": (Reply(b"<!DOCTYPE html><html>"), NotAVideo),
    "JSON": (Reply(b'{"error": "expired"}'), NotAVideo),
    "four bytes": (Reply(MP4[:4]), NotAVideo),
    "short": (Reply(MP4, Content_Length=str(len(MP4) + 1)), DownloadFailed),
    "long": (Reply(MP4, Content_Length=str(len(MP4) - 1)), DownloadFailed),
    "cut": (Reply(MP4[:100], ProtocolError()), DownloadFailed),
    "reset": (Reply(MP4[:100], ProtocolError()), DownloadFailed),
    "stalled": (Reply(MP4[:100], STALLED), DownloadFailed),
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect"), TypeError("a defect")])
def test_a_worker_that_is_stopped_in_the_middle_leaves_nothing(
    error: BaseException, land: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(type(error)) as raised:
        land(Reply(MP4[:100], error))
    assert raised.value is error
    assert left(tmp_path) == []


STORAGE = "airflow_provider_vidgen.landing.storing._LocalPart"


@pytest.mark.parametrize("call", ["__init__", "write", "restart", "commit", "discard"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), RuntimeError("event loop"), ValueError("s3")]
)
def test_what_the_storage_raises_is_the_storages_fault(
    call: str,
    error: Exception,
    land: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"{STORAGE}.{call}", fail)
    with pytest.raises(StorageFailed, match=str(error.args[-1])):
        land(broken(ETag=""), whole())
    assert "unforeseen" not in caplog.text


def test_a_defect_of_landing_is_not_the_storages_fault_and_says_what_it_costs(
    land: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.fetching.FilmCheck.take", lambda *_: {}["s3cret"])
    with pytest.raises(KeyError):
        land(whole())
    for words in (
        "apixgo job task_1",
        "unforeseen error (KeyError)",
        "was paid for",
        "A retry downloads again",
    ):
        assert words in caplog.text
    assert "s3cret" not in caplog.text
    assert left(tmp_path) == []


def test_a_storage_that_fails_in_the_middle_is_left_empty_and_no_reason_to_pay_again(
    land: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airflow_provider_vidgen.landing.storing._LocalPart.write", fail)
    with pytest.raises(StorageFailed) as failed:
        land(whole())
    assert not failed.value.ends_retries
    for words in ("v.mp4 could not be stored", "No space left on device", "task_1", "was paid", "A retry"):
        assert words in str(failed.value)
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


def test_a_body_that_never_ends_does_not_fill_the_disk(
    land: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.fetching._LARGEST", 2000)
    with pytest.raises(NotAVideo, match="larger than 2000"):
        land(Reply(*[MP4] * 50))
    assert left(tmp_path) == []


def test_a_file_announced_as_huge_is_refused_before_its_first_byte(
    land: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(NotAVideo, match="larger than"):
        land(Reply(AssertionError("read"), Content_Length=str(2**40)))
    assert left(tmp_path) == []


HUGE = "9" * 5000


@pytest.mark.parametrize("length", [HUGE, f"{HUGE}9", "\u0661" * 5000])
def test_a_length_of_more_digits_than_python_reads_is_the_links_fault(
    length: str, land: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(NotAVideo, match="larger than"):
        land(Reply(AssertionError("read"), Content_Length=length))
    assert left(tmp_path) == []


def test_a_length_with_thousands_of_zeros_before_it_is_a_length(land: Callable[..., Any]) -> None:
    assert land(Reply(MP4, Content_Length="0" * 5000 + str(len(MP4))))[0]["bytes"] == len(MP4)


@pytest.mark.parametrize("told", [f"bytes 400-{HUGE}/{HUGE}", f"bytes {HUGE}-9/10", f"bytes 400-9/{HUGE}"])
def test_a_range_of_more_digits_than_python_reads_is_not_the_rest(
    told: str, land: Callable[..., Any], tmp_path: Path
) -> None:
    land(broken(), Reply(PARTS[1], status=206, ETag='"one"', Content_Range=told), whole())
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("link", ["https://[bad", "https://[::1", "https://]/v.mp4"])
def test_a_link_that_cannot_be_parsed_is_the_links_fault(link: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeLink, match="not an http") as failure:
        Landing(settings(), verify=False).land([link], f"file://{tmp_path}/", job=job())
    assert "task_1" in str(failure.value)
    assert left(tmp_path) == []


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


PARTS = (MP4[:400], MP4[400:])
TAGGED = {"ETag": '"one"', "Content_Length": str(len(MP4))}


def rest(
    start: int = 400, *, etag: str = '"one"', total: int = len(MP4), body: bytes = PARTS[1], status: int = 206
) -> Reply:
    told = f"bytes {start}-{total - 1}/{total}"
    return Reply(body, status=status, ETag=etag, Content_Range=told, Content_Length=str(len(body)))


def broken(**headers: str) -> Reply:
    return Reply(PARTS[0], ProtocolError(), **{**TAGGED, **headers})


def test_a_broken_download_goes_on_where_it_stopped(
    land: Callable[..., Any], cdn: Cdn, tmp_path: Path
) -> None:
    (file,) = land(broken(), rest())
    assert cdn.ranges == [(0, ""), (400, '"one"')]
    assert file["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_download_may_break_off_in_every_part(land: Callable[..., Any], cdn: Cdn, tmp_path: Path) -> None:
    half = Reply(
        PARTS[1][:100],
        STALLED,
        status=206,
        ETag='"one"',
        Content_Range=f"bytes 400-{len(MP4) - 1}/{len(MP4)}",
    )
    land(broken(), half, rest(500, body=PARTS[1][100:]))
    assert [start for start, _ in cdn.ranges] == [0, 400, 500]
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_file_that_has_changed_begins_again(land: Callable[..., Any], tmp_path: Path) -> None:
    other = MP4[:-1] + b"!"
    land(broken(), Reply(other, ETag='"two"', Content_Length=str(len(other))))
    assert (tmp_path / "v.mp4").read_bytes() == other


@pytest.mark.parametrize(
    "wrong",
    [
        rest(etag='"two"'),
        rest(399),
        rest(total=len(MP4) + 1),
        rest(status=416, body=b""),
        Reply(PARTS[1], status=206),
        Reply(PARTS[1], status=206, Content_Range="bytes */9"),
    ],
)
def test_a_rest_that_does_not_fit_is_not_taken(
    wrong: Reply, land: Callable[..., Any], cdn: Cdn, tmp_path: Path
) -> None:
    land(broken(), wrong, whole())
    assert cdn.ranges == [(0, ""), (400, '"one"'), (0, "")]
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("etag", ["", 'W/"one"', "one"])
def test_without_a_strong_tag_the_whole_file_is_asked_for_again(
    etag: str, land: Callable[..., Any], cdn: Cdn
) -> None:
    land(broken(ETag=etag), whole())
    assert cdn.ranges == [(0, ""), (0, "")]


@pytest.mark.parametrize(
    ("fresh", "start"), [(LINK.replace("s3cret", "fresh"), 400), ("https://cdn.example.com/b", 0)]
)
def test_a_fresh_link_goes_on_if_it_leads_to_the_same_file(
    fresh: str, start: int, land: Callable[..., Any], cdn: Cdn, tmp_path: Path
) -> None:
    cdn.replies[fresh] = [rest() if start else whole()]
    land(broken(), LinkNotLive("x"), refresh=lambda: [fresh])
    assert cdn.ranges[-1][0] == start
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_file_that_is_there_is_compared_over_several_connections(
    land: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "v.mp4").write_bytes(MP4)
    assert land(broken(), broken(ETag=""), broken(), rest())[0]["already_there"]


def test_connections_that_bring_much_are_not_counted(
    land: Callable[..., Any], cdn: Cdn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.fetching._WORTH", 100)
    pieces: list[Reply] = [broken()]
    for start in range(400, 1000, 100):
        told = f"bytes {start}-{len(MP4) - 1}/{len(MP4)}"
        body = MP4[start : start + 100]
        pieces.append(Reply(body, STALLED, status=206, ETag='"one"', Content_Range=told))
    land(*pieces, rest(1000, body=MP4[1000:]))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_file_that_appears_during_the_download_is_not_replaced(
    land: Callable[..., Any], tmp_path: Path
) -> None:
    class Meanwhile(Reply):
        def pieces(self) -> Iterator[bytes]:
            yield MP4[:400]
            (tmp_path / "v.mp4").write_bytes(b"theirs")
            yield MP4[400:]

    with pytest.raises(TargetExists, match="meantime"):
        land(Meanwhile())
    assert (tmp_path / "v.mp4").read_bytes() == b"theirs"
    assert left(tmp_path) == ["v.mp4"]
