# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The player's bytes: from S3 by a signed link, from the disk with ranges, or by the vendor's link."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from tab_server import RUN, START, Tab, VideosInDatabase, run_page

from airflow_provider_vidgen.simulator.placeholder_media import placeholder_jpeg, placeholder_mp4
from airflow_provider_vidgen.videos_tab import media
from dev.servers.storage import BUCKET, LocalS3, local_s3, local_sftp

MP4 = placeholder_mp4("a note", 2, 32, 18) + bytes(300_000)
JPEG = placeholder_jpeg("x")
LINK = "https://cdn.vendor.example/v.mp4?signature=a%2Fb"


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


class Player:
    """Reports one video, and asks for its bytes."""

    def __init__(self, database: VideosInDatabase, tab: Tab) -> None:
        self._database = database
        self._run = database.add_run()
        self.client = tab.user("viewer")

    def report(self, *files: Any, **values: Any) -> None:
        video = {
            "v": 1,
            "state": "landed",
            "since": START.isoformat(),
            "job_id": "job_1",
            "files": list(files),
        }
        self._database.add_tasks(
            [{"map_index": 0, "state": "success", "video": {**video, **values}}], dag_run_id=self._run
        )

    def get(self, route: str = "file", *, method: str = "GET", headers: Any = None, **query: Any) -> Any:
        path = run_page(route, task_id="make_video", **{"map_index": 0, **query})
        return self.client.request(method, path, headers=headers)


@pytest.fixture
def player(database: VideosInDatabase, tab: Tab) -> Player:
    return Player(database, tab)


def detail(reply: Any, status: int) -> str:
    assert reply.status_code == status, reply.text
    return str(reply.json()["detail"])


# --- local files ----------------------------------------------------------------------------------------


@pytest.fixture
def local(player: Player, tmp_path: Path) -> Player:
    (tmp_path / "a b.mp4").write_bytes(MP4)
    (tmp_path / "a b.jpg").write_bytes(JPEG)
    player.report({"path": f"file://{tmp_path}/a b.mp4", "poster": f"file://{tmp_path}/a b.jpg"})
    return player


def test_a_landed_file_is_streamed(local: Player) -> None:
    reply = local.get()
    assert (reply.status_code, reply.content) == (200, MP4)
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["content-disposition"] == "inline; filename*=utf-8''a%20b.mp4"
    assert reply.headers["cache-control"] == "private, no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_seeking_reads_from_the_middle(local: Player) -> None:
    reply = local.get(headers={"Range": "bytes=1000-1099"})
    assert (reply.status_code, reply.content) == (206, MP4[1000:1100])
    assert reply.headers["content-range"] == f"bytes 1000-1099/{len(MP4)}"
    assert local.get(headers={"Range": "bytes=-5"}).content == MP4[-5:]
    assert local.get(headers={"Range": f"bytes={len(MP4)}-"}).status_code == 416
    etag = local.get(method="HEAD").headers["etag"]
    assert local.get(headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206


def test_head_has_the_length(local: Player) -> None:
    reply = local.get(method="HEAD")
    assert (reply.status_code, reply.headers["content-length"], reply.content) == (200, str(len(MP4)), b"")


def test_a_download_is_saved_under_its_name(local: Player) -> None:
    reply = local.get(download=1)
    assert reply.headers["content-disposition"] == "attachment; filename*=utf-8''a%20b.mp4"


def test_the_poster(local: Player) -> None:
    reply = local.get("poster")
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, JPEG, "image/jpeg")


def test_nothing_but_the_number_of_a_file_is_chosen_by_the_request(local: Player, tmp_path: Path) -> None:
    (tmp_path / "other.mp4").write_bytes(MP4)
    assert "no such video" in detail(local.get(number=1, path=f"file://{tmp_path}/other.mp4"), 404)
    assert local.get(number=-1).status_code == 422
    assert "no poster" in detail(local.get("poster", number=1), 404)


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "/etc/passwd", "file:///proc/self/environ", "file:///dev/zero"]
)
def test_a_path_that_somebody_edited_shows_no_other_file(path: str, player: Player) -> None:
    player.report({"path": path, "poster": path})
    for route in ("file", "poster"):
        reply = player.get(route)
        assert reply.status_code in (403, 404)
        assert "root:" not in reply.text
        assert "AIRFLOW" not in reply.text.replace(RUN, "")


def test_a_poster_that_is_too_large_is_not_read(player: Player, tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.write(JPEG)
        file.truncate(media._MAX_POSTER + 1)
    player.report({"path": "x", "poster": f"file://{tmp_path}/large.jpg"})
    assert "larger than" in detail(player.get("poster"), 403)


# --- links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires_at", ["", "?", "in an hour"])
def test_without_a_file_the_vendors_link_is_played(expires_at: str, player: Player) -> None:
    expires_at = in_hours(1) if expires_at == "in an hour" else expires_at
    player.report(state="made", result_urls=[LINK], expires_at=expires_at)
    reply = player.get()
    assert (reply.status_code, reply.headers["location"]) == (307, LINK)
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "private, no-store"


def test_a_link_that_has_expired_is_said_to_have(player: Player) -> None:
    player.report(state="made", result_urls=[LINK], expires_at=in_hours(-1))
    assert detail(player.get(), 410).startswith("The vendor's link expired at 20")


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "//x", "/etc/passwd", "ftp://x/y", ""]
)
def test_a_link_that_is_none_is_not_followed(link: str, player: Player) -> None:
    player.report(state="made", result_urls=[link])
    assert "neither a file nor a link" in detail(player.get(), 404)


