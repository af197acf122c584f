# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is true of a video, from its task's state, its report and its trigger's progress."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.video_status import VideoState
from airflow_provider_vidgen.videos_tab.situation import FINISHED
from airflow_provider_vidgen.videos_tab.view import CardState
from tests.support.video_tasks import ago, only_video, task, video

FAILURE = {
    "error": "ContentRejected",
    "summary": 'The job ended without a video (content_policy): "too violent"',
    "billing": "The vendor decides whether a failed job is billed.",
    "next_step": "Change the prompt.",
}
ACTIVE = ("running", "deferred", "up_for_reschedule", "scheduled", "queued", "", "restarting")


@pytest.mark.parametrize(
    ("task_state", "report", "progress", "state", "label"),
    [
        ("", None, None, "queued", "Not started"),
        ("scheduled", None, None, "queued", "Scheduled"),
        ("queued", None, None, "queued", "Queued in Airflow"),
        ("running", None, None, "queued", "Starting"),
        ("restarting", None, None, "queued", "Starting"),
        ("deferred", None, None, "other", "In progress"),
        ("up_for_reschedule", None, None, "other", "In progress"),
        ("up_for_retry", None, None, "retrying", "Retry pending"),
        ("failed", None, None, "failed", "Failed"),
        ("success", None, None, "other", "Succeeded"),
        ("skipped", None, None, "other", "Skipped"),
        ("removed", None, None, "other", "Removed"),
        ("upstream_failed", None, None, "other", "Not run"),
        ("up_for_reschedule", video("waiting"), None, "waiting", "Waiting"),
        ("up_for_retry", video("waiting"), None, "retrying", "Retry pending"),
        ("failed", video("waiting"), None, "failed", "Failed"),
        ("success", video("waiting"), None, "other", "Succeeded"),
        ("deferred", video("rendering"), None, "rendering", "Rendering"),
        (
            "deferred",
            video("rendering"),
            {"state": "running", "percent": 62.4},
            "rendering",
            "Rendering 62 %",
        ),
        (
            "deferred",
            video("rendering"),
            {"state": "queued", "percent": None},
            "rendering",
            "Queued at the vendor",
        ),
        ("deferred", video("rendering"), {"state": "succeeded", "percent": 100}, "rendering", "Finishing"),
        ("deferred", video("rendering"), {"state": "cancelled"}, "rendering", "Finishing"),
        (
            "deferred",
            video("rendering"),
            {"state": "running", "percent": 40, "not_answering_since": ago(69)},
            "silent",
            "Vendor silent",
        ),
        ("failed", video("rendering"), {"state": "running", "percent": 40}, "failed", "Failed"),
        ("up_for_retry", video("rendering"), None, "retrying", "Retry pending"),
        ("success", video("rendering"), None, "other", "Succeeded"),
        ("success", video("made"), None, "made", "Made"),
        ("running", video("made"), None, "made", "Made"),
        ("success", video("landed"), None, "landed", "Landed"),
        ("failed", video("landed"), None, "landed", "Landed"),
        ("queued", video("landed"), None, "queued", "Queued again"),
        ("", video("failed", **FAILURE), None, "queued", "Queued again"),
        ("failed", video("failed", **FAILURE), None, "failed", "Content rejected"),
        ("running", video("failed", **FAILURE), None, "failed", "Content rejected"),
        ("up_for_retry", video("failed", **FAILURE), None, "retrying", "Retry pending"),
        ("success", video("failed", **FAILURE), None, "failed", "Content rejected"),
        ("failed", video("failed"), None, "failed", "Failed"),
        ("failed", video("unknown"), None, "unknown", "Unknown"),
        ("up_for_retry", video("unknown"), None, "retrying", "Retry pending"),
        ("failed", video("lost"), None, "lost", "Lost"),
    ],
)
def test_the_card_says_what_is_true(
    task_state: str, report: Any, progress: Any, state: str, label: str
) -> None:
    situation = only_video(task(task_state, video=report, progress=progress)).situation
    assert (situation.state, situation.label) == (state, label)


