# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What killed workers leave beside a file is removed, and what others are writing just now is not."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_landing import LINK, Cdn, cdn, whole  # noqa: F401

from airflow_provider_vidgen.landing import Landing, parts, storing
from tests.support.accounts import job, settings
from tests.support.clock import NOW
from tests.support.vendor_replies import MP4

HOUR = timedelta(hours=1)


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Callable[..., Any]:  # noqa: F811
    cdn.replies[LINK] = [whole()]

    def run(name: str = "v.mp4", **how: Any) -> Any:
        landing = Landing(settings(), verify=False, sidecar=False, **how)
        return landing.land([LINK], f"file://{tmp_path}/{name}", job=job())

    return run


@pytest.fixture
def left(land: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The part of a worker that was killed a moment ago."""
    with monkeypatch.context() as killed:
        killed.setattr(storing._LocalPart, "discard", lambda _: None)
        land("other.mp4")
    gc.collect()  # the dead hold no lock
    (found,) = tmp_path.glob(".*.part")
    return found


def age(path: Path, by: timedelta) -> None:
    written = time.time() - by.total_seconds()
    os.utime(path, (written, written))


def test_a_part_is_removed_by_the_next_landing_in_its_folder(land: Callable[..., Any], left: Path) -> None:
    age(left, HOUR + timedelta(seconds=5))
    land("v.mp4")
    assert not left.exists()


def test_nfs_which_locks_only_what_is_open_for_writing_keeps_no_parts(
    land: Callable[..., Any], left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def as_on_nfs(file: Any, how: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    age(left, HOUR + timedelta(seconds=5))
    land("other.mp4")
    assert not left.exists()


def test_a_part_of_another_host_whose_lock_is_not_seen_here_stays(
    land: Callable[..., Any], left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_lock", lambda _: True)
    age(left, HOUR - timedelta(minutes=1))
    land("other.mp4")
    assert left.exists()


def test_a_part_that_somebody_holds_stays_however_old(land: Callable[..., Any], left: Path) -> None:
    age(left, 9 * HOUR)
    with left.open("r+b") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        land("v.mp4")
        assert left.exists()
    land("w.mp4")
    assert not left.exists()


def test_what_is_old_is_told_by_the_clock(land: Callable[..., Any], left: Path) -> None:
    land("v.mp4", now=lambda: datetime.now(UTC) + timedelta(minutes=59))
    assert left.exists()
    land("w.mp4", now=lambda: datetime.now(UTC) + timedelta(minutes=61))
    assert not left.exists()


def test_a_file_that_is_not_ours_stays(land: Callable[..., Any], tmp_path: Path) -> None:
    for name in (".other.part", ".vidgen-1.part", "vidgen.part"):
        (tmp_path / name).write_bytes(MP4)
        age(tmp_path / name, 9 * HOUR)
    land("v.mp4")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_name_is_new_and_hidden_and_known_again() -> None:
    names = {parts.new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(parts.is_part(name) and name.startswith(".") for name in names)


@given(st.text(max_size=60))
def test_other_names_are_not_ours(text: str) -> None:
    assert not parts.is_part(text)
    assert not parts.is_part(parts.new_name() + text[:1] + "x")


def test_an_hour_is_not_yet_a_while() -> None:
    assert not parts.is_abandoned(NOW - HOUR, NOW)
    assert parts.is_abandoned(NOW - HOUR - timedelta(microseconds=1), NOW)
