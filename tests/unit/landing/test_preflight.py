# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The target of files: checked before payment, and named after the job."""

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


def violations(output_path: Any, *, template: object = None, **kwargs: Any) -> list[str]:
    """The constraints that a target violates."""
    problems = Landing(settings(), **kwargs).target_problems(output_path, template=template)
    assert all(problem.field == "output_path" and problem.is_error for problem in problems)
    return [problem.constraint for problem in problems]


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
def test_a_free_target_has_no_problems(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert violations(f"file://{tmp_path}/{path}") == []
    assert violations(f"{tmp_path}/{path}") == []
    assert not path or violations(path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_the_users_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_vidgen.landing.storage import storage_path

    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_path("~/a/v.mp4").path == f"{tmp_path}/a/v.mp4"
    (tmp_path / "v.mp4").write_bytes(b"x")
    assert violations("~/v.mp4") == ["must not exist yet: there is already a file"]


def test_an_existing_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    assert violations(f"file://{tmp_path}/v.mp4") == ["must not exist yet: there is already a file"]
    assert violations(f"file://{tmp_path}/v.mp4", overwrite=True) == []


def test_a_file_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    for overwrite in (False, True):
        assert violations(f"{tmp_path}/v.mp4", overwrite=overwrite) == ["must end in /, since it is a folder"]


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
def test_an_unknown_field_is_refused(path: str, names: str, tmp_path: Path) -> None:
    (problem,) = violations(f"{tmp_path}/{path}")
    assert problem.startswith(f"must not contain {names}")
    for field in ("{vendor}", "{model}", "{task_id}", "{index}", "{ext}", "{map_index}", "{{ params."):
        assert field in problem


@pytest.mark.parametrize(
    "path", ["s3://b/{{ product }}.mp4", "{{ x }}", "{% if x %}a{% endif %}.mp4", "{{x}}/"]
)
def test_a_template_that_was_not_rendered_is_refused(path: str) -> None:
    assert violations(path)[0].startswith("must be rendered")
    assert not any("must not contain {" in problem for problem in violations(path))


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
def test_a_rendered_missing_value_is_refused(path: str) -> None:
    assert [problem for problem in violations(path) if "which a template renders" in problem]
    assert not any("which a template renders" in problem for problem in violations(path, template=path))


@pytest.mark.parametrize("path", ["", " ", "\n", None, 7, float("nan"), Path("/v/"), ["/v/"]])
def test_an_empty_path_or_another_type_is_refused(path: Any) -> None:
    (problem,) = Landing(settings()).target_problems(path)
    kind = "must be a folder" if isinstance(path, str) else "must be text"
    assert problem.constraint.startswith(kind)
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
    assert "must end in / if it is a folder, or in an extension such as .{ext} if it is a file" in violations(
        path
    )


@pytest.mark.parametrize("path", ["v.mp4/w.mp4", "v.mp4/", "v.mp4/{task_id}.mp4", "v.mp4/a/b/", "gone/w.mp4"])
def test_a_folder_under_a_file_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    nearest = tmp_path / path.partition("/")[0]
    for overwrite in (False, True):
        assert violations(f"{tmp_path}/{path}", overwrite=overwrite) == [
            f"must not be under {nearest}, which is not a folder"
        ]


@pytest.mark.parametrize("path", ["/proc/v.mp4", "file:///proc/videos/{task_id}.mp4", "/proc/a/b/c/"])
def test_a_folder_not_even_root_can_write_to_is_refused(path: str) -> None:
    (problem,) = violations(path)
    assert problem.startswith("must be where this worker may write: /proc does not accept files (")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("path", ["v.mp4", "{task_id}.mp4", "a/b/", "{vendor}/v.mp4"])
def test_a_folder_without_write_permission_is_refused(
    code: int, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: str) -> Any:
        assert dir == str(tmp_path)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert violations(f"{tmp_path}/{path}") == [
        f"must be where this worker may write: {tmp_path} does not accept files ({os.strerror(code)})"
    ]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT])
