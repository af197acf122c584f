# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The files of a job land in parallel, and end together when the task is stopped."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from fake_cdn import FRESH, LINK, Cdn, RefreshLinks, Reply, files_in, page, whole

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkUnavailable,
    ResultExpired,
    UnsafeLink,
    VidgenError,
)
from airflow_provider_vidgen.http import result_links
from airflow_provider_vidgen.landing import Landing
from tests.support.accounts import job, settings
from tests.support.clock import NOW, Clock
from tests.support.vendor_replies import MP4

EARLIER = NOW - timedelta(seconds=1)


def landing_of(clock: Clock, **kwargs: Any) -> Landing:
    return Landing(settings(), **{"sidecar": False, "verify": False, "sleep": clock.sleep, **kwargs})


def test_at_most_three_files_land_concurrently(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at_once, most, lock, three = 0, 0, threading.Lock(), threading.Barrier(3)

    @contextmanager
    def open_link(link: str, *_: Any, **__: Any) -> Iterator[Any]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        three.wait(10)
        yield whole(MP4 + link.encode())
        with lock:
            at_once -= 1

    monkeypatch.setattr(result_links, "open_link", open_link)
    links = [f"{LINK}&n={number}" for number in range(6)]
    files = Landing(settings(), verify=False).land(links, f"file://{tmp_path}/", job=job())
    assert most == 3
    for link, file in zip(links, files, strict=True):
        assert file["sha256"] == hashlib.sha256(MP4 + link.encode()).hexdigest()


def test_every_failed_file_is_reported_and_a_retryable_error_raised(cdn: Cdn, tmp_path: Path) -> None:
    cdn.replies = {LINK: [UnsafeLink("odd")], FRESH: [DownloadFailed("down")], f"{LINK}2": [whole()]}
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False)
    # A retry can succeed for one of them, so that error is raised.
    with pytest.raises(DownloadFailed, match="down; and another file: odd"):
        landing.land([LINK, FRESH, f"{LINK}2"], f"file://{tmp_path}/", job=job())
    assert files_in(tmp_path) == ["task_1-2.mp4"]


