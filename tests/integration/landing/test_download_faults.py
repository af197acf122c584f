# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Faults of a server during a download, over real sockets and into every kind of storage.

A download that can be completed lands; any other leaves nothing, neither under its name nor next to it.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from landing_targets import LandingTarget

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkUnavailable,
    NotAVideo,
    ResultExpired,
    UnsafeLink,
)
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import VideoJob
from dev.servers.video_server import VideoServer, write_random_mp4

KEY = "sim-0123456789abcdef"
#: Two parts on S3, and several batches of the pipeline.
SIZE = 9 * 1024**2 + 5


class Store(VideoServer):
    """Answers in the given ways, one after the other, then the last one for ever."""

    ways: list[Way]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.film = (folder / "film.mp4").read_bytes()
        self.handler: list[dict[str, str]] = []
        self.over = threading.Event()

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        self.handler.append(dict(handler.headers))
        way = self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]
        way(self, handler)


Way = Callable[[Store, Any], None]


def head(handler: Any, status: int = 200, **headers: Any) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.close_connection = True


def start_of(handler: Any) -> int:
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


def rest(store: Store, handler: Any, *, etag: str = '"one"', more: int = 0) -> memoryview:
    """Announce the video, or the rest of it; return its bytes."""
    start, size = start_of(handler), len(store.film)
    headers = {"ETag": etag, "Content_Length": size - start + more}
    if start:
        headers["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
    head(handler, 206 if start else 200, **headers)
    return memoryview(store.film)[start:]


def whole(store: Store, handler: Any) -> None:
    handler.wfile.write(rest(store, handler))


def cut(store: Store, handler: Any) -> None:
    body = rest(store, handler)
    handler.wfile.write(body[: len(body) // 2])


def cut_untagged(store: Store, handler: Any) -> None:
    body = rest(store, handler, etag='W/"one"')
    handler.wfile.write(body[: len(body) // 2])


def reset(store: Store, handler: Any) -> None:
    cut(store, handler)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stalled(store: Store, handler: Any) -> None:
    cut(store, handler)
    store.over.wait()


def dripping(store: Store, handler: Any) -> None:
    handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = rest(store, handler)
    for start in range(0, 4000, 7):
        handler.wfile.write(body[start : start + 7])
    handler.wfile.write(body[start + 7 :])


def too_long(store: Store, handler: Any) -> None:
    handler.wfile.write(rest(store, handler, more=1000))


def too_short(store: Store, handler: Any) -> None:
    handler.wfile.write(rest(store, handler, more=-10))


def chunked(store: Store, handler: Any, share: float = 1.0) -> None:
    head(handler, Transfer_Encoding="chunked")
    for start in range(0, int(len(store.film) * share), 100_000):
        piece = store.film[start : start + 100_000]
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    if share == 1:
        handler.wfile.write(b"0\r\n\r\n")


def chunked_cut(store: Store, handler: Any) -> None:
    chunked(store, handler, 0.6)


def without_length(store: Store, handler: Any) -> None:
    head(handler)
    handler.wfile.write(store.film)


def without_length_cut(store: Store, handler: Any) -> None:
    head(handler)
    handler.wfile.write(store.film[:-1])


def empty(store: Store, handler: Any) -> None:
    head(handler, Content_Length=0)


def page(store: Store, handler: Any) -> None:
    body = b"<!DOCTYPE html><title>Link expired</title>" * 50_000
    head(handler, Content_Type="video/mp4", Content_Length=len(body))
    handler.wfile.write(body)


def json_told(store: Store, handler: Any) -> None:
    head(handler, Content_Type="video/mp4", Content_Length=19)
    handler.wfile.write(b'{"error": "expired"}')


def zipped(store: Store, handler: Any) -> None:
    head(handler, Content_Encoding="gzip", Content_Length=9)
    handler.wfile.write(bytes(9))


def range_ignored(store: Store, handler: Any) -> None:
    head(handler, ETag='"one"', Content_Length=len(store.film))
    handler.wfile.write(store.film)


def range_refused(store: Store, handler: Any) -> None:
    head(handler, 416, Content_Range=f"bytes */{len(store.film)}", Content_Length=0)


def other_range(store: Store, handler: Any) -> None:
    size = len(store.film)
    head(handler, 206, ETag='"one"', Content_Range=f"bytes 1-{size - 1}/{size}", Content_Length=size - 1)
    handler.wfile.write(store.film[1:])


def status(code: int) -> Way:
    return lambda store, handler: head(handler, code, Content_Length=0)


def busy(code: int, seconds: str) -> Way:
    return lambda store, handler: head(handler, code, Retry_After=seconds, Content_Length=0)


def redirect(to: str) -> Way:
    return lambda store, handler: head(handler, 302, Location=to.format(url=store.url), Content_Length=0)


def to_other_host(store: Store, handler: Any) -> None:
    redirect(f"http://localhost:{store.url.rpartition(':')[2]}/film.mp4")(store, handler)


@dataclass(frozen=True)
class Case:
    """How the server answers, and the result: the video, or an error that leaves nothing."""

    ways: tuple[Way, ...]
    ends: type[Exception] | None = None
    fresh: bool = field(default=False, kw_only=True)
    #: Whether the link has expired; ``None`` if that is not known.
    expired: bool | None = field(default=None, kw_only=True)
    timeout: float = field(default=30, kw_only=True)


CASES = {
    "whole": Case((whole,)),
    "cut, then the rest as 206": Case((cut, whole)),
    "cut, cut, cut, then the rest": Case((cut, cut, cut, whole)),
    "cut each time": Case((cut,), DownloadFailed),
    "cut, no strong tag": Case((cut_untagged, whole)),
    "reset, then the rest": Case((reset, whole)),
    "reset each time": Case((reset,), DownloadFailed),
    "stalled, then the rest": Case((stalled, whole), timeout=1),
    "slow drip": Case((dripping,)),
    "length too long once": Case((too_long, whole)),
    "length too long": Case((too_long,), DownloadFailed),
    "length too short once": Case((too_short, whole)),
    "length too short": Case((too_short,), DownloadFailed),
    "chunked": Case((chunked,)),
    "chunked, cut once": Case((chunked_cut, chunked)),
    "chunked, cut": Case((chunked_cut,), DownloadFailed),
    "no length": Case((without_length,)),
    "no length, cut": Case((without_length_cut,), DownloadFailed),
    "0 bytes": Case((empty,), NotAVideo),
    "0 bytes, a fresh link is good": Case((empty, whole), fresh=True),
    "HTML as mp4": Case((page,), NotAVideo),
    "HTML as mp4, a fresh link is good": Case((page, whole), fresh=True),
    "HTML as mp4, the fresh link too": Case((page,), NotAVideo, fresh=True),
    "JSON as mp4": Case((json_told,), NotAVideo),
    "cut, then HTML, a fresh link is good": Case((cut, page, whole), fresh=True),
    "compressed": Case((zipped,), DownloadFailed),
    "Range ignored": Case((cut, range_ignored)),
    "416 for a Range": Case((cut, range_refused, whole)),
    "416 always": Case((range_refused,), DownloadFailed),
    "another range than handler for": Case((cut, other_range, whole)),
    "a chain of five redirects": Case((*[redirect("/film.mp4")] * 5, whole)),
    "a loop of redirects": Case((redirect("/film.mp4"),), UnsafeLink),
    "a redirect to another host": Case((to_other_host, whole)),
    "a redirect to another scheme": Case((redirect("ftp://127.0.0.1/film.mp4"),), UnsafeLink),
    "a redirect to a file": Case((redirect("file:///etc/passwd"),), UnsafeLink),
    "out of order, then good": Case((status(503), status(500), whole)),
    "out of order": Case((status(503),), DownloadFailed),
    "busy for a while, then good": Case((*[busy(503, "7")] * 4, *[busy(429, "20")] * 4, whole)),
    "cut, then busy for a while, then the rest": Case((cut, *[busy(429, "0")] * 5, whole)),
    "busy for ever": Case((busy(503, "9"),), DownloadFailed),
    "busy for longer than anybody waits": Case((busy(503, "9" * 400),), DownloadFailed),
    **{f"dead ({code})": Case((status(code),), LinkUnavailable) for code in (401, 403, 404, 410)},
    **{f"late ({code})": Case((*[status(code)] * 6, whole)) for code in (401, 403, 404, 410)},
    "dead, with time left": Case((status(404),), LinkUnavailable, fresh=True, expired=False),
    "dead, its time over": Case((status(404),), ResultExpired, expired=True),
    "dead, its time over, the fresh link too": Case((status(404),), ResultExpired, fresh=True, expired=True),
    "dead, its time over, the fresh link is good": Case((status(404), whole), fresh=True, expired=True),
    "HTML as mp4, its time over": Case((page,), ResultExpired, fresh=True, expired=True),
    "late, a page first": Case((page, page, status(403), whole)),
    "cut, then dead for a while, then the rest": Case((cut, *[status(404)] * 5, whole)),
    **{
        f"dead ({code}), a fresh link is good": Case((status(code), whole), fresh=True)
        for code in (401, 403, 404, 410)
    },
    "dead, the fresh link too": Case((status(410),), LinkUnavailable, fresh=True),
    "cut, then dead, a fresh link is good": Case((cut, status(403), whole), fresh=True),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "films").mkdir()
    write_random_mp4(tmp_path / "films" / "film.mp4", SIZE)
    with Store(tmp_path / "films").running() as server:
        assert isinstance(server, Store)
        yield server
        server.over.set()


def land(
    link: str, target: LandingTarget, *, api: str = "http://127.0.0.1:9", timeout: float = 30, **kwargs: Any
) -> Any:
    extra = {"vendor": "apixo", "allow_private_urls": True, "timeout": timeout}
    settings = ConnectionSettings.read("faults", host=api, password=KEY, extra=extra)
    job = VideoJob(vendor="apixo", base_url=api, model="grok-video", task_id="task_1")
    landing = Landing(settings, verify=False, sidecar=False, sleep=lambda _: None)
    return landing.land([link], f"{target.output}v.mp4", job=job, **kwargs)[0]


@pytest.mark.parametrize("name", CASES)
def test_a_download_fault_lands_a_complete_file_or_leaves_nothing(
    name: str, store: Store, target: LandingTarget
) -> None:
    case = CASES[name]
    store.ways = list(case.ways)
    kwargs: dict[str, Any] = {"timeout": case.timeout}
    if case.fresh:
        kwargs["refresh"] = lambda: [f"{store.url}/film.mp4?fresh"]
    if case.expired is not None:
        kwargs["expires_at"] = datetime.now(UTC) + timedelta(hours=-1 if case.expired else 1)
    threads = set(threading.enumerate())
    if case.ends:
        with pytest.raises(case.ends) as failure:
            land(f"{store.url}/film.mp4", target, **kwargs)
        assert "Job: apixo job task_1." in str(failure.value)
        assert target.names() == {}
    else:
        file = land(f"{store.url}/film.mp4", target, **kwargs)
        assert target.names() == {"v.mp4": store.film}
        assert file["sha256"] == hashlib.sha256(store.film).hexdigest()
        assert len(store.ways) == 1, "the store was not handler as often as it should have been"
    assert set(store.methods) == {"GET"}
    assert not any("Authorization" in handler or KEY in str(handler) for handler in store.handler)
    assert not {thread for thread in threading.enumerate() if thread.name == "vidgen-pipeline"} - threads


def test_the_api_key_is_not_sent_to_a_redirect_target(
    store: Store, target: LandingTarget, tmp_path: Path
) -> None:
    with Store(tmp_path / "films").running() as api:
        assert isinstance(api, Store)
        api.ways, store.ways = [redirect(f"{store.url}/film.mp4")], [cut, whole]
        land(f"{api.url}/v1/film.mp4", target, api=api.url)
        assert {handler["Authorization"] for handler in api.handler} == {f"Bearer {KEY}"}
    assert target.names() == {"v.mp4": store.film}
    assert not any(KEY in str(handler) for handler in store.handler)


@pytest.mark.parametrize("there", ["whole", "partial"])
def test_an_existing_file_is_compared_and_kept(there: str, store: Store, target: LandingTarget) -> None:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_vidgen.errors import TargetExists

    old = store.film if there == "whole" else store.film[:-1]
    path = ObjectStoragePath(f"{target.output}v.mp4")
    path.fs.pipe_file(path.path, old)
    store.ways = [cut, whole]
    if there == "whole":
        assert land(f"{store.url}/film.mp4", target)["already_existed"]
    else:
        with pytest.raises(TargetExists):
            land(f"{store.url}/film.mp4", target)
    assert target.names() == {"v.mp4": old}


def test_a_failed_abort_is_logged_and_hides_no_error(
    store: Store, gcs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gcsfs.core import GCSFile

    def refuse(*_: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(GCSFile, "discard", refuse)
    attach("gs", fs=gcs)
    store.ways = [cut, status(410)]
    with pytest.raises(LinkUnavailable):
        land(f"{store.url}/film.mp4", LandingTarget("gs://videos/stuck/", dict))
    assert "could not be aborted (PermissionError)" in caplog.text
    gcs.invalidate_cache()
    assert gcs.find("videos/stuck") == []
