# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing on an SFTP server, which shows what is being written: a hidden part file first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncssh.sftp import SFTPClient, SFTPClientFile, SFTPOpUnsupported

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, StorageUnreachable, TargetExists
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.landing.storage import storage_path
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import atomic_writer, part_files
from airflow_provider_vidgen.models import VideoJob
from dev.loopback import free_port
from dev.servers.storage import LocalSftp
from dev.servers.video_server import VideoServer, write_random_mp4

#: More than one write.
LARGE = 9 * 1024**2 + 7
OPTIONS = UploadOptions(content_type="video/mp4")


@pytest.fixture
def folder(sftp: LocalSftp, request: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the server, ``/here``."""
    monkeypatch.setenv("AIRFLOW_CONN_SFTP_DEFAULT", sftp.connection)
    found = sftp.folder / f"{len(list(sftp.folder.iterdir()))}-{request.node.originalname}"
    found.mkdir()
    link = sftp.folder / "here"
    link.unlink(missing_ok=True)
    link.symlink_to(found.name)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    with VideoServer(tmp_path).running() as found:
        yield found


def landing(**kwargs: Any) -> Landing:
    extra = {"vendor": "apixo", "allow_private_urls": True}
    settings = ConnectionSettings.read(
        "sftp", host="http://127.0.0.1:9", password="sim-0123456789abcdef", extra=extra
    )
    return Landing(settings, verify=False, sleep=lambda _: None, **kwargs)


def land(server: VideoServer, name: str = "here/v.mp4", *, task_id: str = "task_1", **kwargs: Any) -> Any:
    job = VideoJob(vendor="apixo", base_url="http://127.0.0.1:9", model="grok-video", task_id=task_id)
    return landing(**kwargs).land([f"{server.url}/film.mp4"], f"sftp://sftp_default@/{name}", job=job)[0]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_video_lands_with_its_sidecar_and_is_recognised(server: VideoServer, folder: Path) -> None:
    digest = write_random_mp4(server.folder / "film.mp4", LARGE)
    first = land(server, "here/a/b/v.mp4")
    assert (first["bytes"], first["sha256"]) == (LARGE, digest)
    assert names(folder) == ["a/b/v.mp4", "a/b/v.mp4.json"]
    assert (folder / "a/b/v.mp4").read_bytes() == (server.folder / "film.mp4").read_bytes()
    assert json.loads((folder / "a/b/v.mp4.json").read_text())["file"]["sha256"] == digest
    asked = sum(server.methods.values())
    assert land(server, "here/a/b/v.mp4") == {**first, "already_existed": True}
    assert sum(server.methods.values()) == asked
    assert landing().files_exist([first])
    with pytest.raises(TargetExists):
        land(server, "here/a/b/v.mp4", task_id="task_2")


def test_nothing_appears_under_the_final_name_before_the_commit(folder: Path) -> None:
    target = storage_path("sftp://sftp_default@/here/v.mp4")
    with atomic_writer(target, overwrite=False, options=OPTIONS) as sink:
        for _ in range(3):
            sink.write(bytes(LARGE))
            (name,) = names(folder)
            assert part_files.is_part_file(name)
        sink.restart()
        sink.write(b"whole")
    assert names(folder) == ["v.mp4"]
    assert (folder / "v.mp4").read_bytes() == b"whole"


@pytest.mark.parametrize("server_can", [True, False], ids=["fsync", "no fsync"])
def test_bytes_are_flushed_to_the_servers_disk_before_the_rename(
    folder: Path, server_can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    rename, flush = SFTPClient.rename, SFTPClientFile.fsync

    async def note_name(*args: Any) -> None:
        steps.append("named")
        await rename(*args)

    async def note_flush(file: SFTPClientFile) -> None:
        if not server_can:
            raise SFTPOpUnsupported("fsync not supported")
        await flush(file)
        steps.append("flushed")

    monkeypatch.setattr(SFTPClient, "rename", note_name)
    monkeypatch.setattr(SFTPClientFile, "fsync", note_flush)
    with atomic_writer(
        storage_path("sftp://sftp_default@/here/v.mp4"), overwrite=False, options=OPTIONS
    ) as sink:
        sink.write(b"whole")
    assert steps == (["flushed", "named"] if server_can else ["named"])
    assert names(folder) == ["v.mp4"]


def test_a_disk_that_is_full_at_the_end_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: SFTPClientFile) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(SFTPClientFile, "fsync", fail)
    target = storage_path("sftp://sftp_default@/here/v.mp4")
    with (
        pytest.raises(OSError, match="No space left"),
        atomic_writer(target, overwrite=False, options=OPTIONS) as sink,
    ):
        sink.write(b"half")
    assert names(folder) == []


def test_a_broken_download_leaves_nothing(server: VideoServer, folder: Path) -> None:
    write_random_mp4(server.folder / "film.mp4", 5000)
    (server.folder / "film.mp4").write_bytes((server.folder / "film.mp4").read_bytes()[:-1])
    with pytest.raises(DownloadFailed):
        land(server)
    assert names(folder) == []


@pytest.mark.parametrize("server_can", [True, False], ids=["posix-rename", "only rename"])
def test_another_file_is_replaced_with_overwrite(
    server: VideoServer, folder: Path, server_can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise SFTPOpUnsupported("POSIX rename not supported")

    if not server_can:
        monkeypatch.setattr(SFTPClient, "posix_rename", refuse)
    write_random_mp4(server.folder / "film.mp4", 5000)
    (folder / "v.mp4").write_bytes(b"old")
    land(server, overwrite=True, sidecar=False)
    assert (folder / "v.mp4").read_bytes() == (server.folder / "film.mp4").read_bytes()
    assert names(folder) == ["v.mp4"]
    (folder / "v.mp4").unlink()
    land(server, overwrite=True, sidecar=False)
    assert names(folder) == ["v.mp4"]


def test_abandoned_part_files_are_removed(server: VideoServer, folder: Path) -> None:
    write_random_mp4(server.folder / "film.mp4", 5000)
    dead, alive, foreign = part_files.new_name(), part_files.new_name(), ".somebody-elses.part"
    for name in (dead, alive, foreign):
        (folder / name).write_bytes(b"half")
    hours_ago = time.time() - 3700
    for name in (dead, foreign):
        os.utime(folder / name, (hours_ago, hours_ago))
    land(server, sidecar=False)
    assert names(folder) == sorted([alive, foreign, "v.mp4"])
    later = datetime.now(UTC) + timedelta(hours=1, seconds=5)
    assert land(server, sidecar=False, now=lambda: later)["already_existed"]
    assert names(folder) == sorted([foreign, "v.mp4"])


@pytest.mark.parametrize("path", ["here/v.mp4", "here/", "here/a/b/{task_id}.mp4"])
def test_a_writable_folder_is_accepted_and_left_unchanged(folder: Path, path: str) -> None:
    assert landing().target_problems(f"sftp://sftp_default@/{path}") == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path", ["read-only/v.mp4", "read-only/", "read-only/a/{task_id}.mp4"])
def test_a_folder_without_write_permission_is_refused_before_payment(
    sftp: LocalSftp, folder: Path, path: str
) -> None:
    (sftp.folder / "read-only").mkdir(exist_ok=True)
    (problem,) = landing().target_problems(f"sftp://sftp_default@/{path}")
    assert problem.constraint == (
        "must be where this worker may write: /read-only does not accept files "
        "(SFTPPermissionDenied: Permission denied)"
    )


def test_an_existing_file_and_a_folder_under_a_file_are_refused(folder: Path) -> None:
    (folder / "v.mp4").write_bytes(b"x")
    (taken,) = landing().target_problems("sftp://sftp_default@/here/v.mp4")
    assert taken.constraint == "must not exist yet: there is already a file"
    (under,) = landing().target_problems("sftp://sftp_default@/here/v.mp4/w.mp4")
    assert under.constraint == "must not be under /here/v.mp4, which is not a folder"


@pytest.mark.usefixtures("folder")
def test_a_folder_in_the_place_of_the_host_is_refused() -> None:
    (problem,) = landing().target_problems("sftp://sftp_default@here/v.mp4")
    assert problem.constraint == (
        "must have / after the connection: 'here' is in the place of the host, which is '127.0.0.1'"
    )
    assert landing().target_problems("sftp://sftp_default@127.0.0.1/here/v.mp4") == []


def test_a_server_that_does_not_answer_is_unreachable_before_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    account = {"conn_type": "sftp", "host": "127.0.0.1", "port": free_port(), "login": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_SILENT_SFTP", json.dumps({**account, "password": "secret-0123456789"}))
    with pytest.raises(StorageUnreachable, match=r"Nothing was spent\..*a retry checks again") as found:
        landing().target_problems("sftp://silent_sftp@/v.mp4")
    assert "secret" not in str(found.value)


def test_a_part_file_of_a_lost_connection_is_left_to_the_next_landing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("Connection lost")

    target = storage_path("sftp://sftp_default@/here/v.mp4")

    def break_off() -> None:
        with atomic_writer(target, overwrite=False, options=OPTIONS) as sink:
            sink.write(b"half")
            monkeypatch.setattr(target.fs, "rm_file", gone)
            raise RuntimeError("the first error")

    with pytest.raises(RuntimeError, match="the first error"):
        break_off()
    assert "could not be removed (ConnectionError)" in caplog.text
    (name,) = names(folder)
    assert part_files.is_part_file(name)
