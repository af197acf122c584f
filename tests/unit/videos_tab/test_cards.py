# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The card of a video: times, costs, links, actions, and its version."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_vidgen.errors import Billing
from airflow_provider_vidgen.videos_tab.cards import build_card
from airflow_provider_vidgen.videos_tab.view import Card, CardState, Tone
from tests.support.video_tasks import NOW, ago, card, only_video, task, video

LANDED = video(
    "landed",
    job_id="job_1",
    prompt="a cat",
    resolution="720p",
    submitted_at=ago(50),
    finished_at=ago(9),
    duration_seconds=6.04,
    cost={"amount": 0.12, "currency": "USD", "basis": "reported"},
    files=[{"path": "s3://videos/a b.mp4", "bytes": 4_404_019, "poster": "s3://videos/a.jpg"}],
)


def moments(of: Card) -> list[str]:
    return [f"{moment.before}{moment.text}{moment.after}" for moment in of.moments]


def test_a_landed_video() -> None:
    shown = card(task(video=LANDED, name="espresso 16:9", map_index=0))
    assert (shown.title, shown.label, shown.tone) == ("espresso 16:9", "Landed", Tone.OK)
    assert shown.place == "make_video[0]"
    assert shown.vendor_line == "Apixo · grok-video · 720p"
    assert (shown.cost, shown.cost_note) == ("$0.12 reported", "Reported by the vendor.")
    assert shown.file_line == "4.2 MiB"
    assert moments(shown) == ["finished 14:08 UTC, in 41 s"]
    (clip,) = shown.clips
    assert (clip.length, clip.size, clip.path) == ("0:06", "4.2 MiB", "s3://videos/a b.mp4")
    assert clip.src.startswith(
        "file?dag_id=marketing_videos&run_id=manual__1&task_id=make_video&map_index=0&number=0"
    )
    assert clip.streamed_src == f"{clip.src}&stream=1"
    assert clip.poster.startswith("poster?")
    assert "s3" not in clip.src + clip.poster


def test_a_rendering_video_shows_the_usual_time() -> None:
    made = task(map_index=0, video=LANDED)
    rendering = task(
        "deferred", map_index=1, video=video("rendering", submitted_at=ago(38)), progress={"percent": 62}
    )
    shown = build_card(only_video(rendering), now=NOW, editable=(), across_runs=False)
    assert moments(shown) == ["for 38 s"]
    from airflow_provider_vidgen.videos_tab.videos import find_videos

    found = find_videos([made, rendering], whole_runs=True)[1]
    shown = build_card(found, now=NOW, editable=(), across_runs=False)
    assert moments(shown) == ["38 s of about 41 s"]
    assert shown.percent == 62
    assert not shown.clips


def test_a_waiting_video_says_what_the_account_takes() -> None:
    shown = card(task("up_for_reschedule", video=video("waiting", limit=10, next_check_at=ago(-20))))
    assert shown.vendor_line == "Apixo takes 10 at a time"
    assert moments(shown) == ["for 1 min 20 s", "next check in 20 s"]
    assert shown.billing == "Nothing has been submitted or paid yet."
    shown = card(task("up_for_reschedule", video=video("waiting", limit=10, vendor="", vendor_name="")))
    assert shown.vendor_line == "The account takes 10 at a time"


def test_a_silent_vendor() -> None:
    progress = {"percent": 40, "not_answering_since": ago(69), "next_check_at": ago(-20)}
    shown = card(task("deferred", video=video("rendering"), progress=progress))
    assert moments(shown) == ["not answering since 14:07 UTC", "asking again in 20 s"]
    assert shown.moments[1].when_over == "asking again now"
    assert shown.percent == 40


def test_a_pending_retry_says_when() -> None:
    shown = card(task("up_for_retry", video=video("failed"), retry_at=NOW + timedelta(seconds=290)))
    assert moments(shown) == ["next try in 4 min 50 s"]
    assert moments(card(task("up_for_retry", video=video("failed")))) == []


