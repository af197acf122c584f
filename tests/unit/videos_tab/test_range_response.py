# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Whole files and ranges, from any file object, and nothing left open."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.testclient import TestClient

from airflow_provider_vidgen.videos_tab.range_response import RangeResponse, UnsatisfiableRange, parse_range

CONTENT = bytes(range(256)) * 16_000  # four chunks


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *((None, None), ("", None), ("bytes=-", None), ("bytes=0-9", (0, 10)), ("bytes=90-", (90, 100))),
        *(("bytes=-10", (90, 100)), ("bytes=-1000", (0, 100)), ("bytes=90-1000", (90, 100))),
        *(("bytes=99-99", (99, 100)), ("items=0-9", None), ("bytes=0-9,20-29", None), ("bytes=9-0", None)),
        *(("bytes=a-b", None), ("bytes= 0 - 9 ", (0, 10)), ("bytes=" + "9" * 50 + "-", None)),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_served(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, 100)


class File(io.BytesIO):
    """Records how much is read at a time."""

    def __init__(self, content: bytes = CONTENT) -> None:
        super().__init__(content)
        self.reads: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        self.reads.append(size or -1)
        return super().read(size)


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def client(file: File) -> TestClient:
    return TestClient(app_of(file))


def app_of(file: Any, size: int = len(CONTENT)) -> Callable[..., Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = RangeResponse(
            file,
            size=size,
            content_type="video/mp4",
            etag='"1"',
            headers={"Cache-Control": "private"},
            limiter=anyio.CapacityLimiter(2),
        )
        await response(scope, receive, send)

    return app


def test_the_whole_file(client: TestClient, file: File) -> None:
    reply = client.get("/")
    assert (reply.status_code, reply.content) == (200, CONTENT)
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["content-length"] == str(len(CONTENT))
    assert file.closed
    assert max(file.reads) < len(CONTENT)


def test_a_range(client: TestClient, file: File) -> None:
    reply = client.get("/", headers={"Range": "bytes=300000-300009"})
    assert (reply.status_code, reply.content) == (206, CONTENT[300000:300010])
    assert reply.headers["content-range"] == f"bytes 300000-300009/{len(CONTENT)}"
    assert reply.headers["content-length"] == "10"
    assert sum(file.reads) == 10
    assert file.closed


def test_the_last_bytes(client: TestClient) -> None:
    assert client.get("/", headers={"Range": "bytes=-7"}).content == CONTENT[-7:]


def test_head_has_the_headers_alone(client: TestClient, file: File) -> None:
    reply = client.head("/")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(CONTENT))
    assert client.head("/", headers={"Range": "bytes=0-9"}).status_code == 206
    assert file.reads == []
    assert file.closed


def test_a_range_behind_the_end(client: TestClient, file: File) -> None:
    reply = client.get("/", headers={"Range": "bytes=9999999-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")
    assert file.closed


def test_a_file_that_the_browser_has_is_not_sent(client: TestClient, file: File) -> None:
    assert client.get("/", headers={"If-None-Match": '"1"'}).status_code == 304
    assert file.closed


@pytest.mark.parametrize(("etag", "status"), [('"1"', 206), ('"2"', 200)])
def test_a_range_of_a_file_that_has_changed_is_the_whole_new_file(
    client: TestClient, etag: str, status: int
) -> None:
    reply = client.get("/", headers={"Range": "bytes=0-9", "If-Range": etag})
    assert reply.status_code == status


def test_a_file_that_became_shorter_breaks_off(file: File) -> None:
    client = TestClient(app_of(file, size=len(CONTENT) + 1))
    with pytest.raises(BaseException, match=r"ended before|unhandled errors"):
        client.get("/")
    assert file.closed


def test_nothing_is_read_on_after_the_browser_has_gone(file: File) -> None:
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            while len(sent) < 2:
                await anyio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) > 1:
                await anyio.sleep(60)  # the connection does not drain any more

        scope = {"type": "http", "method": "GET", "headers": []}
        with anyio.fail_after(10):
            await app_of(file)(scope, receive, send)

    anyio.run(run)
    assert file.closed
    assert len(file.reads) == 1
