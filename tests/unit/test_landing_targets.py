# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Where files are to land: looked at before anything is paid, and named after their job."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_vidgen.errors import StorageUnreachable
from airflow_provider_vidgen.landing import Landing, target_for
from tests.support.accounts import job, settings

LINK, FRESH = "https://cdn.example.com/a?sig=s3cret", "https://cdn.example.com/b"


def told(output_path: Any, *, written: object = None, **how: Any) -> list[str]:
    """What is wrong with a target."""
    problems = Landing(settings(), **how).target_problems(output_path, written=written)
    assert all(problem.field == "output_path" and problem.rejects for problem in problems)
    return [problem.allowed for problem in problems]


@pytest.mark.parametrize(
    "path",
    [
        "free.mp4",
        "{task_id}.mp4",
        "{task_id}.{ext}",
        "{vendor}/{model}/{task_id}-{index}-{map_index}.{ext}",
        "{index}.webm",
        "a/b/c.mp4",
        "2026.11/v1.2.mp4",
        "100%/Nona/nanny/none.mp4",
        "folder/",
        "{vendor}/",
        "not yet/there/",
        "",
    ],
)
def test_a_target_that_may_be_free_passes(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(f"file://{tmp_path}/{path}") == []
    assert told(f"{tmp_path}/{path}") == []
    assert not path or told(path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_path_from_the_users_home_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_vidgen.landing.places import place_at

    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_at("~/a/v.mp4").path == f"{tmp_path}/a/v.mp4"
    (tmp_path / "v.mp4").write_bytes(b"x")
    assert told("~/v.mp4") == ["must be free: there is already a file"]


def test_an_occupied_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    assert told(f"file://{tmp_path}/v.mp4") == ["must be free: there is already a file"]
    assert told(f"file://{tmp_path}/v.mp4", overwrite=True) == []


def test_a_file_whose_name_a_folder_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    for overwrite in (False, True):
        assert told(f"{tmp_path}/v.mp4", overwrite=overwrite) == ["must end in /, for it is a folder"]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("videos/{product}.mp4", "{product}:"),
        ("{product}/{task_id}.mp4", "{product}:"),
        ("{Task_ID}-{task-id}.mp4", "{Task_ID}, {task-id}:"),
        ("{index:03d}/{}/{0}/{}/", "{index:03d}, {}, {0}:"),
        ("{task_id.mp4", "{:"),
        ("task_id}.mp4", "}:"),
        ("{ task_id }.mp4", "{ task_id }:"),
    ],
)
def test_a_field_that_nothing_fills_in_is_refused(path: str, names: str, tmp_path: Path) -> None:
    (problem,) = told(f"{tmp_path}/{path}")
    assert problem.startswith(f"must not hold {names}")
    for field in ("{vendor}", "{model}", "{task_id}", "{index}", "{ext}", "{map_index}", "{{ params."):
        assert field in problem


@pytest.mark.parametrize(
    "path", ["s3://b/{{ product }}.mp4", "{{ x }}", "{% if x %}a{% endif %}.mp4", "{{x}}/"]
)
def test_a_template_that_was_not_rendered_is_refused(path: str) -> None:
    assert told(path)[0].startswith("must be rendered")
    assert not any("must not hold {" in problem for problem in told(path))


@pytest.mark.parametrize(
    "path",
    [
        "None",
        "nan",
        "/v/None.mp4",
        "/v/None/",
        "/v/nan/{task_id}.mp4",
        "NaT-{index}.{ext}",
        "/v/<NA>.mp4",
        "/v/{vendor}_None/v.mp4",
        "file:///v/NaN.mp4",
        "nostorage://None/v/",
        "nostorage://c@nan/v/",
    ],
)
def test_a_name_that_a_template_makes_of_nothing_is_refused(path: str) -> None:
    assert [problem for problem in told(path) if "as a template makes it" in problem]
    assert not any("as a template makes it" in problem for problem in told(path, written=path))


@pytest.mark.parametrize("path", ["", " ", "\n", None, 7, float("nan"), Path("/v/"), ["/v/"]])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    (problem,) = Landing(settings()).target_problems(path)
    kind = "must be a folder" if isinstance(path, str) else "must be text"
    assert problem.allowed.startswith(kind)
    assert problem.value == ("empty" if isinstance(path, str) else type(path).__name__)


@pytest.mark.parametrize(
    "path",
    [
        "videos",
        "/v/videos",
        "v/{task_id}",
        "v/.mp4",
        "v/2026.11",
        "v/v.",
        "file:///v",
        "nostorage://my.bucket",
        "nostorage://c@my.bucket/v",
        "nostorage://b",
    ],
)
def test_a_path_that_is_neither_a_folder_nor_a_file_is_refused(path: str) -> None:
    assert "must end in / if it is a folder, or in an extension such as .{ext} if it is a file" in told(path)


