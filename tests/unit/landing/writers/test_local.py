# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A local file's bytes are flushed before it gets its name, and the name before the landing returns."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import LINK, Cdn, whole

from airflow_provider_vidgen.landing import Landing
from tests.support.accounts import job, settings
from tests.support.vendor_replies import MP4


class Disk:
    """Records fsyncs and renames in order; each file is identified by its inode."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, hard_links: bool) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self._hard_links = hard_links
        for name in ("fsync", "link", "replace"):
            monkeypatch.setattr(os, name, self._observed(name, getattr(os, name)))

    def _observed(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def observed(what: Any, *more: Any, **kwargs: Any) -> Any:
            if name == "link" and not self._hard_links:
                raise PermissionError(1, "Operation not permitted")
            found = os.fstat(what) if name == "fsync" else Path(what).stat()
            if name != "fsync":
                self.seen.append(("named", found.st_ino, found.st_size))
            elif stat.S_ISDIR(found.st_mode):
                self.seen.append(("folder flushed", found.st_ino, 0))
            else:
                self.seen.append(("flushed", found.st_ino, found.st_size))
            return real(what, *more, **kwargs)

        return observed

    def steps(self, path: Path) -> list[tuple[str, int, int]]:
        inodes = (path.stat().st_ino, path.parent.stat().st_ino)
        return [step for step in self.seen if step[1] in inodes]


@pytest.mark.parametrize(
    ("overwrite", "hard_links"),
    [(False, True), (False, False), (True, True)],
    ids=["link", "rename", "replace"],
)
def test_a_power_failure_leaves_no_name_without_its_bytes(
    overwrite: bool,
    hard_links: bool,
    cdn: Cdn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cdn.replies[LINK] = [whole()]
    disk = Disk(monkeypatch, hard_links=hard_links)
    landing = Landing(settings(), overwrite=overwrite, verify=False, sidecar=False)
    landing.land([LINK], f"file://{tmp_path}/v.mp4", job=job())
    video, folder = (tmp_path / "v.mp4").stat().st_ino, tmp_path.stat().st_ino
    assert disk.steps(tmp_path / "v.mp4") == [
        ("flushed", video, len(MP4)),
        ("named", video, len(MP4)),
        ("folder flushed", folder, 0),
    ]


def test_a_disk_that_cannot_flush_folders_accepts_the_video(
    cdn: Cdn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(22, "Invalid argument")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    cdn.replies[LINK] = [whole()]
    Landing(settings(), verify=False).land([LINK], f"file://{tmp_path}/v.mp4", job=job())
    assert (tmp_path / "v.mp4").read_bytes() == MP4
