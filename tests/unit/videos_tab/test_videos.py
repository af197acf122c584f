# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""One video for each job; places in the line for capacity; the usual time."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.airflow_core_videos import VideoTask
from airflow_provider_vidgen.videos_tab.videos import find_videos, rendering_seconds
from airflow_provider_vidgen.videos_tab.view import CardState
from tests.support.video_tasks import ago, only_video, task, video

FILES = [{"path": "s3://videos/a.mp4", "bytes": 7}]


def waiting(map_index: int, **values: Any) -> VideoTask:
    report = video("waiting", limit=2, ahead=9)
    return task("up_for_reschedule", map_index=map_index, video=report, **values)


def download(**values: Any) -> VideoTask:
    report = video("landed", job_id="job_1", files=FILES)
    return task(task_id="download", operator="VideoDownloadOperator", video=report, **values)


def test_a_downloaded_file_belongs_to_the_video_of_its_job() -> None:
    found = only_video(
        download(), task(video=video("made", job_id="job_1", prompt="a cat", result_urls=["https://x"]))
    )
    assert (found.task.task_id, found.state) == ("make_video", CardState.LANDED)
    assert found.status is not None
    assert found.status.prompt == "a cat"
    (file,) = found.files
    assert file.task.task_id == "download"
    assert file.manifest == FILES[0]
    assert found.has_task("download", None)
    assert found.has_task("make_video", -1)
    assert not found.has_task("make_video", 3)


def test_a_sensor_that_waits_for_the_same_job_is_the_same_video() -> None:
    sensor = task(
        "deferred", task_id="wait", operator="VideoTaskSensor", video=video("rendering", job_id="job_1")
    )
    found = only_video(sensor, task("success", video=video("made", job_id="job_1", prompt="a cat")))
    assert (found.task.task_id, found.state) == ("make_video", CardState.MADE)


def test_a_download_without_its_generation_is_a_video_of_its_own() -> None:
    assert only_video(download()).task.task_id == "download"


@pytest.mark.parametrize("state", ["", "scheduled", "queued"])
def test_a_cleared_download_is_no_video_of_its_own(state: str) -> None:
    cleared = task("deferred", video=video("rendering", job_id="job_2"))
    found = only_video(download(state=state), cleared)
    assert (found.task.task_id, found.state) == ("make_video", CardState.RENDERING)


def test_a_failed_download_is_shown() -> None:
    failed = task(
        "failed",
        task_id="download",
        operator="VideoDownloadOperator",
        video=video("failed", summary="No disk."),
    )
    assert only_video(failed).state is CardState.FAILED


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
def test_a_waiting_task_stays_waiting_while_it_checks_again(state: str) -> None:
    found = only_video(task(state, was_rescheduled=True))
    assert (found.state, found.situation.picture) == (CardState.WAITING, "checking again")
    sensor = only_video(task(state, was_rescheduled=True, operator="VideoTaskSensor"))
    assert sensor.state is CardState.QUEUED


def test_a_job_whose_vendor_reports_no_end_took_until_the_task_noticed_it() -> None:
    report = video("made", submitted_at=ago(60), finished_at="", since=ago(19))
    status = only_video(task(video=report)).status
    assert status is not None
    assert rendering_seconds(status) == 41


@pytest.mark.parametrize(
    "other",
    [{"run_id": "manual__2"}, {"dag_id": "other"}],
)
def test_the_same_job_id_in_another_run_is_another_video(other: Any) -> None:
    generation = task(video=video("made", job_id="job_1"))
    assert len(find_videos([generation, download(**other)], whole_runs=True)) == 2


def test_the_same_job_id_of_another_vendor_is_another_video() -> None:
    generation = task(video=video("made", job_id="job_1", vendor="apimart"))
    assert len(find_videos([generation, download()], whole_runs=True)) == 2


def test_videos_without_a_job_id_are_not_merged() -> None:
    made = [task(map_index=index, video=video("made")) for index in range(3)]
    assert len(find_videos(made, whole_runs=True)) == 3


def test_a_failed_task_keeps_its_own_card() -> None:
    failed = task("failed", map_index=1, video=video("failed", job_id="job_1"))
    assert len(find_videos([failed, download()], whole_runs=True)) == 2