def test_a_disk_error_is_retryable(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dir: str) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(StorageUnreachable, match=os.strerror(code)):
        violations(f"{tmp_path}/v.mp4")
    # Other problems are reported at once.
    assert len(violations(f"{tmp_path}/{{product}}.mp4")) == 1


def test_all_problems_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.preflight.is_pyav_installed", lambda: False)
    problems = Landing(settings(), verify="fail").target_problems("/dev/null/None/{product}")
    assert [str(problem).partition(" ")[0] for problem in problems] == [
        "verify='fail':",
        *["output_path=/dev/null/None/{product}:"] * 4,
    ]


def test_a_signed_link_as_path_is_reported_without_its_signature() -> None:
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
def test_one_path_for_all_mapped_tasks_is_refused_before_payment(written: str, rendered: str) -> None:
    for overwrite in (True, False):
        problems = violations(rendered, template=written, overwrite=overwrite)
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
def test_a_path_that_may_differ_between_mapped_tasks_is_accepted(
    written: object, rendered: str, tmp_path: Path
) -> None:
    assert violations(f"file://{tmp_path}/{rendered}", template=written) == []


def test_a_local_target_loads_no_other_storage(tmp_path: Path) -> None:
    """Importing them would take as much time per video as everything else in this package."""
    code = f"""
import sys
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.connection import ConnectionSettings
account = ConnectionSettings.read("c", host=None, password="sk-12345678", extra={{"vendor": "apixo"}})
for path in ("file://{tmp_path}/a.mp4", "{tmp_path}/b.mp4"):
    assert not Landing(account).target_problems(path)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"boto3", "botocore", "s3fs", "aiobotocore"}}))
"""
    violations = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert violations.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", ["nostorage://b/v.mp4", "nostorage://b/", "nostorage://b/{index}.mp4"])
def test_a_storage_that_is_not_installed_is_refused(path: str) -> None:
    (problem,) = violations(path)
    assert "Unsupported filesystem" in problem


class Closed(MemoryFileSystem):  # type: ignore[misc]
    """An object store whose buckets cannot be listed."""

    protocol = "s3"

    def exists(self, path: str, **_: Any) -> bool:
        return False

    def info(self, path: str, **_: Any) -> Any:
        raise self.trouble

    trouble: Exception = PermissionError("Forbidden")


def test_an_account_that_may_not_list_the_bucket_is_accepted() -> None:
    attach("s3", conn_id="closed", fs=Closed())
    assert violations("s3://closed@b/v.mp4") == []


def test_a_storage_error_is_reported_without_secrets() -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise RuntimeError("GET https://store.example.com/b?sig=s3cret failed")

    storage = Closed()
    storage.exists = fail
    attach("s3", conn_id="broken", fs=storage)
    with pytest.raises(StorageUnreachable, match=r"RuntimeError: GET https://store\.example\.com/") as found:
        violations("s3://broken@b/{task_id}.mp4")
    assert "s3cret" not in str(found.value)


def name(output_path: str, *, task_id: str = "task_1", index: int = 0, of: int = 1, **kwargs: Any) -> str:
    return target_for(
        output_path,
        **{"job": job(task_id=task_id), "index": index, "of": of, "map_index": -1, "ext": "mp4", **kwargs},
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
def test_known_fields_are_filled_in_and_nothing_else_changes(given: str, named: str) -> None:
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
def test_a_vendors_job_id_cannot_leave_the_folder(task_id: str, given: str) -> None:
    path = name(given, task_id=task_id)
    assert path.startswith("/base/")
    assert ".." not in path.split("/")
    assert path.count("/") == given.count("/")
    assert not set(path) & set("\\\0?# ")


def test_without_a_job_the_link_determines_the_file_name() -> None:
    named = [
        target_for("/f/", job=None, index=0, of=1, map_index=-1, ext="mp4", link=link)
        for link in (LINK, LINK, FRESH)
    ]
    assert named[0] == named[1] != named[2]
    assert "s3cret" not in named[0]


def test_a_job_without_an_id_gets_a_file_name() -> None:
    assert name("/f/", task_id="", link=LINK) == target_for(
        "/f/", job=None, index=0, of=1, map_index=-1, ext="mp4", link=LINK
    )