def test_a_link_that_lives_is_played_and_its_life_is_shown() -> None:
    made = {"result_urls": ["https://cdn/1"], "finished_at": ago(9)}
    shown = card(task(video=video("made", expires_at=ago(-42 * 60), **made)))
    assert moments(shown) == ["finished 14:08 UTC", "link expires in 42 min"]
    assert shown.moments[1].tone is Tone.WARN
    assert len(shown.clips) == 1
    assert shown.clips[0].streamed_src == ""
    shown = card(task(video=video("made", expires_at=ago(-90_000), **made)))
    assert shown.moments[1].tone is None


def test_an_expired_link_is_not_played() -> None:
    shown = card(task(video=video("made", expires_at=ago(1), result_urls=["https://cdn/1"])))
    assert (shown.clips, shown.picture) == ((), "link expired")
    assert shown.message == "Not landed, and the vendor's link has expired."


def test_a_made_video_without_a_link() -> None:
    shown = card(task(video=video("made")))
    assert shown.picture == "no link"


def test_a_time_of_another_day_has_its_date() -> None:
    shown = card(task(video=video("made", finished_at=ago(90_000))))
    assert moments(shown) == ["finished 2026-11-20 13:09 UTC"]


@pytest.mark.parametrize(
    ("cost", "text", "note"),
    [
        (
            {"amount": 0.1, "currency": "USD", "basis": "estimated"},
            "about $0.10, estimated",
            "Estimated from the vendor's documented price.",
        ),
        (
            {"amount": 0.1, "currency": "USD", "basis": "estimated", "as_of": "2026-11-20"},
            "about $0.10, estimated",
            "Estimated from the vendor's documented price of 2026-11-20.",
        ),
        (
            {"amount": 3, "currency": "credits", "basis": "reported"},
            "3 credits reported",
            "Reported by the vendor.",
        ),
        ({"amount": "much"}, "", ""),
    ],
)
def test_a_cost_has_its_basis(cost: Any, text: str, note: str) -> None:
    shown = card(task(video=video("made", cost=cost)))
    assert (shown.cost, shown.cost_note) == (text, note)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([{"bytes": 1024}, {"bytes": 1024}], "2 files, 2.0 KiB"),
        ([{"bytes": 1024}, {"bytes": "?"}], ""),
        ([{"path": 7, "poster": 7}], ""),
    ],
)
def test_the_size_of_the_files(files: Any, line: str) -> None:
    assert card(task(video=video("landed", files=files))).file_line == line


# --- links ----------------------------------------------------------------------------------------------


def links(of: Card) -> dict[str, str]:
    return {link.label: link.href for link in of.links}


def test_links_lead_to_airflows_pages_whatever_its_base_path() -> None:
    shown = card(task(video=LANDED, run_id="a/b +ü", map_index=3), across_runs=True)
    run = "../dags/marketing_videos/runs/a%2Fb%20%2B%C3%BC"
    assert links(shown)["Run"] == run
    assert links(shown)["Task"] == f"{run}/tasks/make_video/mapped/3/details"
    assert links(shown)["Log"] == f"{run}/tasks/make_video/mapped/3?try_number=1"
    assert links(shown)["File"].endswith("&number=0&download=1")
    assert "run_id=a%2Fb+%2B%C3%BC" in shown.clips[0].src


def test_a_task_that_is_not_mapped_has_no_map_index_in_its_link() -> None:
    assert links(card(task(video=LANDED)))["Task"].endswith("/tasks/make_video/details")
    assert "Run" not in links(card(task(video=LANDED)))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "javascript:alert(1)",
            "http://vendor.example",
            "data:text/html,x",
            "//vendor.example",
            "https://",
            "",
        ),
        *("https://user@vendor.example", "https://[", "https://vendör.example", "HTTPS:/x"),
    ],
)
def test_a_console_link_that_is_no_plain_https_link_is_left_out(url: str) -> None:
    assert "Vendor console" not in links(card(task(video={**LANDED, "console_url": url})))


def test_a_console_link_leads_to_another_site() -> None:
    shown = card(task(video={**LANDED, "console_url": "https://apimart.ai/console/task"}))
    assert shown.links[-1].external
    assert shown.links[-1].href == "https://apimart.ai/console/task"


# --- actions --------------------------------------------------------------------------------------------

ACTIVE = ("running", "deferred", "up_for_reschedule", "queued", "scheduled", "restarting", "")


