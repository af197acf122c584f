# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a template left behind, and images that nobody can fetch, are refused before anything is paid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vendor_case import PROMPT, VENDORS, request_for

from airflow_provider_vidgen.errors import Problem

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _refused(vendor: str, **fields: Any) -> dict[str, Problem]:
    found = VENDORS[vendor].problems(request_for(vendor, **fields))
    return {problem.field: problem for problem in found if problem.is_error}


# --- templates ------------------------------------------------------------------------------------------


@_every_vendor
@pytest.mark.parametrize(
    "prompt", ["None", " None\n", "none", "nan", "NaN", "NaT", "null", "<NA>", "undefined"]
)
def test_a_prompt_that_says_nothing_is_a_template_without_a_value(vendor: str, prompt: str) -> None:
    problem = _refused(vendor, prompt=prompt)["prompt"]
    assert problem.value == f"the text {prompt.strip()!r}"
    assert "a template seems to have found no value" in problem.constraint


@_every_vendor
@pytest.mark.parametrize("prompt", [None, "", "  \n", "\u3000"])
def test_an_empty_prompt_hints_at_a_template(vendor: str, prompt: Any) -> None:
    assert "a template seems to have found no value" in _refused(vendor, prompt=prompt)["prompt"].constraint


@_every_vendor
@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("A secret {{ product }} in a storm", "{{"),
        ("A secret {{product in a storm", "{{"),
        ("A secret product }} in a storm", "}}"),
        ("A secret {% if x %} storm", "{%"),
        ("A secret endif %} storm", "%}"),
    ],
)
def test_a_prompt_that_was_not_rendered_is_refused_and_not_shown(vendor: str, prompt: str, mark: str) -> None:
    problem = _refused(vendor, prompt=prompt)["prompt"]
    assert problem.value == f"{len(prompt)} characters with {mark!r}"
    assert "not to have been rendered" in problem.constraint
    assert "secret" not in str(problem)


@_every_vendor
@pytest.mark.parametrize(
    "prompt",
    [
        "None of the lamps is lit",
        "A nan bread, steaming",
        "null island from above",
        json.dumps({"scene": {"camera": {"move": "pan"}}}, separators=(",", ":")),
        "braces { } and 100 % wool",
    ],
)
def test_a_prompt_that_only_looks_a_little_like_it_passes(vendor: str, prompt: str) -> None:
    assert _refused(vendor, prompt=prompt) == {}


@_every_vendor
@pytest.mark.parametrize("field", ["model", "duration", "aspect_ratio", "resolution", "image_urls"])
@pytest.mark.parametrize("value", ["None", "nan", "{{ params.x }}"])
def test_every_templated_field_hints_at_its_template(vendor: str, field: str, value: str) -> None:
    problem = _refused(vendor, **{field: value})[field]
    assert "a template seems" in problem.constraint


@_every_vendor
@pytest.mark.parametrize(
    "image",
    [
        "None",
        "nan",
        "https://cdn.example.com/{{ product }}.png",
        "https://cdn.example.com/{{product}}.png",
        "data:image/png;base64,{{ image }}",
    ],
)
def test_an_image_that_a_template_left_is_refused(vendor: str, image: str) -> None:
    problem = _refused(vendor, image_urls=["https://cdn.example.com/a.png", image])["image_urls[1]"]
    assert "a template seems" in problem.constraint
    assert "cdn" not in str(problem)


def test_what_apixo_continues_from_and_its_style_are_no_templates() -> None:
    assert "continue_from.task_id" in _refused("apixo", continue_from={"task_id": "None", "index": 0})
    assert "continue_from.task_id" in _refused("apixo", continue_from={"task_id": "{{ ti }}", "index": 0})
    assert "continue_from.index" in _refused("apixo", continue_from={"task_id": "t", "index": "{{ i }}"})
    assert "style" in _refused("apixo", style="None")
    assert "routing" in _refused("apixo", routing="None")


@_every_vendor
def test_extra_may_be_none_and_must_be_rendered(vendor: str) -> None:
    assert _refused(vendor, extra={"camera": "none", "negative_prompt": "None", "seed": None}) == {}
    for value in ("{{ x }}", {"deep": [1, {"er": "{% x %}"}]}, ["a", "x }}"]):
        problem = _refused(vendor, extra={"camera": value})["extra.camera"]
        assert "not to have been rendered" in problem.constraint


@_every_vendor
def test_all_of_it_comes_in_one_list(vendor: str) -> None:
    found = _refused(
        vendor, prompt="None", model="{{ m }}", duration="6.5", resolution="nan", image_urls=["/data/a.png"]
    )
    assert set(found) >= {"prompt", "model", "duration", "resolution", "image_urls[0]"}


# --- images ---------------------------------------------------------------------------------------------


@_every_vendor
@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ("/data/secret/a.png", "a path"),
        ("./secret/a.png", "a path"),
        ("C:\\secret\\a.png", "a path"),
        ("secret.PNG", "a path"),
        ("cdn.example.com/secret.png", "link without https://"),
        ("file:///data/secret.png", "a file: address without a host"),
        ("file:/data/secret.png", "a file: address without a host"),
        ("s3://bucket/secret.png", "s3://bucket/***"),
        ("gs://user:secret@bucket/a.png", "gs://bucket/***"),
        ("https://cdn.example.com/a b.png?sig=secret", "https://cdn.example.com/***"),
        ("http://cdn.example.com:99999/secret", "http://cdn.example.com/***"),
        ("https://user:secret@cdn.example.com/a.png", "https://cdn.example.com/***"),
        ("https://", "a https: address without a host"),
        ("iVBORw0KGgoAAAANSUhEUgAAsecret", "bare base64"),
        ("/9j/4AAQSkZJRgABAQsecret", "bare base64"),
        ("a secret lamp", "13 characters"),
        ("", "empty text"),
        (None, "None"),
        (7, "int"),
    ],
)
def test_an_image_is_shown_by_its_host_or_its_kind(vendor: str, image: Any, shown: str) -> None:
    problem = _refused(vendor, image_urls=[image])["image_urls[0]"]
    assert shown in problem.value
    assert "secret" not in str(problem)
    assert len(str(problem)) < 300


@_every_vendor
@pytest.mark.parametrize("image", ["/data/a.png", "file:///data/a.png", "s3://bucket/a.png", "a.png"])
def test_what_to_do_with_a_file_of_ones_own_is_said(vendor: str, image: str) -> None:
    allowed = _refused(vendor, image_urls=[image])["image_urls[0]"].constraint
    assert "upload the image first" in allowed
    assert ("data URL" in allowed) == VENDORS[vendor].accepts_data_urls


def test_an_http_link_only_warns_and_shows_its_host() -> None:
    found = VENDORS["apixgo"].problems(
        request_for("apixgo", prompt=PROMPT, image_urls=["http://cdn.example.com/a.png?sig=1"])
    )
    assert [(p.value, p.is_error) for p in found] == [("http://cdn.example.com/***", False)]
