# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``docs/add_a_vendor.md`` is followed step by step: write the files, install them, submit, poll, result."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.models import JobState, VideoRequest
from airflow_provider_vidgen.vendors import get_vendor, vendor_names
from dev.example_vendor import EXAMPLE_VENDOR, OFFLINE, FakeAcme
from tests.support.simulated_accounts import KEY

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "add_a_vendor.md").read_text()
#: The licence, which the page leaves out.
HEADER = "".join(Path(__file__).read_text().splitlines(keepends=True)[:2])


def page_files() -> dict[str, str]:
    """The files of the page: blocks of the same name are the parts of one file."""
    parts: dict[str, list[str]] = {}
    for name, block in re.findall(r"```\w+ (\S+)\n(.*?)\n```", PAGE, re.DOTALL):
        parts.setdefault(name, []).append(block)
    return {name: "\n\n".join(blocks) + "\n" for name, blocks in parts.items()}


def page_commands() -> list[list[str]]:
    (block,) = re.findall(r"```shell\n(.*?)\n```", PAGE, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the page's distribution was installed, and its tests passed."""
    source, site = tmp_path_factory.mktemp("vidgen-vendor-acme"), tmp_path_factory.mktemp("site-packages")
    for name, content in page_files().items():
        (source / name).write_text(content)
    modules = {"pip": [*OFFLINE, "--target", str(site)], "pytest": ["-q", "-p", "no:cacheprovider"]}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    for module, *arguments in page_commands():
        command = [sys.executable, "-m", module, *arguments, *modules[module]]
        done = subprocess.run(
            command, cwd=source, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout
    return site


@pytest.fixture
def acme(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAcme]:
    """The vendor's server, for a process that has the distribution."""
    monkeypatch.syspath_prepend(str(installed))
    for cached in (vendor_names, get_vendor):
        cached.cache_clear()
    with FakeAcme(KEY) as server:
        yield server
    for cached in (vendor_names, get_vendor):
        cached.cache_clear()
    sys.modules.pop("vidgen_vendor_acme", None)


@pytest.fixture
def hook(acme: FakeAcme, monkeypatch: pytest.MonkeyPatch) -> VideoGenHook:
    """A hook for a connection to the vendor; its time passes by sleeping only."""
    connection = {
        "conn_type": "vidgen",
        "host": acme.url,
        "password": KEY,
        "extra": {"vendor": "acme", "allow_private_urls": True, "requests_per_minute": 60_000},
    }
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", json.dumps(connection))
    hook, now = VideoGenHook(), [utcnow()]

    def sleep(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    hook.__dict__["client"] = WorkerClient(hook.settings, now=lambda: now[0], sleep=sleep)
    return hook


def test_the_code_of_the_page_is_the_example_package() -> None:
    for name, content in page_files().items():
        header = HEADER + "\n" if name.endswith(".py") else ""
        assert (EXAMPLE_VENDOR / name).read_text() == header + content, name
    assert {path.name for path in EXAMPLE_VENDOR.iterdir() if path.is_file()} == {*page_files(), "README.md"}
    assert page_commands() == [["pip", "install", "."], ["pytest"]]


def test_the_new_vendor_submits_polls_and_returns_the_result(hook: VideoGenHook, acme: FakeAcme) -> None:
    submission = hook.submit(VideoRequest(prompt="a lamp", model="acme-1", duration=6))
    assert (submission.job.vendor, submission.job.task_id) == ("acme", "v_1")
    status = hook.wait(submission.job, submitted_at=utcnow())
    assert (status.state, status.result_urls) == (JobState.SUCCEEDED, (f"{acme.url}/files/v_1.mp4",))
    assert acme.requests == [
        ("POST", "/v1/videos", {"model": "acme-1", "prompt": "a lamp", "seconds": 6}),
        ("GET", "/v1/videos/v_1", None),
        ("GET", "/v1/videos/v_1", None),
    ]


def test_the_connection_test_of_the_new_vendor_costs_nothing(hook: VideoGenHook, acme: FakeAcme) -> None:
    assert hook.test_connection() == (True, "Acme accepts the API key.")
    acme.api_key = "another"
    assert hook.test_connection()[0] is False
    assert {method for method, _, _ in acme.requests} == {"GET"}