@pytest.mark.parametrize(
    ("report", "names"),
    [
        (LANDED, ["regenerate"]),
        (video("made", job_id="j"), ["regenerate"]),
        (video("failed", job_id="j"), ["regenerate"]),
        (video("failed"), []),
        (video("failed", job_id="j", billing=str(Billing.JOB_CONTINUES)), ["look_again", "regenerate"]),
        (video("failed", job_id="j", error="JobNotRecorded"), ["adopt", "look_again", "regenerate"]),
        (video("waiting"), []),
        (video("unknown"), ["adopt", "look_again", "regenerate"]),
        (video("lost", job_id="j"), ["adopt", "look_again", "regenerate"]),
        (video("rendering", job_id="j"), ["look_again", "regenerate"]),
        (None, []),
    ],
)
def test_the_actions_of_a_state(report: Any, names: list[str]) -> None:
    shown = card(task("failed", video=report))
    assert [action.name for action in shown.actions] == names


@pytest.mark.parametrize("task_state", ACTIVE)
def test_an_active_task_has_no_actions(task_state: str) -> None:
    assert card(task(task_state, video=LANDED)).actions == ()


def test_a_reader_who_may_not_edit_has_no_actions() -> None:
    assert card(task(video=LANDED), may_edit=False).actions == ()


def test_a_sensor_and_a_download_make_nothing_new() -> None:
    assert card(task(operator="VideoTaskSensor", video=LANDED)).actions == ()
    assert card(task(operator="VideoDownloadOperator", video=LANDED)).actions == ()


def test_a_new_video_asks_with_its_price() -> None:
    (action,) = card(task(video=LANDED)).actions
    assert action.question.startswith("Make a new, paid video (about $0.12)?")
    assert action.url.startswith("regenerate?dag_id=marketing_videos&")
    (action,) = card(task(video=video("made", job_id="j"))).actions
    assert "(its cost is not known)" in action.question


def test_adopting_needs_a_job_id() -> None:
    adopt, look, _ = card(task("failed", video=video("unknown"))).actions
    assert adopt.needs_job_id
    assert (look.needs_job_id, look.question) == (False, "")


# --- identity -------------------------------------------------------------------------------------------


def test_the_id_is_safe_in_a_document_and_tells_instances_apart() -> None:
    shown = [card(task(task_id="a.b", run_id='r/1 "<>', map_index=index)) for index in range(3)]
    assert all(re.fullmatch(r"video-[0-9a-f]{16}", one.id) for one in shown)
    assert len({one.id for one in shown}) == 3


def test_the_version_ignores_what_the_script_keeps_current() -> None:
    found = only_video(task("deferred", video=video("rendering", submitted_at=ago(38))))
    first = build_card(found, now=NOW, editable=(), across_runs=False)
    later = build_card(found, now=NOW + timedelta(minutes=5), editable=(), across_runs=False)
    assert moments(first) != moments(later)
    assert first.version == later.version


@pytest.mark.parametrize(
    "change",
    [
        {"state": "success"},
        {"name": "another"},
        {"progress": {"percent": 63}},
        {"video": video("rendering", prompt="another")},
        {"video": video("rendering", submitted_at=ago(37))},
        {"try_number": 2},
    ],
)
def test_the_version_changes_with_what_is_shown(change: Any) -> None:
    before = task("deferred", map_index=1, video=video("rendering"), progress={"percent": 62})
    assert card(before).version != card(replace(before, **change)).version


def test_a_video_that_was_made_anew_has_another_address() -> None:
    again = {**LANDED, "job_id": "job_2"}
    assert card(task(video=LANDED)).clips[0].src != card(task(video=again)).clips[0].src


def test_any_report_becomes_a_card() -> None:
    """Every field of a type that is allowed, and of a type that is not."""
    for value in (
        "\ud800",
        "<script>",
        7,
        -1,
        10**400,
        float("nan"),
        None,
        [],
        [None],
        {"a": []},
        [{}],
        ["https://["],
    ):
        for state in ("waiting", "rendering", "made", "landed", "failed", "unknown", "lost"):
            report = dict.fromkeys(
                (*LANDED, "expires_at", "console_url", "limit", "ahead", "error", "duration"), value
            )
            shown = card(task("failed", video={**report, "v": 1, "state": state}, progress=report))
            assert shown.state in CardState
            repr(shown).encode()