def test_a_file_that_is_gone_is_replaced_by_the_link_while_it_lives(player: Player, tmp_path: Path) -> None:
    player.report({"path": f"file://{tmp_path}/gone.mp4"}, result_urls=[LINK], expires_at=in_hours(1))
    assert player.get().headers["location"] == LINK
    assert "There is no file" in detail(player.get(download=1), 404)


def test_a_file_that_is_gone_is_said_to_be(player: Player, tmp_path: Path) -> None:
    player.report({"path": f"file://{tmp_path}/gone.mp4"}, result_urls=[LINK], expires_at=in_hours(-1))
    text = detail(player.get(), 404)
    assert "gone.mp4" in text
    assert "on a worker's own disk" in text


def test_a_task_without_a_report(player: Player) -> None:
    assert "reported no video" in detail(player.get(), 404)
    player.report({"path": 7, "poster": []})
    assert "no such video" in detail(player.get(), 404)
    assert "no poster" in detail(player.get("poster"), 404)


# --- stores ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    with local_s3() as found:
        yield found


@pytest.fixture
def in_s3(player: Player, s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Player:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TAB", s3.connection)
    s3.client().put_object(Bucket=BUCKET, Key="tab/a b.mp4", Body=MP4, ContentType="text/html")
    s3.client().put_object(Bucket=BUCKET, Key="tab/a.jpg", Body=JPEG)
    s3.client().put_object(Bucket=BUCKET, Key="tab/secret.txt", Body=b"secret")
    player.report(
        {"path": f"s3://aws_tab@{BUCKET}/tab/a b.mp4", "poster": f"s3://aws_tab@{BUCKET}/tab/a.jpg"},
        {"path": f"s3://aws_tab@{BUCKET}/tab/secret.txt"},
        {"path": f"s3://no_such_connection@{BUCKET}/tab/a.mp4"},
    )
    return player


def test_an_object_is_played_from_its_store(in_s3: Player) -> None:
    reply = in_s3.get()
    assert reply.status_code == 307
    link = reply.headers["location"]
    query = parse_qs(urlsplit(link).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]
    got = requests.get(link, headers={"Range": "bytes=1000-1099"}, timeout=10)
    assert (got.status_code, got.content) == (206, MP4[1000:1100])
    assert got.headers["content-type"] == "video/mp4"
    assert got.headers["content-disposition"].startswith("inline")


def test_an_object_is_streamed_to_a_browser_that_cannot_reach_the_store(in_s3: Player) -> None:
    reply = in_s3.get(stream=1, headers={"Range": "bytes=200000-"})
    assert (reply.status_code, reply.content) == (206, MP4[200_000:])
    assert reply.headers["content-type"] == "video/mp4"


def test_few_bytes_of_an_object_are_read_to_sign_it(in_s3: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3File

    ranges: list[int] = []
    fetch = S3File._fetch_range

    def record(self: Any, start: int, end: int) -> bytes:
        ranges.append(end - start)
        return bytes(fetch(self, start, end))

    monkeypatch.setattr(S3File, "_fetch_range", record)
    assert in_s3.get().status_code == 307
    assert sum(ranges) <= 64 * 1024
    ranges.clear()
    assert in_s3.get(stream=1).content == MP4
    assert len(ranges) == 2


def test_the_poster_of_an_object_is_sent_from_here(in_s3: Player) -> None:
    assert in_s3.get("poster").content == JPEG


def test_an_object_that_is_no_video_is_neither_sent_nor_signed(in_s3: Player) -> None:
    for stream in (0, 1):
        assert "is not a video" in detail(in_s3.get(number=1, stream=stream), 403)


def test_a_connection_that_the_api_server_does_not_know(in_s3: Player) -> None:
    assert "its connection is not known to the API server" in detail(in_s3.get(number=2), 502)


def test_a_file_on_sftp_is_streamed(player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_sftp(tmp_path) as sftp:
        monkeypatch.setenv("AIRFLOW_CONN_SFTP_TAB", sftp.connection)
        (tmp_path / "a.mp4").write_bytes(MP4)
        (tmp_path / "b.txt").write_bytes(b"secret")
        player.report({"path": "sftp://sftp_tab@/a.mp4"}, {"path": "sftp://sftp_tab@/b.txt"})
        assert player.get().content == MP4
        reply = player.get(headers={"Range": "bytes=250000-250009"})
        assert (reply.status_code, reply.content) == (206, MP4[250_000:250_010])
        assert "is not a video" in detail(player.get(number=1), 403)


# --- slow storage ---------------------------------------------------------------------------------------


def test_a_store_that_hangs_does_not_hold_up_the_page(
    local: Player, database: VideosInDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(media, "_TIMEOUT", 0.3)
    monkeypatch.setattr(media, "open_video", lambda path: hangs.wait(30))
    try:
        assert "has not answered" in detail(local.get(), 504)
    finally:
        hangs.set()


def test_no_database_session_is_open_while_a_file_is_sent(
    local: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow import settings
    from sqlalchemy import event

    is_open: list[int] = []
    seen: list[int] = []
    read = media.RangeResponse._send_bytes

    async def look(self: Any, *args: Any) -> None:
        seen.append(len(is_open))
        await read(self, *args)

    def opened(*_: Any) -> None:
        is_open.append(1)

    def closed(*_: Any) -> None:
        is_open.pop()

    monkeypatch.setattr(media.RangeResponse, "_send_bytes", look)
    event.listen(settings.engine, "checkout", opened)
    event.listen(settings.engine, "checkin", closed)
    try:
        assert local.get().status_code == 200
    finally:
        event.remove(settings.engine, "checkout", opened)
        event.remove(settings.engine, "checkin", closed)
    assert seen == [0]
