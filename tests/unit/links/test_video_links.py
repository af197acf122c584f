# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Extra links: where they lead, and that none is signed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_vidgen.links import video_links
from airflow_provider_vidgen.links.video_links import (
    LandedFileLink,
    VendorConsoleLink,
    VideosLink,
    file_url,
    keep_link_targets,
)
from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor

GENERATE = VideoGenerationOperator(task_id="make", prompt="a lamp")
DOWNLOAD = VideoDownloadOperator(
    task_id="make", url="https://cdn.example.com/a.mp4", output_path="s3://films/"
)


def key(map_index: int | None = -1, run_id: str = "run/1+00:00") -> Any:
    return SimpleNamespace(dag_id="dag", run_id=run_id, task_id="group.make", map_index=map_index)


def link(operator: Any, name: str, ti_key: Any = None) -> str:
    [found] = [link for link in operator.operator_extra_links if link.name == name]
    return str(found.get_link(operator, ti_key=ti_key or key()))


@pytest.fixture(autouse=True)
def base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = SimpleNamespace(get=lambda *args, **kwargs: "https://example.com/airflow/")
    monkeypatch.setattr(video_links, "conf", conf)


@pytest.mark.parametrize(("map_index", "mapped"), [(-1, ""), (None, ""), (3, "/mapped/3")])
def test_the_tab_is_that_of_the_task_instance_below_airflows_own_path(
    map_index: int | None, mapped: str
) -> None:
    expected = (
        f"/airflow/dags/dag/runs/run%2F1%2B00%3A00/tasks/group.make{mapped}/plugin/{video_links.TAB_ROUTE}"
    )
    assert link(GENERATE, "Videos", key(map_index)) == expected


@pytest.mark.parametrize("operator", [GENERATE, DOWNLOAD])
def test_there_is_no_link_to_a_file_before_it_has_landed(operator: Any) -> None:
    assert link(operator, "Landed file") == ""


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("gs://google_default@films/a b.mp4", "https://storage.cloud.google.com/films/a%20b.mp4"),
        ("https://user:secret@dav.example.com/a.mp4?token=s3cret", "https://dav.example.com/a.mp4"),
        ("s3://aws_default@films/a.mp4", "s3://films/a.mp4"),
        ("file:///films/a.mp4", "file:///films/a.mp4"),
        ("/films/a.mp4", "/films/a.mp4"),
    ],
)
def test_a_file_is_where_a_browser_opens_it_or_its_path_without_secrets(path: str, url: str) -> None:
    assert file_url(path) == url
    keep_link_targets(DOWNLOAD, files=[{"path": path}, {"path": "gs://films/second.mp4"}])
    assert link(DOWNLOAD, "Landed file") == url


def test_a_generated_file_that_a_browser_cannot_open_is_played_by_the_tab() -> None:
    operator = VideoGenerationOperator(task_id="make", prompt="a lamp")
    keep_link_targets(operator, files=[{"path": "s3://aws_default@films/a.mp4"}])
    ids = "dag_id=dag&run_id=run%2F1%2B00%3A00&task_id=group.make&map_index=3"
    assert link(operator, "Landed file", key(3)) == f"/airflow/vidgen/file?{ids}"
    assert link(operator, "Landed file", key(None)).endswith("&map_index=-1")
    keep_link_targets(operator, files=[{"path": "gs://films/a.mp4"}])
    assert link(operator, "Landed file") == "https://storage.cloud.google.com/films/a.mp4"


def test_the_console_is_the_vendors_where_its_document_has_one() -> None:
    sensor = VideoTaskSensor(task_id="wait", job_id="task_1")
    assert link(sensor, "Vendor console") == ""
    vendor: Any = SimpleNamespace(console_url="")
    keep_link_targets(sensor, vendor)
    assert link(sensor, "Vendor console") == ""
    vendor.console_url = "https://acme.example/jobs"
    keep_link_targets(sensor, vendor)
    assert link(sensor, "Vendor console") == "https://acme.example/jobs"


def test_a_target_that_is_known_is_kept_when_the_other_becomes_known() -> None:
    operator = VideoGenerationOperator(task_id="make", prompt="a lamp")
    vendor: Any = SimpleNamespace(console_url="https://acme.example/jobs")
    keep_link_targets(operator, vendor)
    keep_link_targets(operator, files=[{"path": "gs://films/a.mp4"}])
    assert link(operator, "Vendor console") == "https://acme.example/jobs"


@pytest.mark.parametrize("kind", [VideosLink, LandedFileLink, VendorConsoleLink])
def test_each_link_has_an_xcom_of_its_own(kind: Any) -> None:
    assert kind().xcom_key == f"_link_{kind.__name__}"
