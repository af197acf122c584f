# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Storage that shows what is being written: a hidden part file first, then a rename."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.io import attach
from fake_cdn import LINK, Cdn, whole
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.landing.storage import storage_path
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import atomic_writer, part_files
from tests.support.accounts import job, settings
from tests.support.vendor_replies import MP4

OPTIONS = UploadOptions(content_type="video/mp4")


class Memory(MemoryFileSystem):  # type: ignore[misc]
    """A memory file system; Airflow caches the file system of each connection."""

    cachable = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.url = f"memory://{name}@videos"
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]


@pytest.fixture
def memory() -> Memory:
    name = uuid.uuid4().hex
    found = Memory(name)
    attach("memory", conn_id=name, fs=found)
    return found


def seen(memory: Memory) -> list[str]:
    return sorted(memory.store)


def constraints(memory: Memory) -> list[str]:
    problems = Landing(settings(), verify=False).target_problems(f"{memory.url}/{{task_id}}.mp4")
    return [problem.constraint for problem in problems]


def test_nothing_appears_under_the_final_name_before_the_commit(memory: Memory) -> None:
    target = storage_path(f"{memory.url}/v.mp4")
    with atomic_writer(target, overwrite=False, options=OPTIONS) as sink:
        sink.write(MP4)
        assert not memory.exists("/videos/v.mp4")
        sink.restart()
        sink.write(MP4)
    assert seen(memory) == ["/videos/v.mp4"]
    assert memory.cat_file("/videos/v.mp4") == MP4


def test_an_interrupted_write_leaves_nothing(memory: Memory) -> None:
    def break_off() -> None:
        with atomic_writer(storage_path(f"{memory.url}/v.mp4"), overwrite=False, options=OPTIONS) as sink:
            sink.write(bytes(5 * 1024**2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert seen(memory) == []


def test_a_video_lands(memory: Memory, cdn: Cdn) -> None:
    cdn.replies[LINK] = [whole()]
    landing = Landing(settings(), verify=False)
    (file,) = landing.land([LINK], f"{memory.url}/v.mp4", job=job())
    assert not file["already_existed"]
    assert landing.land([LINK], f"{memory.url}/v.mp4", job=job())[0]["already_existed"]
    assert seen(memory) == ["/videos/v.mp4", "/videos/v.mp4.json"]


def test_storage_that_renames_is_accepted_and_left_unchanged(memory: Memory) -> None:
    memory.makedirs("/videos")
    assert constraints(memory) == []
    assert seen(memory) == []


def test_storage_that_cannot_rename_is_refused(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(memory, "mv", refuse)
    (problem,) = constraints(memory)
    assert "does not accept files (files would not appear atomically: NotImplementedError" in problem
    assert seen(memory) == []


@pytest.mark.parametrize("spoils", ["leaves", "cuts"])
def test_storage_that_renames_incorrectly_is_refused(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, spoils: str
) -> None:
    def move(path: str, final: str, **_: Any) -> None:
        memory.pipe_file(final, memory.cat_file(path)[: 6 if spoils == "leaves" else 3])
        if spoils == "cuts":
            memory.rm_file(path)

    monkeypatch.setattr(memory, "mv", move)
    (problem,) = constraints(memory)
    assert "a renamed file is missing or incomplete" in problem
    assert seen(memory) == []


def test_a_storage_error_is_retryable(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(memory, "mv", fail)
    with pytest.raises(StorageUnreachable, match="the disk is full"):
        constraints(memory)


def test_an_existing_name_is_replaced_only_with_overwrite(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For storage that refuses an existing name itself."""
    move = memory.mv

    def exclusive(path: str, final: str, **kwargs: Any) -> None:
        if memory.exists(final):
            raise FileExistsError(final)
        move(path, final, **kwargs)

    monkeypatch.setattr(memory, "mv", exclusive)
    monkeypatch.setattr("airflow_provider_vidgen.landing.writers.exists", lambda _: False)
    memory.pipe_file("/videos/v.mp4", b"old")
    target = storage_path(f"{memory.url}/v.mp4")
    from airflow_provider_vidgen.errors import TargetExists

    with pytest.raises(TargetExists), atomic_writer(target, overwrite=False, options=OPTIONS) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == b"old"
    with atomic_writer(target, overwrite=True, options=OPTIONS) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == MP4
    assert seen(memory) == ["/videos/v.mp4"]


@pytest.mark.parametrize("zone", [UTC, None])
def test_abandoned_part_files_are_removed_unless_their_age_is_unknown(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, zone: Any
) -> None:
    old, timeless = (f"/videos/{part_files.new_name()}" for _ in range(2))
    for path in (old, timeless):
        memory.pipe_file(path, b"half")

    def modified(path: str) -> datetime:
        if path == timeless:
            raise NotImplementedError
        return (datetime.now(UTC) - timedelta(hours=2)).replace(tzinfo=zone)

    monkeypatch.setattr(memory, "modified", modified)
    with atomic_writer(storage_path(f"{memory.url}/v.mp4"), overwrite=False, options=OPTIONS) as sink:
        sink.write(MP4)
    assert seen(memory) == sorted([timeless, "/videos/v.mp4"])


def test_a_folder_that_cannot_be_listed_does_not_fail_the_write(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(memory, "ls", refuse)
    with atomic_writer(storage_path(f"{memory.url}/v.mp4"), overwrite=False, options=OPTIONS) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == MP4
