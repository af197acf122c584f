# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Parsing values of a reply that may hold anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_vidgen.vendors.parsing import (
    InvalidJson,
    collect_urls,
    get_first,
    get_path,
    is_http_url,
    parse_json,
    parse_nested_json,
    parse_number,
    parse_text,
    parse_timestamp,
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x00",
        b"[" * 100_000,
        b"9" * 5000,
        b'{"a":' * 100_000,
        b"\x80\x81",
        b"<html>",
    ],
    ids=range(9),
)
def test_anything_but_json_raises_one_error(content: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(content)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1763174708, datetime(2025, 11, 15, 2, 45, 8, tzinfo=UTC)),
        (1763174708000, datetime(2025, 11, 15, 2, 45, 8, tzinfo=UTC)),
        ("1763174708", datetime(2025, 11, 15, 2, 45, 8, tzinfo=UTC)),
        (1763174708.5, datetime(2025, 11, 15, 2, 45, 8, 500_000, tzinfo=UTC)),
        (100_000_000_000, datetime(5138, 11, 16, 9, 46, 40, tzinfo=UTC)),
        (100_000_000_001, datetime(1973, 3, 3, 9, 46, 40, 1000, tzinfo=UTC)),
        *(
            (invalid, None)
            for invalid in (0, -1, None, "", "soon", True, [], 10**400, 1e300, float("nan"), 10**18)
        ),
    ],
)
def test_a_time_is_seconds_or_milliseconds_in_utc(value: Any, expected: datetime | None) -> None:
    assert parse_timestamp(value) == expected


def test_a_number_is_finite_and_not_a_boolean() -> None:
    assert [parse_number(value) for value in (1, 1.5, "2", " 3 ", "-4", 0)] == [1.0, 1.5, 2.0, 3.0, -4.0, 0.0]
    for invalid in (True, False, None, "", "x", "nan", "inf", float("inf"), 10**400, "9" * 5000, [], {}):
        assert parse_number(invalid) is None


def test_text_is_stripped_and_storable() -> None:
    assert [parse_text(value) for value in (" a ", 7, -1, True, None, 1.5, [], {})] == [
        "a",
        "7",
        "-1",
        *[""] * 5,
    ]
    assert parse_text(10**5000) == ""
    assert parse_text("a\0b\ud800c") == "a\ufffdb\ufffdc"


def test_a_missing_key_or_index_gives_none() -> None:
    data = {"a": [{"b": 1}], "n": None}
    assert get_path(data, "a", 0, "b") == 1
    assert get_path(data, "a", -1, "b") == 1
    for path in (("a", 1), ("a", "b"), ("n", "x"), ("x", "y"), (0,), ("a", 0, "b", "c")):
        assert get_path(data, *path) is None
    assert get_first({"a": "", "b": None, "c": 0}, ("a",), ("b",), ("c",)) == 0
    assert get_first({}, ("a",)) is None


def test_json_in_a_string_is_parsed_at_most_twice() -> None:
    assert parse_nested_json('{"a": 1}') == {"a": 1}
    assert parse_nested_json('"{\\"a\\": 1}"') == {"a": 1}
    assert parse_nested_json({"a": 1}) == {"a": 1}
    assert parse_nested_json("{") is None
    assert parse_nested_json(None) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x",
        "http://a.example",
        "HTTPS://A.example/x?y=1#z",
        "https://[::1]:8443/v",
        "https://例え.jp/v",
    ],
)
def test_an_http_url_has_a_scheme_and_a_host(url: str) -> None:
    assert is_http_url(url)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        b"https://a.example",
        "",
        "a.example",
        "https://",
        "https:///x",
        "ftp://a.example",
        "https://a b",
        "https://a.example/\x00",
        "https://a.example/\x7f",
        "https://a.example/\u2028",
        "https://a.example/\ud800",
        "https://[::1",
        "https://a.example:x/",
        "https://a.example:70000/",
        "https://a.example:0/",
        "https://a.example\\@b.example/",
        "https://a.example/<b>",
        '"https://a.example"',
        "//a.example/x",
    ],
)
def test_a_malformed_url_is_not_an_http_url(value: Any) -> None:
    assert not is_http_url(value)


def test_urls_are_collected_in_order_without_duplicates() -> None:
    a, b = "https://a.example/1", "https://b.example/2"
    assert collect_urls([a, {"url": [b, a]}], b, None, 7, {"link": b}) == (a, b)
    assert collect_urls([[[[[[a]]]]]]) == ()
