# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A fake server of result links, and a fake vendor that refreshes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from urllib3.exceptions import ProtocolError, ReadTimeoutError

from airflow_provider_vidgen.errors import (
    VidgenError,
)
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

STALLED = ReadTimeoutError(None, "", "")  # type: ignore[arg-type]


LINK, FRESH = "https://cdn.example.com/a?sig=s3cret", "https://cdn.example.com/b"


class Reply:
    """A response of the server: chunks, of which one may be an error."""

    def __init__(self, *chunks: bytes | BaseException, status: int = 200, **headers: str) -> None:
        self.chunks = chunks
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.opened()

    def opened(self) -> Reply:
        self.raw, self._unread = self, self.body_chunks()
        return self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        return next(self._unread, b"")

    def body_chunks(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


class Cdn:
    """Returns the replies of a link in turn, then the last one for ever; raises errors."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply | Exception]] = {}
        self.requested: list[str] = []
        self.ranges: list[tuple[int, str]] = []

    @contextmanager
    def open_link(
        self, link: str, settings: Any, *, start: int = 0, if_range: str = "", sockets: Any = None
    ) -> Iterator[Any]:
        self.requested.append(link)
        self.ranges.append((start, if_range))
        replies = self.replies[link]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        yield reply.opened()


def whole(content: bytes = MP4) -> Reply:
    return Reply(content, Content_Length=str(len(content)))


PARTS = (MP4[:400], MP4[400:])


TAGGED = {"ETag": '"one"', "Content_Length": str(len(MP4))}


def rest(
    start: int = 400, *, etag: str = '"one"', total: int = len(MP4), body: bytes = PARTS[1], status: int = 206
) -> Reply:
    content_range = f"bytes {start}-{total - 1}/{total}"
    return Reply(body, status=status, ETag=etag, Content_Range=content_range, Content_Length=str(len(body)))


def broken(**headers: str) -> Reply:
    return Reply(PARTS[0], ProtocolError(), **{**TAGGED, **headers})


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def page() -> Reply:
    return Reply(b"<!DOCTYPE html><title>Sign in</title>")


class RefreshLinks:
    """Returns fresh links: each answer in turn, then the last one for ever; raises errors."""

    def __init__(self, *answers: list[str] | VidgenError, clock: Clock, seconds: float = 0) -> None:
        self.answers = list(answers)
        self.calls: list[Any] = []
        self._clock = clock
        self._seconds = seconds

    def __call__(self) -> list[str]:
        self.calls.append(self._clock.now())
        self._clock.time += timedelta(seconds=self._seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, VidgenError):
            raise answer
        return answer


#: Lands a link, which returns the given replies in turn, and returns its manifest.
Land = Callable[..., dict[str, Any]]
