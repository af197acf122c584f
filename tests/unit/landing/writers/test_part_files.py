# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Part files of killed workers are removed, and those of live writers are not."""

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
from fake_cdn import LINK, Cdn, whole
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.landing.writers import local, part_files
from airflow_provider_vidgen.landing.writers.local import LocalWriter
from tests.support.accounts import job, settings
from tests.support.clock import NOW
from tests.support.vendor_replies import MP4

HOUR = timedelta(hours=1)


@pytest.fixture
def land(cdn: Cdn, tmp_path: Path) -> Callable[..., Any]:
    cdn.replies[LINK] = [whole()]

    def run(name: str = "v.mp4", **flags: Any) -> Any:
        landing = Landing(settings(), verify=False, sidecar=False, **flags)
        return landing.land([LINK], f"file://{tmp_path}/{name}", job=job())

    return run


@pytest.fixture
def abandoned(land: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The part file of a worker that was killed a moment ago."""
    with monkeypatch.context() as killed:
        killed.setattr(LocalWriter, "discard", lambda _: None)
        land("other.mp4")
    gc.collect()  # the dead hold no lock
    (found,) = tmp_path.glob(".*.part")
    return found


def age(path: Path, by: timedelta) -> None:
    written = time.time() - by.total_seconds()
    os.utime(path, (written, written))


def test_an_abandoned_part_file_is_removed_by_the_next_landing_in_its_folder(
    land: Callable[..., Any], abandoned: Path
) -> None:
    age(abandoned, HOUR + timedelta(seconds=5))
    land("v.mp4")
    assert not abandoned.exists()


def test_part_files_are_removed_on_nfs_which_locks_only_files_open_for_writing(
    land: Callable[..., Any], abandoned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def as_on_nfs(file: Any, flags: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, flags)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    age(abandoned, HOUR + timedelta(seconds=5))
    land("other.mp4")
    assert not abandoned.exists()


def test_a_recent_part_file_of_another_host_with_an_invisible_lock_stays(
    land: Callable[..., Any], abandoned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_lock", lambda _: True)
    age(abandoned, HOUR - timedelta(minutes=1))
    land("other.mp4")
    assert abandoned.exists()


def test_a_locked_part_file_stays_however_old(land: Callable[..., Any], abandoned: Path) -> None:
    age(abandoned, 9 * HOUR)
    with abandoned.open("r+b") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        land("v.mp4")
        assert abandoned.exists()
    land("w.mp4")
    assert not abandoned.exists()


def test_the_age_of_a_part_file_is_taken_from_the_given_clock(
    land: Callable[..., Any], abandoned: Path
) -> None:
    land("v.mp4", now=lambda: datetime.now(UTC) + timedelta(minutes=59))
    assert abandoned.exists()
    land("w.mp4", now=lambda: datetime.now(UTC) + timedelta(minutes=61))
    assert not abandoned.exists()


def test_other_files_are_never_removed(land: Callable[..., Any], tmp_path: Path) -> None:
    for name in (".other.part", ".vidgen-1.part", "vidgen.part"):
        (tmp_path / name).write_bytes(MP4)
        age(tmp_path / name, 9 * HOUR)
    land("v.mp4")
    assert len(list(tmp_path.iterdir())) == 4


def test_part_file_names_are_unique_hidden_and_recognised() -> None:
    names = {part_files.new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(part_files.is_part_file(name) and name.startswith(".") for name in names)


@given(st.text(max_size=60))
def test_other_names_are_not_part_files(text: str) -> None:
    assert not part_files.is_part_file(text)
    assert not part_files.is_part_file(part_files.new_name() + text[:1] + "x")


def test_a_part_file_is_abandoned_after_more_than_an_hour() -> None:
    assert not part_files.is_abandoned(NOW - HOUR, NOW)
    assert part_files.is_abandoned(NOW - HOUR - timedelta(microseconds=1), NOW)
