# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Where files are to land: looked at before anything is paid, and named after their job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fakes import job, settings
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_vidgen.errors import InvalidRequest, StorageUnreachable
from airflow_provider_vidgen.landing import Landing, target_for

LINK, FRESH = "https://cdn.example.com/a?sig=s3cret", "https://cdn.example.com/b"


@pytest.mark.parametrize("path", ["free.mp4", "{task_id}.mp4", "folder/"])
def test_a_target_that_may_be_free_passes(path: str, tmp_path: Path) -> None:
    Landing(settings()).check_target(f"file://{tmp_path}/{path}")


def test_an_occupied_target_is_refused_with_nothing_spent(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="Nothing was spent"):
        Landing(settings()).check_target(f"file://{tmp_path}/v.mp4")
    Landing(settings(), overwrite=True).check_target(f"file://{tmp_path}/v.mp4")


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("file:///v/a.mp4", "file:///v/a.mp4"),
        ("file:///v/{{ ds }}.mp4", "file:///v/2026-11-21.mp4"),
        ("{{ params['folder'] }}/{{ run_id | lower }}.{ext}", "file:///v/r.{ext}"),
        ("file:///v/{% if dag.dag_id %}{index}{% endif %}", "file:///v/{index}"),
        ("{{ var.value.path }}", "file:///v/a"),
    ],
)
def test_one_path_for_all_mapped_tasks_is_refused_with_nothing_spent(written: str, rendered: str) -> None:
    for overwrite in (True, False):
        with pytest.raises(InvalidRequest, match=r"(?s)must differ between mapped tasks.*Nothing was spent"):
            Landing(settings(), overwrite=overwrite).check_target(rendered, written=written)


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        (None, "v.mp4"),
        (object(), "v.mp4"),
        ("{{ ds }}/{task_id}.mp4", "2026/{task_id}.mp4"),
        ("{model}.mp4", "{model}.mp4"),
        ("{vendor}.mp4", "{vendor}.mp4"),
        ("v-{map_index}.mp4", "v-{map_index}.mp4"),
        ("{{ ti.map_index }}.mp4", "0.mp4"),
        ("{{ task.prompt | my_filter }}.mp4", "cat.mp4"),
        ("{{ my_macro() }}.mp4", "cat.mp4"),
        ("{{ macros.uuid.uuid4() }}.mp4", "cat.mp4"),
        ("{% my_tag %}.mp4", "cat.mp4"),
        ("folder/", "folder/"),
        ("{{ var.value.folder }}", "folder/"),
    ],
)
def test_a_path_that_may_differ_between_mapped_tasks_passes(
    written: object, rendered: str, tmp_path: Path
) -> None:
    Landing(settings()).check_target(f"file://{tmp_path}/{rendered}", written=written)


def test_a_local_target_loads_no_other_storage(tmp_path: Path) -> None:
    """For each video it would take a worker as much time as all else that the package does."""
    code = f"""
import sys
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.transport.settings import ConnectionSettings
account = ConnectionSettings.read("c", host=None, password="sk-12345678", extra={{"vendor": "apixo"}})
for path in ("file://{tmp_path}/a.mp4", "{tmp_path}/b.mp4"):
    Landing(account).check_target(path)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"boto3", "botocore", "s3fs", "aiobotocore"}}))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", ["nostorage://b/v.mp4", "nostorage://b/", "nostorage://b/{index}"])
def test_a_storage_that_is_not_here_is_refused_with_nothing_spent(path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"(?s)output_path=.*Unsupported filesystem.*Nothing was spent"):
        Landing(settings()).check_target(path)


class Closed(MemoryFileSystem):  # type: ignore[misc]
    """A bucket store that lets nobody look at its buckets."""

    protocol = "s3"

    def exists(self, path: str, **_: Any) -> bool:
        return False

    def info(self, path: str, **_: Any) -> Any:
        raise self.trouble

    trouble: Exception = PermissionError("Forbidden")


def test_who_may_not_look_at_the_bucket_may_land_in_it() -> None:
    attach("s3", conn_id="closed", fs=Closed())
    Landing(settings()).check_target("s3://closed@b/v.mp4")


def test_a_storage_in_trouble_is_told_without_its_secrets() -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise RuntimeError("GET https://store.example.com/b?sig=s3cret failed")

    storage = Closed()
    storage.exists = fail
    attach("s3", conn_id="broken", fs=storage)
    with pytest.raises(StorageUnreachable, match=r"RuntimeError: GET https://store\.example\.com/") as found:
        Landing(settings()).check_target("s3://broken@b/{task_id}.mp4")
    assert "s3cret" not in str(found.value)


def name(output_path: str, *, task_id: str = "task_1", index: int = 0, of: int = 1, **more: Any) -> str:
    return target_for(
        output_path, **{"job": job(task_id=task_id), "index": index, "of": of, "map_index": -1, **more}
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("s3://b/v.mp4", "s3://b/v.mp4"),
        ("s3://b/f/", "s3://b/f/task_1-0.mp4"),
        ("s3://c@b/{vendor}/{model}/{task_id}.{ext}", "s3://c@b/apixgo/grok-image-video/task_1.mp4"),
        ("s3://b/{index}-{map_index}", "s3://b/0--1"),
        ("s3://b/{prompt}/{unknown}", "s3://b/{prompt}/{unknown}"),
        ("s3://b/{{x}}", "s3://b/{{x}}"),
        ("s3://b/100%/{0}", "s3://b/100%/{0}"),
    ],
)
def test_known_fields_are_filled_in_and_nothing_else_is_touched(given: str, named: str) -> None:
    assert name(given) == named


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("s3://b/v.mp4", "s3://b/v-1.mp4"),
        ("s3://b/v", "s3://b/v-1"),
        ("s3://b.c/v", "s3://b.c/v-1"),
        ("s3://b/v-{index}.mp4", "s3://b/v-1.mp4"),
        ("s3://b/f/", "s3://b/f/task_1-1.mp4"),
    ],
)
def test_several_files_of_a_job_have_different_names(given: str, named: str) -> None:
    assert name(given, index=1, of=2) == named
    assert name(given, index=0, of=2) != named


@pytest.mark.parametrize(
    "task_id", ["../../etc/passwd", "..", "/etc/passwd", "a/b", "a\\b", "a\0b", "a b?c#d", "."]
)
@pytest.mark.parametrize("given", ["/base/{task_id}.mp4", "/base/{task_id}/v.mp4", "/base/"])
def test_a_vendors_id_does_not_lead_out_of_the_folder(task_id: str, given: str) -> None:
    path = name(given, task_id=task_id)
    assert path.startswith("/base/")
    assert ".." not in path.split("/")
    assert path.count("/") == given.count("/")
    assert not set(path) & set("\\\0?# ")


def test_a_link_alone_names_its_file_the_same_at_each_try() -> None:
    named = [
        target_for("/f/", job=None, index=0, of=1, map_index=-1, link=link) for link in (LINK, LINK, FRESH)
    ]
    assert named[0] == named[1] != named[2]
    assert "s3cret" not in named[0]


def test_a_job_without_an_id_gets_a_name_all_the_same() -> None:
    assert name("/f/", task_id="", link=LINK) == target_for(
        "/f/", job=None, index=0, of=1, map_index=-1, link=LINK
    )
