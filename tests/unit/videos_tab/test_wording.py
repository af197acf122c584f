# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Text for people, and text of others made safe to send."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.videos_tab import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (-5, "0 s"), (5, "5 s"), (59.9, "59 s"), (60, "1 min"), (80, "1 min 20 s")),
        *((3600, "1 h"), (3601, "1 h"), (3661, "1 h 1 min"), (7_500, "2 h 5 min"), (86_400, "1 d")),
        *((90_000, "1 d 1 h"), (86_460, "1 d")),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(6, "0:06"), (61.4, "1:01"), (3_723, "1:02:03"), (0, "0:00")])
def test_the_length_of_a_video_is_as_players_show_it(seconds: float, text: str) -> None:
    assert wording.length(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 B"), (4_404_019, "4.2 MiB"), (1024, "1.0 KiB"), (3 * 1024**3, "3.0 GiB"), (1024**4, "1.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert wording.size(count) == text


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (112, "112th"),
        (121, "121st"),
    ],
)
def test_places_in_line(place: int, text: str) -> None:
    assert wording.ordinal(place) == text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        *((0.12, "USD", "$0.12"), (0, "USD", "$0.00"), (1234.5, "USD", "$1,234.50"), (0.05, "EUR", "€0.05")),
        *((0.0042, "USD", "$0.0042"), (0.004, "USD", "$0.004"), (0.5, "CNY", "0.50 CNY")),
        *((1, "credits", "1 credit"), (2.5, "credits", "2.5 credits"), (0.00000000001, "USD", "$0.00")),
    ],
)
def test_money(amount: float, currency: str, text: str) -> None:
    assert wording.money(amount, currency) == text


@pytest.mark.parametrize(
    "cost",
    [
        None,
        {},
        {"amount": "1", "currency": "USD", "basis": "reported"},
        {"amount": float("inf"), "currency": "USD", "basis": "reported"},
        {"amount": -1, "currency": "USD", "basis": "reported"},
        {"amount": True, "currency": "USD", "basis": "reported"},
        {"amount": 1, "currency": None, "basis": "reported"},
        {"amount": 1, "currency": "USD", "basis": "guessed"},
    ],
)
def test_a_cost_that_is_not_complete_is_none(cost: Any) -> None:
    assert wording.cost_parts(cost) is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(("ContentRejected", "Content rejected"), ("NotAVideo", "Not a video"), ("", "Failed")),
        *(("<b>bold</b>", "Failed"), ("A" * 60, "Failed"), ("lowercase", "Failed")),
    ],
)
def test_the_class_of_an_error_is_its_label(name: str, label: str) -> None:
    assert wording.error_label(name) == label


def test_text_with_lone_surrogates_can_be_sent() -> None:
    assert wording.clean("a\ud800b\0c").encode()


def test_long_text_is_cut() -> None:
    assert wording.clean("x" * 6_000) == "x" * 5_000 + "…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("It failed", "It failed."), ("Why?", "Why?"), ("", ""), ('"no".', '"no".'), ("a ", "a.")],
)
def test_a_sentence_has_an_end(text: str, expected: str) -> None:
    assert wording.sentence(text) == expected


@pytest.mark.parametrize("text", ["", "today", "2026-11-21T14:00:00", None, 7, "9999-12-31T23:59:59-23:59"])
def test_what_is_no_time_with_a_zone_is_none(text: Any) -> None:
    assert wording.parse_time(text) is None
