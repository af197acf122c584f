# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Whether a video that was delivered is still there: every file, whole; and trouble is no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from test_landing import FRESH, LINK, Cdn, cdn, whole  # noqa: F401

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing
from tests.support.accounts import job, settings
from tests.support.clock import Clock
from tests.support.vendor_replies import MP4

Manifests = list[dict[str, Any]]


@pytest.fixture
def landing() -> Landing:
    return Landing(settings(), verify=False, sleep=Clock().sleep)


@pytest.fixture
def landed(landing: Landing, cdn: Cdn, tmp_path: Path) -> Manifests:  # noqa: F811
    """Two files of a job, and what was told of them."""
    cdn.replies = {LINK: [whole()], FRESH: [whole(MP4 + b"2")]}
    return landing.land([LINK, FRESH], f"file://{tmp_path}/", job=job())


def test_files_that_are_there_whole_are_there(landing: Landing, landed: Manifests) -> None:
    assert landing.still_there(landed)
    assert landing.still_there(landed[1:])


def test_without_files_nothing_is_there(landing: Landing) -> None:
    assert not landing.still_there([])


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
def test_one_file_that_is_not_as_it_was_is_enough(harm: str, landing: Landing, landed: Manifests) -> None:
    HARMS[harm](Path(landed[1]["path"].removeprefix("file://")))
    assert not landing.still_there(landed)


@pytest.mark.parametrize("name", ["path", "bytes", "sha256"])
@pytest.mark.parametrize("left", ["absent", None, "", 7, ["x"]])
def test_a_manifest_that_does_not_say_all_tells_of_no_file(
    name: str, left: Any, landing: Landing, landed: Manifests
) -> None:
    landed[1][name] = left
    if left == "absent":
        del landed[1][name]
    assert not landing.still_there(landed)


class Closed(MemoryFileSystem):  # type: ignore[misc]
    """A store that does not answer."""

    protocol = "s3"

    def info(self, path: str, **_: Any) -> Any:
        raise PermissionError("GET https://store.example.com/b?sig=s3cret: Forbidden")


def test_a_storage_in_trouble_is_no_answer(landing: Landing, landed: Manifests) -> None:
    attach("s3", conn_id="closed_now", fs=Closed())
    landed[1]["path"] = "s3://closed_now@b/v.mp4"
    with pytest.raises(
        StorageUnreachable, match=r"still there could not be found out.*a retry looks again\.$"
    ) as found:
        landing.still_there(landed)
    assert not found.value.ends_retries
    assert "s3cret" not in str(found.value)
    assert "submits" not in str(found.value)


def test_a_storage_that_is_not_installed_here_is_no_answer(landing: Landing) -> None:
    with pytest.raises(StorageUnreachable):
        landing.still_there([{"path": "nostorage://b/v.mp4", "bytes": 1, "sha256": "x"}])