@pytest.mark.parametrize("report", [None, *(video(state) for state in VideoState)])
@pytest.mark.parametrize(
    "task_state", [*sorted(ACTIVE), *sorted(FINISHED), "up_for_retry", "awaiting_input", "a state of 4.0"]
)
def test_every_combination_of_states_has_a_label_and_a_tone(task_state: str, report: Any) -> None:
    situation = only_video(task(task_state, video=report)).situation
    assert situation.label
    assert situation.tone


def test_a_killed_task_is_not_shown_as_rendering() -> None:
    situation = only_video(task("failed", video=video("rendering"), progress={"percent": 40})).situation
    assert situation.message == "The task failed while the job was rendering."
    assert situation.billing == "The job continues at the vendor and may be billed."
    assert situation.next_step == "A clear re-attaches to the job."


def test_a_task_that_failed_while_it_waited_has_spent_nothing() -> None:
    situation = only_video(task("failed", video=video("waiting"))).situation
    assert situation.billing == "Nothing was spent."


def test_a_failure_says_what_happened_what_it_costs_and_what_to_do() -> None:
    situation = only_video(task("failed", video=video("failed", **FAILURE))).situation
    assert situation.message == FAILURE["summary"]
    assert (situation.billing, situation.next_step) == (FAILURE["billing"], FAILURE["next_step"])


def test_a_pending_retry_says_what_failed() -> None:
    situation = only_video(task("up_for_retry", video=video("failed", **FAILURE))).situation
    assert situation.message == FAILURE["summary"]


def test_a_task_marked_by_hand_is_shown_as_marked() -> None:
    situation = only_video(task("success", video=video("failed", **FAILURE))).situation
    assert situation.message.endswith("The task is marked as successful in Airflow.")
    situation = only_video(task("failed", video=video("landed"))).situation
    assert situation.message == "The task is marked as failed in Airflow."
    situation = only_video(task("success", video=video("rendering"))).situation
    assert situation.message == "The task was marked as successful while the job was rendering."


def test_a_cleared_task_says_what_its_last_try_said() -> None:
    situation = only_video(task("", video=video("failed", **FAILURE))).situation
    assert situation.message.startswith("The task will run again. Its last try: Content rejected. The job")


@pytest.mark.parametrize(("task_state", "try_number"), [("", 0), ("scheduled", 1), ("queued", 1)])
def test_a_first_try_that_has_not_started_has_paid_nothing(task_state: str, try_number: int) -> None:
    situation = only_video(task(task_state, try_number=try_number)).situation
    assert situation.billing == "Nothing has been submitted or paid yet."


@pytest.mark.parametrize(("task_state", "try_number"), [("", 1), ("scheduled", 2)])
def test_a_later_try_may_have_a_job(task_state: str, try_number: int) -> None:
    situation = only_video(task(task_state, try_number=try_number)).situation
    assert situation.billing == ""
    assert "the job of its last try" in situation.message


@pytest.mark.parametrize(
    "report",
    [
        *("text", 7, [], {}, {"v": 2, "state": "landed"}, {"v": 1, "state": "sleeping"}, {"v": 1}),
        {"v": 1, "state": ["landed"]},
    ],
)
def test_a_report_that_cannot_be_read_counts_as_none(report: Any) -> None:
    found = only_video(task("success", video=report))
    assert (found.state, found.situation.label) == (CardState.OTHER, "Succeeded")


@pytest.mark.parametrize(
    "progress",
    [
        *("text", 7, [], {"percent": "much"}, {"percent": float("nan")}, {"percent": -3}, {"percent": True}),
        *({"percent": 10**400}, {"state": {}}, {"not_answering_since": "yesterday"}),
        {"not_answering_since": 3, "next_check_at": []},
    ],
)
def test_progress_that_cannot_be_read_counts_as_none(progress: Any) -> None:
    found = only_video(task("deferred", video=video("rendering"), progress=progress))
    assert found.situation.label == "Rendering"


def test_percent_ends_at_100() -> None:
    found = only_video(task("deferred", video=video("rendering"), progress={"percent": 250}))
    assert found.situation.label == "Rendering 100 %"
