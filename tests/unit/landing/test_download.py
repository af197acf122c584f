# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A broken or hostile download is resumed or refused, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from fake_cdn import (
    LINK,
    PARTS,
    STALLED,
    Cdn,
    Land,
    Reply,
    broken,
    files_in,
    rest,
    whole,
)
from urllib3.exceptions import ProtocolError

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkUnavailable,
    NotAVideo,
    VidgenError,
)
from airflow_provider_vidgen.landing.download import ProgressLog
from tests.support.vendor_replies import MP4


@pytest.mark.parametrize("pieces", [1, 3, 7, 8, 9])
def test_the_container_is_detected_also_from_small_first_chunks(
    pieces: int, land: Land, tmp_path: Path
) -> None:
    land(Reply(*(MP4[i : i + pieces] for i in range(0, len(MP4), pieces))))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("raised", [ConnectionResetError("s3cret"), OSError(113, "no route"), STALLED])
def test_any_network_error_breaks_the_download_and_the_next_connection_resumes(
    raised: Exception, land: Land, caplog: pytest.LogCaptureFixture
) -> None:
    file = land(Reply(MP4[:100], raised, Content_Length=str(len(MP4))), whole())
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
def test_an_incomplete_or_wrong_file_leaves_nothing(case: str, land: Land, tmp_path: Path) -> None:
    reply, error = BAD[case]
    with pytest.raises(error) as failure:
        land(reply)
    assert files_in(tmp_path) == []
    assert "Job: apixgo job task_1." in str(failure.value)
    assert "The video was paid for." in str(failure.value)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("case", BAD)
def test_an_incomplete_or_wrong_file_leaves_the_existing_file(case: str, land: Land, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"old")
    with pytest.raises(BAD[case][1]):
        land(BAD[case][0], overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == b"old"
    assert files_in(tmp_path) == ["v.mp4"]


def test_a_broken_download_is_retried(land: Land, cdn: Cdn, tmp_path: Path) -> None:
    cut = BAD["cut"][0]
    land(cut, DownloadFailed("x"), cut, whole())
    assert cdn.requested == [LINK] * 4
    assert files_in(tmp_path) == ["v.mp4"]


def test_a_download_that_keeps_breaking_is_given_up(land: Land, cdn: Cdn) -> None:
    with pytest.raises(DownloadFailed, match="no new video is made"):
        land(DownloadFailed("x"))
    assert cdn.requested == [LINK] * 4


def test_a_body_that_never_ends_does_not_fill_the_disk(
    land: Land, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.download._MAX_FILE_SIZE", 2000)
    with pytest.raises(NotAVideo, match="larger than 2000"):
        land(Reply(*[MP4] * 50))
    assert files_in(tmp_path) == []


def test_a_file_announced_as_huge_is_refused_before_its_first_byte(land: Land, tmp_path: Path) -> None:
    with pytest.raises(NotAVideo, match="larger than"):
        land(Reply(AssertionError("read"), Content_Length=str(2**40)))
    assert files_in(tmp_path) == []


HUGE = "9" * 5000


@pytest.mark.parametrize("length", [HUGE, f"{HUGE}9", "\u0661" * 5000])
def test_a_content_length_with_too_many_digits_for_python_is_refused(
    length: str, land: Land, tmp_path: Path
) -> None:
    with pytest.raises(NotAVideo, match="larger than"):
        land(Reply(AssertionError("read"), Content_Length=length))
    assert files_in(tmp_path) == []


def test_a_content_length_with_thousands_of_leading_zeros_is_valid(land: Land) -> None:
    assert land(Reply(MP4, Content_Length="0" * 5000 + str(len(MP4))))["bytes"] == len(MP4)


@pytest.mark.parametrize(
    "content_range", [f"bytes 400-{HUGE}/{HUGE}", f"bytes {HUGE}-9/10", f"bytes 400-9/{HUGE}"]
)
def test_a_content_range_with_too_many_digits_for_python_is_not_resumed(
    content_range: str, land: Land, tmp_path: Path
) -> None:
    land(broken(), Reply(PARTS[1], status=206, ETag='"one"', Content_Range=content_range), whole())
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_broken_download_is_resumed(land: Land, cdn: Cdn, tmp_path: Path) -> None:
    file = land(broken(), rest())
    assert cdn.ranges == [(0, ""), (400, '"one"')]
    assert file["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_resumed_download_may_break_again(land: Land, cdn: Cdn, tmp_path: Path) -> None:
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


def test_a_changed_file_restarts_the_download(land: Land, tmp_path: Path) -> None:
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
def test_a_range_that_does_not_match_is_not_used(wrong: Reply, land: Land, cdn: Cdn, tmp_path: Path) -> None:
    land(broken(), wrong, whole())
    assert cdn.ranges == [(0, ""), (400, '"one"'), (0, "")]
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("etag", ["", 'W/"one"', "one"])
def test_without_a_strong_etag_the_download_restarts(etag: str, land: Land, cdn: Cdn) -> None:
    land(broken(ETag=etag), whole())
    assert cdn.ranges == [(0, ""), (0, "")]


@pytest.mark.parametrize(
    ("fresh", "start"), [(LINK.replace("s3cret", "fresh"), 400), ("https://cdn.example.com/b", 0)]
)
def test_a_fresh_link_resumes_if_it_has_the_same_location(
    fresh: str, start: int, land: Land, cdn: Cdn, tmp_path: Path
) -> None:
    cdn.replies[fresh] = [rest() if start else whole()]
    land(broken(), LinkUnavailable("x"), refresh=lambda: [fresh])
    assert cdn.ranges[-1][0] == start
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_connections_that_gain_many_bytes_do_not_count_as_failures(
    land: Land, cdn: Cdn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.download._MIN_GAIN", 100)
    pieces: list[Reply] = [broken()]
    for start in range(400, 1000, 100):
        content_range = f"bytes {start}-{len(MP4) - 1}/{len(MP4)}"
        body = MP4[start : start + 100]
        pieces.append(Reply(body, STALLED, status=206, ETag='"one"', Content_Range=content_range))
    land(*pieces, rest(1000, body=MP4[1000:]))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_progress_of_large_files_is_logged_in_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now, mib = [0.0], 1024**2

    def run(size: int, seconds_per_mib: float, *, known: bool = True) -> list[str]:
        caplog.clear()
        progress = ProgressLog("v.mp4", clock=lambda: now[0])
        for done in range(1, size + 1):
            now[0] += seconds_per_mib
            progress(done * mib, size * mib if known else 0)
        return [record.getMessage() for record in caplog.records]

    assert run(63, 10) == []
    assert len(run(1000, 1)) == 9
    assert len(run(1000, 0.01)) == 1
    assert run(1000, 1)[0] == "v.mp4: 100 of 1000 MiB, 10 %"
    assert run(200, 1, known=False) == ["v.mp4: 64 MiB", "v.mp4: 128 MiB", "v.mp4: 192 MiB"]
