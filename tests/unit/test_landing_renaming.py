# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Storage that shows what is being written: a hidden name first, or no video at all."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from test_landing import LINK, Cdn, cdn, whole  # noqa: F401

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing, parts
from airflow_provider_vidgen.landing.described import Described
from airflow_provider_vidgen.landing.places import place_at
from airflow_provider_vidgen.landing.storing import whole_or_absent
from tests.support.accounts import job, settings
from tests.support.vendor_replies import MP4

FILM = Described(content_type="video/mp4")


class Memory(MemoryFileSystem):  # type: ignore[misc]
    """A memory of its own; Airflow keeps the file system of each connection."""

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


def told(memory: Memory) -> list[str]:
    problems = Landing(settings(), verify=False).target_problems(f"{memory.url}/{{task_id}}.mp4")
    return [problem.allowed for problem in problems]


def test_nothing_is_seen_under_the_name_before_the_end(memory: Memory) -> None:
    target = place_at(f"{memory.url}/v.mp4")
    with whole_or_absent(target, overwrite=False, described=FILM) as sink:
        sink.write(MP4)
        assert not memory.exists("/videos/v.mp4")
        sink.restart()
        sink.write(MP4)
    assert seen(memory) == ["/videos/v.mp4"]
    assert memory.cat_file("/videos/v.mp4") == MP4


def test_what_breaks_off_leaves_nothing(memory: Memory) -> None:
    def break_off() -> None:
        with whole_or_absent(place_at(f"{memory.url}/v.mp4"), overwrite=False, described=FILM) as sink:
            sink.write(bytes(5 * 1024**2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert seen(memory) == []


def test_a_video_lands(memory: Memory, cdn: Cdn) -> None:  # noqa: F811
    cdn.replies[LINK] = [whole()]
    landing = Landing(settings(), verify=False)
    (file,) = landing.land([LINK], f"{memory.url}/v.mp4", job=job())
    assert not file["already_there"]
    assert landing.land([LINK], f"{memory.url}/v.mp4", job=job())[0]["already_there"]
    assert seen(memory) == ["/videos/v.mp4", "/videos/v.mp4.json"]


def test_storage_that_renames_passes_and_stays_as_it_was(memory: Memory) -> None:
    memory.makedirs("/videos")
    assert told(memory) == []
    assert seen(memory) == []


def test_storage_that_cannot_rename_is_told(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(memory, "mv", refuse)
    (problem,) = told(memory)
    assert "takes no files (files could not be shown whole or not at all: NotImplementedError" in problem
    assert seen(memory) == []


@pytest.mark.parametrize("spoils", ["leaves", "cuts"])
def test_storage_that_does_not_rename_as_it_should_is_told(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, spoils: str
) -> None:
    def move(path: str, final: str, **_: Any) -> None:
        memory.pipe_file(final, memory.cat_file(path)[: 6 if spoils == "leaves" else 3])
        if spoils == "cuts":
            memory.rm_file(path)

    monkeypatch.setattr(memory, "mv", move)
    (problem,) = told(memory)
    assert "a file that was renamed is not there, or not whole" in problem
    assert seen(memory) == []


def test_storage_in_trouble_may_be_better_for_the_next_try(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(memory, "mv", fail)
    with pytest.raises(StorageUnreachable, match="the disk is full"):
        told(memory)


def test_a_name_that_is_taken_is_replaced_only_where_it_is_asked_for(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of storage that refuses such a name itself."""
    move = memory.mv

    def exclusive(path: str, final: str, **how: Any) -> None:
        if memory.exists(final):
            raise FileExistsError(final)
        move(path, final, **how)

    monkeypatch.setattr(memory, "mv", exclusive)
    monkeypatch.setattr("airflow_provider_vidgen.landing.storing.exists", lambda _: False)
    memory.pipe_file("/videos/v.mp4", b"old")
    target = place_at(f"{memory.url}/v.mp4")
    from airflow_provider_vidgen.errors import TargetExists

    with pytest.raises(TargetExists), whole_or_absent(target, overwrite=False, described=FILM) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == b"old"
    with whole_or_absent(target, overwrite=True, described=FILM) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == MP4
    assert seen(memory) == ["/videos/v.mp4"]


@pytest.mark.parametrize("zone", [UTC, None])
def test_what_is_abandoned_goes_and_what_tells_no_time_stays(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, zone: Any
) -> None:
    old, timeless = (f"/videos/{parts.new_name()}" for _ in range(2))
    for path in (old, timeless):
        memory.pipe_file(path, b"half")

    def modified(path: str) -> datetime:
        if path == timeless:
            raise NotImplementedError
        return (datetime.now(UTC) - timedelta(hours=2)).replace(tzinfo=zone)

    monkeypatch.setattr(memory, "modified", modified)
    with whole_or_absent(place_at(f"{memory.url}/v.mp4"), overwrite=False, described=FILM) as sink:
        sink.write(MP4)
    assert seen(memory) == sorted([timeless, "/videos/v.mp4"])


def test_a_folder_that_cannot_be_looked_through_is_no_trouble(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(memory, "ls", refuse)
    with whole_or_absent(place_at(f"{memory.url}/v.mp4"), overwrite=False, described=FILM) as sink:
        sink.write(MP4)
    assert memory.cat_file("/videos/v.mp4") == MP4
