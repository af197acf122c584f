# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A real browser plays a landed video from the store's own signed link.

Needs Debian's ``chromium`` and ``chromium-driver``.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach

from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.simulator import Simulator
from dev.headless_browser import running_browser
from dev.servers.storage import LocalS3
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import account_at, submit, wait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

KINDS = {"mp4": "video/mp4", "fragmented": "video/mp4", "webm": "video/webm"}
SECONDS = 2
PATIENCE = 30
#: Plays a video and reports the result; both numbers are the size of the frame that was shown.
PLAY = """
const done = arguments[arguments.length - 1], video = document.querySelector("video");
const report = (outcome) => done({
  outcome, width: video.videoWidth, height: video.videoHeight,
  duration: video.duration, at: video.currentTime,
  error: video.error && video.error.message, can: video.canPlayType(arguments[0])});
video.addEventListener("ended", () => report("ended"));
video.addEventListener("error", () => report("error"));
video.addEventListener("loadeddata", () => video.play().catch((error) => report(String(error))));
video.src = arguments[1];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with running_browser(tmp_path_factory.mktemp("browser")) as found:
        found.set_script_timeout(PATIENCE)
        yield found


@pytest.fixture(scope="module")
def rendering() -> Iterator[Simulator]:
    with Simulator(render=True, speed=0) as running:
        yield running


@dataclass(frozen=True)
class Store:
    """A target, and the signed link that the store itself returns for an object there."""

    output: str
    link: Callable[[ObjectStoragePath], str]


def signed(path: ObjectStoragePath) -> str:
    return str(path.fs.sign(path.path, expiration=300))


@pytest.fixture(params=["s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    there: Any = request.getfixturevalue(request.param)
    folder = request.node.name.partition("[")[2].rstrip("]")
    if isinstance(there, LocalS3):
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", there.connection)
        return Store(f"s3://aws_default@videos/played/{folder}/", signed)
    scheme = {"gcs": "gs", "azure": "abfs"}[request.param]
    attach(scheme, fs=there)
    if request.param == "azure":
        return Store(f"abfs://videos/played/{folder}/", signed)

    def plain(path: ObjectStoragePath) -> str:
        # A signature requires a service account's key, and the emulator has no accounts.
        bucket, _, name = path.path.partition("/")
        return f"{there._endpoint}/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media"

    return Store(f"gs://videos/played/{folder}/", plain)


@contextmanager
def page(title: str) -> Iterator[str]:
    """Serve a page with a video on loopback, and return its URL."""
    text = f'<!DOCTYPE html><meta charset="utf-8"><title>{html.escape(title)}</title><video muted></video>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def landed(
    rendering: Simulator, monkeypatch: pytest.MonkeyPatch, output: str, container: str
) -> tuple[ObjectStoragePath, str]:
    """Generate a video and land it; return its path and its content type."""
    rendering.reset()
    clock = SimulatorClock(rendering)
    hook = account_at(rendering, clock, monkeypatch, "apixgo")
    submission = submit(
        hook, f"a lighthouse [sim:container={container}]", duration=SECONDS, resolution="480p"
    )
    links = wait(hook, clock, submission).result_urls
    (file,) = Landing(hook.settings, sleep=clock.sleep).land(links, output, job=submission.job)
    return ObjectStoragePath(file["path"]), file["content_type"]


@pytest.mark.parametrize("container", KINDS)
def test_a_browser_plays_a_landed_video_from_the_stores_signed_link(
    rendering: Simulator, browser: Chrome, store: Store, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    path, kind = landed(rendering, monkeypatch, store.output, container)
    link = store.link(path)
    with page(container) as url:
        browser.get(url)
        report = browser.execute_async_script(PLAY, kind, link)
    assert (report["outcome"], report["error"]) == ("ended", None)
    assert (report["width"], report["height"]) == (854, 480)
    assert report["duration"] == pytest.approx(SECONDS, abs=0.3)
    assert report["at"] == pytest.approx(report["duration"], abs=0.1)
    assert report["can"] in ("maybe", "probably")
    # A browser plays the link itself only if the store serves it with a video content type.
    with requests.get(link, stream=True, timeout=PATIENCE) as reply:
        assert reply.headers["Content-Type"] == kind == KINDS[container]