@pytest.mark.parametrize("path", ["v.mp4/w.mp4", "v.mp4/", "v.mp4/{task_id}.mp4", "v.mp4/a/b/", "gone/w.mp4"])
def test_a_folder_under_a_file_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    nearest = tmp_path / path.partition("/")[0]
    for overwrite in (False, True):
        assert told(f"{tmp_path}/{path}", overwrite=overwrite) == [
            f"must not lie under {nearest}, which is not a folder"
        ]


@pytest.mark.parametrize("path", ["/proc/v.mp4", "file:///proc/videos/{task_id}.mp4", "/proc/a/b/c/"])
def test_a_folder_that_takes_no_files_not_even_from_root_is_refused(path: str) -> None:
    (problem,) = told(path)
    assert problem.startswith("must be where this worker may write: /proc takes no files (")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("path", ["v.mp4", "{task_id}.mp4", "a/b/", "{vendor}/v.mp4"])
def test_a_folder_that_may_not_be_written_is_refused(
    code: int, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: str) -> Any:
        assert dir == str(tmp_path)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert told(f"{tmp_path}/{path}") == [
        f"must be where this worker may write: {tmp_path} takes no files ({os.strerror(code)})"
    ]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT])
def test_a_disk_in_trouble_may_be_better_for_the_next_try(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(dir: str) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(StorageUnreachable, match=os.strerror(code)):
        told(f"{tmp_path}/v.mp4")
    # What is wrong in any case is said at once.
    assert len(told(f"{tmp_path}/{{product}}.mp4")) == 1


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.room.can_play", lambda: False)
    problems = Landing(settings(), verify="fail").target_problems("/dev/null/None/{product}")
    assert [str(problem).partition(" ")[0] for problem in problems] == [
        "verify='fail':",
        *["output_path=/dev/null/None/{product}:"] * 4,
    ]


def test_a_signed_link_for_a_path_is_told_without_its_signature() -> None:
    (problem, *_) = Landing(settings()).target_problems("https://store.example.com/{product}?sig=s3cret")
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("file:///v/a.mp4", "file:///v/a.mp4"),
        ("file:///v/{{ ds }}.mp4", "file:///v/2026-11-21.mp4"),
        ("{{ params['folder'] }}/{{ run_id | lower }}.{ext}", "file:///v/r.{ext}"),
        ("file:///v/{% if dag.dag_id %}{index}.mp4{% endif %}", "file:///v/{index}.mp4"),
        ("{{ var.value.path }}", "file:///v/a.mp4"),
    ],
)
def test_one_path_for_all_mapped_tasks_is_refused_with_nothing_spent(written: str, rendered: str) -> None:
    for overwrite in (True, False):
        problems = told(rendered, written=written, overwrite=overwrite)
        assert problems == ["must differ between mapped tasks: end in /, or have {task_id} or {map_index}"]


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
    assert told(f"file://{tmp_path}/{rendered}", written=written) == []


def test_a_local_target_loads_no_other_storage(tmp_path: Path) -> None:
    """For each video it would take a worker as much time as all else that the package does."""
    code = f"""
import sys
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.transport.settings import ConnectionSettings
account = ConnectionSettings.read("c", host=None, password="sk-12345678", extra={{"vendor": "apixo"}})
for path in ("file://{tmp_path}/a.mp4", "{tmp_path}/b.mp4"):
    assert not Landing(account).target_problems(path)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"boto3", "botocore", "s3fs", "aiobotocore"}}))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", ["nostorage://b/v.mp4", "nostorage://b/", "nostorage://b/{index}.mp4"])
def test_a_storage_that_is_not_here_is_refused(path: str) -> None:
    (problem,) = told(path)
    assert "Unsupported filesystem" in problem


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
    assert told("s3://closed@b/v.mp4") == []


def test_a_storage_in_trouble_is_told_without_its_secrets() -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise RuntimeError("GET https://store.example.com/b?sig=s3cret failed")

    storage = Closed()
    storage.exists = fail
    attach("s3", conn_id="broken", fs=storage)
    with pytest.raises(StorageUnreachable, match=r"RuntimeError: GET https://store\.example\.com/") as found:
        told("s3://broken@b/{task_id}.mp4")
    assert "s3cret" not in str(found.value)


def name(output_path: str, *, task_id: str = "task_1", index: int = 0, of: int = 1, **more: Any) -> str:
    return target_for(
        output_path,
        **{"job": job(task_id=task_id), "index": index, "of": of, "map_index": -1, "ext": "mp4", **more},
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
        target_for("/f/", job=None, index=0, of=1, map_index=-1, ext="mp4", link=link)
        for link in (LINK, LINK, FRESH)
    ]
    assert named[0] == named[1] != named[2]
    assert "s3cret" not in named[0]


def test_a_job_without_an_id_gets_a_name_all_the_same() -> None:
    assert name("/f/", task_id="", link=LINK) == target_for(
        "/f/", job=None, index=0, of=1, map_index=-1, ext="mp4", link=LINK
    )