def test_the_place_in_line_counts_the_instances_before_that_have_not_ended() -> None:
    instances = [
        task("success", map_index=0, video=video("made")),
        task("failed", map_index=1, video=video("failed")),
        task("deferred", map_index=2, video=video("rendering")),
        task("deferred", map_index=3, video=video("rendering")),
        waiting(4),
        task("", map_index=5),
        waiting(6),
    ]
    pictures = [found.situation.picture for found in find_videos(instances, whole_runs=True)]
    assert pictures[4:] == ["1st in line", "not started", "3rd in line"]


def test_the_order_of_the_rows_does_not_matter_for_the_place() -> None:
    instances = [waiting(2), task("deferred", map_index=0), task("deferred", map_index=1)]
    assert find_videos(instances, whole_runs=True)[0].situation.picture == "1st in line"


def test_each_mapped_task_of_each_run_has_its_own_line() -> None:
    instances = [
        waiting(2),
        *(task("deferred", map_index=index, run_id="manual__2") for index in range(2)),
        *(task("deferred", map_index=index, task_id="other") for index in range(2)),
    ]
    assert find_videos(instances, whole_runs=True)[0].situation.picture == "waiting for capacity"


def test_without_the_whole_run_the_place_is_the_reported_one() -> None:
    assert only_video(waiting(4), whole_runs=False).situation.picture == "9th in line"


def test_a_task_that_the_vendor_refused_has_no_place() -> None:
    refused = task("up_for_reschedule", video=video("waiting", reason="Apixo has no capacity (HTTP 429)"))
    situation = only_video(refused).situation
    assert situation.picture == "waiting for capacity"
    assert situation.message == "Apixo has no capacity (HTTP 429)."
    in_line = task("up_for_reschedule", video=video("waiting", reason="Number 9 in line", ahead=2))
    assert only_video(in_line).situation.message == ""


def test_the_usual_time_is_the_median_of_the_same_vendor_and_model() -> None:
    made = [
        task(map_index=index, video=video("made", submitted_at=ago(seconds), finished_at=ago(0)))
        for index, seconds in enumerate((40, 60, 500))
    ]
    other = task(map_index=8, video=video("made", model="slow", submitted_at=ago(900), finished_at=ago(0)))
    rendering = task("deferred", map_index=9, video=video("rendering"))
    found = find_videos([*made, other, rendering], whole_runs=True)
    assert [video.usual_seconds for video in found] == [60, 60, 60, 900, 60]


@pytest.mark.parametrize(
    "times",
    [
        {"submitted_at": ago(0), "finished_at": ago(9)},
        {"submitted_at": "yesterday", "finished_at": ago(9)},
        {"finished_at": ago(9)},
    ],
)
def test_times_that_cannot_be_do_not_count(times: Any) -> None:
    assert only_video(task(video=video("made", **times))).usual_seconds is None


def test_the_files_come_before_the_links() -> None:
    links = {"result_urls": ["https://a/1", "https://a/2"]}
    found = only_video(task(video=video("landed", files=FILES, **links)))
    assert [file.manifest for file in found.files] == FILES
    found = only_video(task(video=video("made", **links)))
    assert [(file.number, file.manifest) for file in found.files] == [(0, None), (1, None)]


def test_an_endless_list_of_files_is_cut() -> None:
    assert len(only_video(task(video=video("landed", files=FILES * 10_000))).files) == 12


def test_the_title_is_the_name_of_the_instance() -> None:
    assert only_video(task(name="espresso 16:9", map_index=3)).title == "espresso 16:9"
    assert only_video(task(map_index=3)).title == "make_video[3]"
    assert only_video(task()).title == "make_video"


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("ESPRESSO", True),
        ("teapot", True),
        ("JOB_1", True),
        ("make_vid", True),
        ("grok", True),
        ("kettle", False),
    ],
)
def test_the_text_filter_looks_into_prompt_title_and_ids(text: str, is_found: bool) -> None:
    found = only_video(
        task(name="espresso", map_index=1, video=video("made", prompt="A Teapot", job_id="job_1"))
    )
    assert found.contains(text) is is_found


def test_a_task_without_a_report_can_be_found_by_its_id() -> None:
    assert only_video(task("")).contains("make")
    assert only_video(task("")).vendor == ("", "")
