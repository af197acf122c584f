# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Each time a task leaves its worker, its links are known: deferred, resumed, failed and finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor
from airflow_provider_vidgen.vendors.apixo import Apixo
from tests.support.accounts import PROMPT, job
from tests.support.clock import NOW
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, failed, finished, running

CONSOLE = "https://apixo.example/jobs"
RESUMED = {
    "event": None,
    "job": job("apixo").to_dict(),
    "submitted_at": NOW.isoformat(),
    "deadline": (NOW + timedelta(seconds=600)).isoformat(),
}


@pytest.fixture(autouse=True)
def _account(vidgen: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    monkeypatch.setattr(Apixo, "console_url", CONSOLE)


@pytest.fixture
def web() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        mocker.post(CREATE["apixo"], json=create_body("apixo"))
        mocker.get(STATUS["apixo"], json=running("apixo"))
        mocker.get(LINK, content=MP4)
        yield mocker


def link(operator: Any, name: str) -> str:
    [found] = [link for link in operator.operator_extra_links if link.name == name]
    return str(found.get_link(operator, ti_key=context()["ti"]))


def generate(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(task_id="t", prompt=PROMPT, deferrable=True, **fields)


def wait() -> VideoTaskSensor:
    return VideoTaskSensor(task_id="t", job_id="task_1", deferrable=True)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("make", [generate, wait])
def test_a_deferred_task_has_the_vendors_console(make: Callable[[], Any]) -> None:
    operator = make()
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    assert link(operator, "Vendor console") == CONSOLE


@pytest.mark.parametrize("make", [generate, wait])
def test_a_task_whose_job_failed_has_the_vendors_console(
    make: Callable[[], Any], web: requests_mock.Mocker
) -> None:
    web.get(STATUS["apixo"], json=failed("apixo", "no"))
    operator = make()
    with pytest.raises(AirflowException):
        operator.execute_complete(context(), **RESUMED)
    assert link(operator, "Vendor console") == CONSOLE


def test_a_resumed_generation_has_its_file(web: requests_mock.Mocker, tmp_path: Path) -> None:
    web.get(STATUS["apixo"], json=finished("apixo"))
    operator = generate(output_path=f"file://{tmp_path}/")
    operator.execute_complete(context(), **RESUMED)
    assert link(operator, "Vendor console") == CONSOLE
    assert "vidgen/file?" in link(operator, "Landed file")


@pytest.mark.usefixtures("web")
def test_a_download_has_its_file(tmp_path: Path) -> None:
    operator = VideoDownloadOperator(task_id="t", url=LINK, output_path=f"file://{tmp_path}/a.mp4")
    operator.execute(context())
    assert link(operator, "Landed file") == f"file://{tmp_path}/a.mp4"
