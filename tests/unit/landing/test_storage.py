# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Whether delivered files still exist, complete; a storage error is not taken for a missing file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fake_cdn import FRESH, LINK, Cdn, whole
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing, storage
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

Manifests = list[dict[str, Any]]


@pytest.fixture
def landing() -> Landing:
    return Landing(settings(), verify=False, sleep=Clock().sleep)


@pytest.fixture
def landed(landing: Landing, cdn: Cdn, tmp_path: Path) -> Manifests:
    """Two landed files of a job, and their manifests."""
    cdn.replies = {LINK: [whole()], FRESH: [whole(MP4 + b"2")]}
    return landing.land([LINK, FRESH], f"file://{tmp_path}/", job=job())


def test_complete_files_exist(landing: Landing, landed: Manifests) -> None:
    assert landing.files_exist(landed)
    assert landing.files_exist(landed[1:])


def test_no_manifests_means_no_files(landing: Landing) -> None:
    assert not landing.files_exist([])


HARMS: dict[str, Callable[[Path], Any]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes((MP4 + b"2")[:-1]),
    "longer": lambda path: path.write_bytes(MP4 + b"22"),
    "another of the same length": lambda path: path.write_bytes(MP4 + b"3"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "its folder is a file": lambda path: (path.parent.rename(f"{path.parent}-2"), path.parent.write_text("")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_one_changed_file_is_sufficient(harm: str, landing: Landing, landed: Manifests) -> None:
    HARMS[harm](Path(landed[1]["path"].removeprefix("file://")))
    assert not landing.files_exist(landed)


@pytest.mark.parametrize("name", ["path", "bytes", "sha256"])
@pytest.mark.parametrize("left", ["absent", None, "", 7, ["x"]])
def test_an_incomplete_manifest_matches_no_file(
    name: str, left: Any, landing: Landing, landed: Manifests
) -> None:
    landed[1][name] = left
    if left == "absent":
        del landed[1][name]
    assert not landing.files_exist(landed)


class Closed(MemoryFileSystem):  # type: ignore[misc]
    """A store that does not answer."""

    protocol = "s3"

    def info(self, path: str, **_: Any) -> Any:
        raise PermissionError("GET https://store.example.com/b?sig=s3cret: Forbidden")


def test_a_storage_error_is_not_taken_for_a_missing_file(landing: Landing, landed: Manifests) -> None:
    attach("s3", conn_id="closed_now", fs=Closed())
    landed[1]["path"] = "s3://closed_now@b/v.mp4"
    with pytest.raises(
        StorageUnreachable, match=r"still exists could not be checked.*a retry checks again\.$"
    ) as found:
        landing.files_exist(landed)
    assert not found.value.fatal
    assert "s3cret" not in str(found.value)
    assert "submits" not in str(found.value)


def test_a_storage_that_is_not_installed_is_not_taken_for_a_missing_file(landing: Landing) -> None:
    with pytest.raises(StorageUnreachable):
        landing.files_exist([{"path": "nostorage://b/v.mp4", "bytes": 1, "sha256": "x"}])


class Unreadable(MemoryFileSystem):  # type: ignore[misc]
    """A store that an account may not read, or that fails."""

    error: Exception = PermissionError("no")

    def exists(self, path: str, **_: Any) -> bool:
        raise self.error

    def open(self, path: str, *_: Any, **__: Any) -> Any:
        raise self.error


def test_a_forbidden_check_means_that_the_file_does_not_exist() -> None:
    attach("s3", conn_id="unreadable", fs=Unreadable())
    path = storage.storage_path("s3://unreadable@b/v.mp4")
    assert not storage.exists(path)
    assert not storage.has_content(path, "x")


def test_a_temporary_error_of_a_check_is_raised(tmp_path: Path) -> None:
    file_system = Unreadable()
    file_system.error = ConnectionError("reset")
    attach("s3", conn_id="unreadable_now", fs=file_system)
    path = storage.storage_path("s3://unreadable_now@b/v.mp4")
    with pytest.raises(ConnectionError):
        storage.exists(path)
    with pytest.raises(ConnectionError):
        storage.has_content(path, "x")