def test_a_stopped_task_stops_all_its_downloads(
    cdn: Cdn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(Reply):
        def body_chunks(self) -> Iterator[bytes]:
            yield MP4
            while True:
                yield b"x"

    cdn.replies = {LINK: [Endless()], FRESH: [Endless()]}

    def stopped(futures: Any, timeout: float | None = None) -> Any:
        if timeout is None:
            raise KeyboardInterrupt
        return wait(futures, timeout)

    monkeypatch.setattr("airflow_provider_vidgen.landing.service.wait", stopped)
    with pytest.raises(KeyboardInterrupt):
        Landing(settings()).land([LINK, FRESH], f"file://{tmp_path}/", job=job())
    assert files_in(tmp_path) == []


def test_a_stopped_task_does_not_wait_for_a_hanging_storage(
    cdn: Cdn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, hangs, over = "airflow_provider_vidgen.landing.service", threading.Semaphore(0), threading.Event()
    threads: list[threading.Thread] = []

    def hang(*_: Any) -> None:
        threads.append(threading.current_thread())
        hangs.release()
        assert over.wait(30)

    def stopped(futures: Any, timeout: float | None = None) -> Any:
        if timeout is None:
            assert all(hangs.acquire(timeout=10) for _ in range(2))
            raise KeyboardInterrupt
        assert len(futures) == 2
        return wait(futures, timeout)

    monkeypatch.setattr("airflow_provider_vidgen.landing.writers.local.LocalWriter.write", hang)
    monkeypatch.setattr(f"{module}.wait", stopped)
    monkeypatch.setattr(f"{module}._STOP_TIMEOUT", 0.05)
    cdn.replies = {LINK: [whole()], FRESH: [whole()]}
    with pytest.raises(KeyboardInterrupt):
        Landing(settings(), verify=False).land([LINK, FRESH], f"file://{tmp_path}/", job=job())
    assert all(thread.is_alive() for thread in threads)
    over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("vidgen-landing"):
            thread.join(10)
    assert files_in(tmp_path) == []


def test_one_file_lands_while_the_link_of_another_is_not_live_yet(
    cdn: Cdn, clock: Clock, tmp_path: Path
) -> None:
    cdn.replies = {LINK: [whole()], FRESH: [*[LinkUnavailable("x")] * 6, whole(MP4 + b"2")]}
    vendor = RefreshLinks([LINK, FRESH], clock=clock)
    files = landing_of(clock).land([LINK, FRESH], f"file://{tmp_path}/", job=job(), refresh=vendor)
    assert [file["bytes"] for file in files] == [len(MP4), len(MP4) + 1]
    assert cdn.requested.count(LINK) == 1


@pytest.mark.parametrize(("expires_at", "error"), [(None, LinkUnavailable), (EARLIER, ResultExpired)])
def test_landed_files_stay_and_are_not_downloaded_again_when_another_link_is_dead(
    expires_at: Any,
    error: type[VidgenError],
    cdn: Cdn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    cdn.replies = {LINK: [whole()], FRESH: [LinkUnavailable("x")]}
    run = landing_of(clock, sidecar=True)
    for _ in range(2):
        with pytest.raises(error):
            run.land([LINK, FRESH], f"file://{tmp_path}/", job=job(), expires_at=expires_at)
    assert files_in(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert cdn.requested.count(LINK) == 1


def test_files_that_wait_for_their_links_do_not_block_the_others(cdn: Cdn, tmp_path: Path) -> None:
    links = [f"{LINK}&n={number}" for number in range(6)]
    asked_last = threading.Event()

    class Last(Reply):
        def opened(self) -> Reply:
            asked_last.set()
            return super().opened()

    last = Last(MP4)
    asked_last.clear()
    cdn.replies = {link: [LinkUnavailable("x"), whole(MP4 + link.encode())] for link in links[:5]}
    cdn.replies[links[5]] = [last]

    def sleep(_: float) -> None:
        assert asked_last.wait(30), "the last file has to wait until the others are given up"

    landing = Landing(settings(), sidecar=False, verify=False, sleep=sleep)
    assert len(landing.land(links, f"file://{tmp_path}/", job=job())) == 6


def test_several_dead_links_are_refreshed_once(cdn: Cdn, tmp_path: Path, clock: Clock) -> None:
    old, new = [f"{LINK}&n={n}" for n in range(3)], [f"{FRESH}?n={n}" for n in range(3)]
    cdn.replies = {link: [LinkUnavailable("x")] for link in old} | {link: [whole()] for link in new}
    vendor = RefreshLinks(new, clock=clock)
    landing_of(clock, sleep=lambda _: None).land(old, f"file://{tmp_path}/", job=job(), refresh=vendor)
    assert len(vendor.calls) == 1
    assert len(files_in(tmp_path)) == 3


def test_an_execution_timeout_ends_the_wait_for_a_link_at_once(cdn: Cdn, tmp_path: Path) -> None:
    def out_of_time(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    cdn.replies = {LINK: [LinkUnavailable("x")]}
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(AirflowTaskTimeout):
            Landing(settings()).land([LINK], f"file://{tmp_path}/v.mp4", job=job())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(cdn.requested) == 1
    assert files_in(tmp_path) == []


def test_an_execution_timeout_ends_the_waits_for_several_links_at_once(
    cdn: Cdn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = [LINK, FRESH, f"{LINK}&n=2"]
    cdn.replies = {LINK: [LinkUnavailable("x")], FRESH: [page()], links[2]: [LinkUnavailable("x")]}
    asked = threading.Semaphore(0)

    def refresh() -> list[str]:
        asked.release()
        return links

    def out_of_time(futures: Any, timeout: float | None = None) -> Any:
        if timeout is not None:
            return wait(futures, timeout)
        for _ in links:
            assert asked.acquire(timeout=30)
        raise AirflowTaskTimeout("Timeout")

    monkeypatch.setattr("airflow_provider_vidgen.landing.service.wait", out_of_time)
    landing = Landing(settings())
    with pytest.raises(AirflowTaskTimeout):
        landing.land(links, f"file://{tmp_path}/", job=job(), refresh=refresh)
    assert sorted(cdn.requested) == sorted(links)
    assert files_in(tmp_path) == []
