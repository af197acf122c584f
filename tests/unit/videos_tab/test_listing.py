# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Totals, filters, and sections of cards."""

from __future__ import annotations

from typing import Any

from airflow_provider_vidgen.videos_tab.listing import (
    Selection,
    count_sections,
    digest,
    filters,
    sections,
    totals,
)
from airflow_provider_vidgen.videos_tab.videos import Video, find_videos
from airflow_provider_vidgen.videos_tab.view import Section
from tests.support.video_tasks import NOW, task, video


def cost(amount: float, basis: str, currency: str = "USD") -> dict[str, Any]:
    return {"cost": {"amount": amount, "currency": currency, "basis": basis}}


def a_run() -> list[Video]:
    silent = {"percent": 3, "not_answering_since": NOW.isoformat()}
    apimart = {"vendor": "apimart", "vendor_name": "APIMart"}
    reports: list[tuple[str, Any, Any]] = [
        ("success", video("landed", job_id="a", prompt="teapot", **cost(0.98, "reported")), None),
        ("success", video("made", job_id="b", **apimart, **cost(0.5, "estimated")), None),
        ("deferred", video("rendering", job_id="c", **apimart, **cost(0.36, "estimated")), None),
        ("deferred", video("rendering", job_id="d", prompt="teapot"), silent),
        ("up_for_reschedule", video("waiting", **cost(9, "estimated")), None),
        ("failed", video("failed", job_id="e", **cost(9, "estimated")), None),
        ("failed", video("unknown", **cost(9, "estimated")), None),
        ("failed", video("lost", job_id="f", **cost(0.02, "reported")), None),
        ("up_for_retry", video("failed"), None),
        ("", None, None),
        ("skipped", None, None),
    ]
    return find_videos(
        [
            task(state, map_index=index, video=report, progress=progress)
            for index, (state, report, progress) in enumerate(reports)
        ],
        whole_runs=True,
    )


def test_the_header_counts_the_states() -> None:
    assert [(total.value, total.label) for total in totals(a_run())] == [
        ("11", "videos"),
        ("1", "landed"),
        ("1", "made"),
        ("2", "rendering"),
        ("1", "waiting for capacity"),
        ("1", "queued"),
        ("1", "retrying"),
        ("1", "failed"),
        ("1", "unknown"),
        ("1", "lost"),
        ("1", "other"),
        ("$1.86", "reported $1.00, estimated $0.86"),
    ]


def test_costs_are_summed_by_currency() -> None:
    found = find_videos(
        [
            task(map_index=0, video=video("made", **cost(0.1, "estimated"))),
            task(map_index=1, video=video("made", **cost(3, "reported", "credits"))),
            task(map_index=2, video=video("made", cost={"amount": "?"})),
        ],
        whole_runs=True,
    )
    assert [(total.value, total.label) for total in totals(found)[2:]] == [
        ("$0.10", "estimated"),
        ("3 credits", "reported"),
    ]


def test_no_videos_have_no_cost() -> None:
    assert [(total.value, total.label) for total in totals([])] == [("0", "videos")]
    assert totals(a_run()[:1])[0].label == "video"


def test_a_filter_counts_what_its_choices_leave() -> None:
    found = filters(a_run(), Selection(state="rendering", text="TEAPOT"))
    assert [(choice.value, choice.count) for choice in found.states if choice.count] == [
        ("", 2),
        ("landed", 1),
        ("rendering", 1),
    ]
    assert [(choice.value, choice.label, choice.count) for choice in found.vendors] == [
        ("", "Any vendor", 1),
        ("apimart", "APIMart", 0),
        ("apixo", "Apixo", 1),
    ]
    assert [choice.value for choice in found.states if choice.selected] == ["rendering"]
    assert (found.text, found.active) == ("TEAPOT", True)


def test_without_filters_all_is_selected() -> None:
    found = filters(a_run(), Selection())
    assert not found.active
    assert (found.states[0].label, found.states[0].count, found.states[0].selected) == ("All", 11, True)


def test_a_state_that_does_not_occur_can_be_deselected() -> None:
    found = filters(a_run()[:1], Selection(state="lost"))
    assert [(choice.value, choice.count) for choice in found.states] == [("", 1), ("landed", 1), ("lost", 0)]


def test_the_filters_are_combined() -> None:
    assert [Selection(vendor="apimart").matches(one) for one in a_run()[:4]] == [False, True, True, False]
    assert [Selection(state="rendering").matches(one) for one in a_run()[:4]] == [False, False, True, True]
    selection = Selection(state="rendering", vendor="apixo", text="tea")
    assert [selection.matches(one) for one in a_run()[:4]] == [False, False, False, True]


# --- sections -------------------------------------------------------------------------------------------


def some_sections(
    videos: list[Video], first: int, last: int, known: tuple[str, ...] = ()
) -> tuple[Section, ...]:
    return sections(
        videos,
        first=first,
        last=last,
        known=known,
        now=NOW,
        editable=lambda dag_ids: dag_ids,
        across_runs=False,
    )


def many(count: int) -> list[Video]:
    return find_videos(
        [task(map_index=index, video=video("made")) for index in range(count)], whole_runs=True
    )


def test_a_section_has_sixty_cards() -> None:
    videos = many(130)
    found = some_sections(videos, 1, 9)
    assert [(section.number, len(section.cards)) for section in found] == [(1, 60), (2, 60), (3, 10)]
    assert count_sections(videos) == 3
    assert count_sections([]) == 0
    assert some_sections([], 1, 1) == ()


def test_a_later_section_is_the_same_alone() -> None:
    videos = many(130)
    assert some_sections(videos, 2, 2) == some_sections(videos, 1, 2)[1:]
    assert some_sections(videos, 4, 4) == ()


def test_a_section_that_the_browser_has_is_not_sent_again() -> None:
    videos = many(130)
    first, second, _ = some_sections(videos, 1, 3)
    found = some_sections(videos, 1, 3, (second.version,))
    assert [(section.unchanged, len(section.cards)) for section in found] == [
        (False, 60),
        (True, 0),
        (False, 10),
    ]
    assert found[0].version == first.version


def test_a_section_changes_with_its_cards() -> None:
    before, after = some_sections(many(61), 1, 2), some_sections(many(62), 1, 2)
    assert before[0].version == after[0].version
    assert before[1].version != after[1].version


def test_rights_are_asked_for_the_dags_that_are_shown() -> None:
    asked = []

    def editable(dag_ids: set[str]) -> set[str]:
        asked.append(dag_ids)
        return set()

    videos = find_videos(
        [task(dag_id=f"dag_{index}", video=video("made", job_id="j")) for index in range(61)],
        whole_runs=False,
    )
    found = sections(videos, first=2, last=2, known=(), now=NOW, editable=editable, across_runs=True)
    assert asked == [{"dag_60"}]
    assert found[0].cards[0].actions == ()
    assert found[0].cards[0].place == "dag_60 · manual__1"


def test_the_digest_depends_on_the_value() -> None:
    assert digest([1, "a"]) == digest([1, "a"]) != digest([1, "b"])
