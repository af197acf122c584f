# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What stands around a landed file: its sidecar, what was found in it, its siblings, the log."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_landing import FRESH, LINK, Cdn, Reply, cdn, left, whole  # noqa: F401

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    TargetExists,
    UnsafeLink,
    VideoMismatch,
)
from airflow_provider_vidgen.landing import About, Landing, probing
from airflow_provider_vidgen.landing.probing import Probe, mismatches
from airflow_provider_vidgen.landing.progress import Progress
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.transport import download
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

PICTURE = "data:image/png;base64," + "A" * 5000
REQUEST = VideoRequest(
    prompt="a lighthouse 灯塔",
    model="grok-video",
    duration=6,
    image_urls=["https://u:p@shop.example.com/lamp.jpg?X-Amz-Signature=s3cret", PICTURE],
    callback_url="https://hook.example.com/s3cret-token",
    extra={"negative": "rain", "links": ["https://a.example.com/b?s3cret"]},
)
RESULT = {
    "created_at": "2026-11-20T12:00:00+00:00",
    "completed_at": "2026-11-20T12:01:00+00:00",
    "cost": {"amount": 0.08, "currency": "USD", "basis": "reported"},
    "duration_seconds": 6.0,
    "result_urls": [LINK],
}


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Any:  # noqa: F811
    def run(*replies: Any, task_id: str = "task_1", **more: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        cdn.asked.clear()
        about = more.pop("about", About(request=REQUEST, result=RESULT))
        landing = Landing(settings(), **{"verify": False, "sleep": Clock().sleep, **more})
        path = f"file://{tmp_path}/v.mp4"
        return landing.land([LINK], path, job=job("apixo", task_id=task_id), about=about)[0]

    return run


def test_a_sidecar_tells_all_about_its_file(land: Any, tmp_path: Path) -> None:
    assert land(whole())["sidecar"] == f"file://{tmp_path}/v.mp4.json"
    text = (tmp_path / "v.mp4.json").read_text()
    told = json.loads(text)
    assert told.pop("landed_at").endswith("+00:00")
    assert told == {
        "made_by": "airflow-provider-vidgen",
        "version": 1,
        "vendor": "apixo",
        "model": "grok-video",
        "task_id": "task_1",
        "index": 0,
        "fingerprint": None,
        "request": {
            "prompt": "a lighthouse 灯塔",
            "model": "grok-video",
            "duration": 6,
            "image_urls": [
                "https://shop.example.com/lamp.jpg",
                "data:image/png;base64,... (5000 characters)",
            ],
            "extra": {"negative": "rain", "links": ["https://a.example.com/b"]},
        },
        "created_at": RESULT["created_at"],
        "completed_at": RESULT["completed_at"],
        "cost": RESULT["cost"],
        "file": {
            "name": "v.mp4",
            "path": f"file://{tmp_path}/v.mp4",
            "bytes": len(MP4),
            "sha256": hashlib.sha256(MP4).hexdigest(),
            "content_type": "video/mp4",
        },
        "poster": None,
        "probe": None,
        "mismatches": [],
    }
    assert "s3cret" not in text
    assert "灯塔" in text


def test_the_prompt_and_all_of_the_sidecar_can_be_left_out(land: Any, tmp_path: Path) -> None:
    land(whole(), sidecar_prompt=False)
    assert json.loads((tmp_path / "v.mp4.json").read_text())["request"] == {
        "model": "grok-video",
        "duration": 6,
    }
    (tmp_path / "v.mp4").unlink()
    (tmp_path / "v.mp4.json").unlink()
    assert land(whole(), sidecar=False)["sidecar"] is None
    assert left(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_whole_file_of_the_same_job_is_known_without_a_download(
    overwrite: bool,
    land: Any,
    cdn: Cdn,  # noqa: F811
) -> None:
    first = land(whole())
    again = land(UnsafeLink("x"), overwrite=overwrite)
    assert again == {**first, "already_there": True}
    assert cdn.asked == []


def test_a_file_of_another_job_is_refused_without_a_download(land: Any, cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    land(whole())
    with pytest.raises(TargetExists, match="of another job or request"):
        land(whole(), task_id="task_2")
    assert cdn.asked == []
    other = MP4 + b"2"
    land(whole(other), task_id="task_2", overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == other
    assert json.loads((tmp_path / "v.mp4.json").read_text())["task_id"] == "task_2"


def asked(fingerprint: str) -> About:
    return About(request=REQUEST, result=RESULT, fingerprint=fingerprint)


def test_an_old_video_is_not_taken_for_another_request_because_its_jobs_id_is_given_again(
    land: Any,
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
) -> None:
    land(whole(), about=asked("one"))
    assert json.loads((tmp_path / "v.mp4.json").read_text())["fingerprint"] == "one"
    with pytest.raises(TargetExists, match="another job or request"):
        land(whole(MP4 + b"2"), about=asked("two"))
    assert cdn.asked == []
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert not land(whole(MP4 + b"2"), about=asked("two"), overwrite=True)["already_there"]
    assert (tmp_path / "v.mp4").read_bytes() == MP4 + b"2"
    assert json.loads((tmp_path / "v.mp4.json").read_text())["fingerprint"] == "two"


@pytest.mark.parametrize(("before", "now"), [("one", "one"), ("", "one"), ("one", ""), ("", "")])
def test_where_a_request_is_not_known_the_job_alone_tells(
    before: str,
    now: str,
    land: Any,
    cdn: Cdn,  # noqa: F811
) -> None:
    land(whole(), about=asked(before))
    assert land(UnsafeLink("x"), about=asked(now))["already_there"]
    assert cdn.asked == []


def test_a_sidecar_of_before_there_were_fingerprints_is_known(land: Any, cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    land(whole())
    told = json.loads((tmp_path / "v.mp4.json").read_text())
    del told["fingerprint"]
    (tmp_path / "v.mp4.json").write_text(json.dumps(told))
    assert land(UnsafeLink("x"), about=asked("one"))["already_there"]
    assert cdn.asked == []


@pytest.mark.parametrize("harm", [MP4[:-1], MP4[:-1] + b"!", b""])
def test_a_file_that_is_not_what_its_sidecar_says_is_not_believed(
    harm: bytes, land: Any, tmp_path: Path
) -> None:
    land(whole())
    (tmp_path / "v.mp4").write_bytes(harm)
    with pytest.raises(TargetExists):
        land(whole())
    land(whole(), overwrite=True)
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize(
    "sidecar", [None, b"", b"[]", b"{", b'{"made_by": "airflow-provider-vidgen"}', b"[" * 9999]
)
def test_without_a_good_sidecar_the_bytes_are_compared(
    sidecar: bytes | None,
    land: Any,
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "v.mp4").write_bytes(MP4)
    if sidecar is not None:
        (tmp_path / "v.mp4.json").write_bytes(sidecar)
    assert land(whole())["already_there"]
    assert cdn.asked == [LINK]
    # A worker killed between a file and its sidecar is made good; what somebody else wrote is kept.
    assert (tmp_path / "v.mp4.json").exists()
    assert sidecar is None or (tmp_path / "v.mp4.json").read_bytes() == sidecar


def test_a_sidecar_that_cannot_be_written_does_not_cost_the_video(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.sidecar.json.dumps", lambda *_, **__: 1 / 0)
    assert land(whole())["sidecar"] is None
    assert left(tmp_path) == ["v.mp4"]


FOUND = Probe(6.04, 720, 1280, "h264")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, []),
        ({"duration": 6, "aspect_ratio": "9:16", "resolution": "720p"}, []),
        ({"duration": None, "aspect_ratio": None, "resolution": None}, []),
        ({"duration": "auto", "aspect_ratio": "auto", "resolution": "auto"}, []),
        ({"duration": 5}, ["it lasts 6.04 s, not 5 s"]),
        ({"aspect_ratio": "16:9"}, ["its picture is 720x1280, not 16:9"]),
        ({"resolution": "1080P"}, ["its picture is 720x1280, not 1080p"]),
    ],
)
def test_a_video_is_held_against_what_was_asked(asked: dict[str, Any], told: list[str]) -> None:
    assert mismatches(FOUND, asked) == told


def test_a_mismatch_is_a_warning_or_if_asked_a_failure_with_the_file_in_place(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(probing, "probe", lambda target: Probe(3.0, 720, 1280, "h264"))
    manifest = land(whole(), verify=True)
    assert manifest["probe"] == {"duration_seconds": 3.0, "width": 720, "height": 1280, "codec": "h264"}
    assert manifest["mismatches"] == ["it lasts 3 s, not 6 s"]
    assert "not 6 s" in caplog.text
    for _ in ("at once", "and again when the file is there already"):
        with pytest.raises(VideoMismatch, match="The video was paid for"):
            land(whole(), verify="fail")
        assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_result_alone_is_held_against_what_the_vendor_said() -> None:
    assert About(result=RESULT).asked() == {"duration": 6.0}


def test_without_pyav_a_failure_cannot_be_asked_for_and_nothing_is_spent(
    land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.room.can_play", lambda: False)
    (problem,) = Landing(settings(), verify="fail").target_problems(f"file://{tmp_path}/")
    assert str(problem) == "verify='fail': needs PyAV: pip install airflow-provider-vidgen[verify]"
    assert land(whole(), verify=True)["probe"] is None


def test_a_worker_without_pyav_lands_what_was_paid_for_before_it_fails(
    land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.room.can_play", lambda: False)
    with pytest.raises(VideoMismatch, match=r"needs PyAV.*The video was paid for.*The file stays") as failure:
        land(whole(), verify="fail")
    assert "task_1" in str(failure.value)
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_few_files_land_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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

    monkeypatch.setattr(download, "open_link", open_link)
    links = [f"{LINK}&n={number}" for number in range(6)]
    files = Landing(settings(), verify=False).land(links, f"file://{tmp_path}/", job=job())
    assert most == 3
    for link, file in zip(links, files, strict=True):
        assert file["sha256"] == hashlib.sha256(MP4 + link.encode()).hexdigest()


def test_every_file_that_could_not_be_landed_is_reported(cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    cdn.replies = {LINK: [UnsafeLink("odd")], FRESH: [DownloadFailed("down")], f"{LINK}2": [whole()]}
    landing = Landing(settings(), sleep=Clock().sleep, verify=False, sidecar=False)
    # Another try can help one of them, so that is the kind of error that is raised.
    with pytest.raises(DownloadFailed, match="down; and another file: odd"):
        landing.land([LINK, FRESH, f"{LINK}2"], f"file://{tmp_path}/", job=job())
    assert left(tmp_path) == ["task_1-2.mp4"]


def test_a_task_that_is_stopped_stops_all_its_downloads(
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(Reply):
        def pieces(self) -> Iterator[bytes]:
            yield MP4
            while True:
                yield b"x"

    cdn.replies = {LINK: [Endless()], FRESH: [Endless()]}

    def stopped(futures: Any, timeout: float | None = None) -> Any:
        if timeout is None:
            raise KeyboardInterrupt
        return wait(futures, timeout)

    monkeypatch.setattr("airflow_provider_vidgen.landing.room.wait", stopped)
    with pytest.raises(KeyboardInterrupt):
        Landing(settings()).land([LINK, FRESH], f"file://{tmp_path}/", job=job())
    assert left(tmp_path) == []


def test_a_task_that_is_stopped_waits_for_no_storage_that_hangs(
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room, hangs, over = "airflow_provider_vidgen.landing.room", threading.Semaphore(0), threading.Event()
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

    monkeypatch.setattr("airflow_provider_vidgen.landing.storing._LocalPart.write", hang)
    monkeypatch.setattr(f"{room}.wait", stopped)
    monkeypatch.setattr(f"{room}._FAREWELL", 0.05)
    cdn.replies = {LINK: [whole()], FRESH: [whole()]}
    with pytest.raises(KeyboardInterrupt):
        Landing(settings(), verify=False).land([LINK, FRESH], f"file://{tmp_path}/", job=job())
    assert all(thread.is_alive() for thread in threads)
    over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("vidgen-landing"):
            thread.join(10)
    assert left(tmp_path) == []


def test_progress_is_told_of_large_files_at_sensible_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now, mib = [0.0], 1024**2

    def run(size: int, seconds_per_mib: float, *, known: bool = True) -> list[str]:
        caplog.clear()
        progress = Progress("v.mp4", clock=lambda: now[0])
        for done in range(1, size + 1):
            now[0] += seconds_per_mib
            progress(done * mib, size * mib if known else 0)
        return [record.getMessage() for record in caplog.records]

    assert run(63, 10) == []
    assert len(run(1000, 1)) == 9
    assert len(run(1000, 0.01)) == 1
    assert run(1000, 1)[0] == "v.mp4: 100 of 1000 MiB, 10 %"
    assert run(200, 1, known=False) == ["v.mp4: 64 MiB", "v.mp4: 128 MiB", "v.mp4: 192 MiB"]
