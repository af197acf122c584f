# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Template leftovers are rejected before anything is paid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vendor_case import VENDORS, request_for

from airflow_provider_vidgen.errors import Problem

_every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def _rejected(vendor: str, **fields: Any) -> dict[str, Problem]:
    problems = VENDORS[vendor].problems(request_for(vendor, **fields))
    return {problem.field: problem for problem in problems if problem.is_error}


@_every_vendor
@pytest.mark.parametrize(
    "prompt", ["None", " None\n", "none", "nan", "NaN", "NaT", "null", "<NA>", "undefined"]
)
def test_a_prompt_that_is_a_missing_value_is_rejected(vendor: str, prompt: str) -> None:
    problem = _rejected(vendor, prompt=prompt)["prompt"]
    assert problem.value == f"the text {prompt.strip()!r}"
    assert "a template seems to have found no value" in problem.constraint


@_every_vendor
@pytest.mark.parametrize("prompt", [None, "", "  \n", "\u3000"])
def test_an_empty_prompt_is_rejected_with_a_hint_at_the_template(vendor: str, prompt: Any) -> None:
    assert "a template seems to have found no value" in _rejected(vendor, prompt=prompt)["prompt"].constraint


@_every_vendor
@pytest.mark.parametrize(
    ("prompt", "delimiter"),
    [
        ("A secret {{ product }} in a storm", "{{"),
        ("A secret {{product in a storm", "{{"),
        ("A secret product }} in a storm", "}}"),
        ("A secret {% if x %} storm", "{%"),
        ("A secret endif %} storm", "%}"),
    ],
)
def test_an_unrendered_prompt_is_rejected_and_not_shown(vendor: str, prompt: str, delimiter: str) -> None:
    problem = _rejected(vendor, prompt=prompt)["prompt"]
    assert problem.value == f"{len(prompt)} characters with {delimiter!r}"
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
def test_a_prompt_with_similar_text_is_accepted(vendor: str, prompt: str) -> None:
    assert _rejected(vendor, prompt=prompt) == {}


@_every_vendor
@pytest.mark.parametrize("field", ["model", "duration", "aspect_ratio", "resolution", "image_urls"])
@pytest.mark.parametrize("value", ["None", "nan", "{{ params.x }}"])
def test_every_templated_field_is_rejected_with_a_hint_at_the_template(
    vendor: str, field: str, value: str
) -> None:
    problem = _rejected(vendor, **{field: value})[field]
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
def test_an_image_with_a_template_leftover_is_rejected(vendor: str, image: str) -> None:
    problem = _rejected(vendor, image_urls=["https://cdn.example.com/a.png", image])["image_urls[1]"]
    assert "a template seems" in problem.constraint
    assert "cdn" not in str(problem)


def test_template_leftovers_in_apixos_fields_are_rejected() -> None:
    assert "continue_from.task_id" in _rejected("apixo", continue_from={"task_id": "None", "index": 0})
    assert "continue_from.task_id" in _rejected("apixo", continue_from={"task_id": "{{ ti }}", "index": 0})
    assert "continue_from.index" in _rejected("apixo", continue_from={"task_id": "t", "index": "{{ i }}"})
    assert "style" in _rejected("apixo", style="None")
    assert "routing" in _rejected("apixo", routing="None")


@_every_vendor
def test_extra_may_hold_none_and_must_be_rendered(vendor: str) -> None:
    assert _rejected(vendor, extra={"camera": "none", "negative_prompt": "None", "seed": None}) == {}
    for value in ("{{ x }}", {"deep": [1, {"er": "{% x %}"}]}, ["a", "x }}"]):
        problem = _rejected(vendor, extra={"camera": value})["extra.camera"]
        assert "not to have been rendered" in problem.constraint


@_every_vendor
def test_all_template_leftovers_are_reported_at_once(vendor: str) -> None:
    problems = _rejected(
        vendor, prompt="None", model="{{ m }}", duration="6.5", resolution="nan", image_urls=["/data/a.png"]
    )
    assert set(problems) >= {"prompt", "model", "duration", "resolution", "image_urls[0]"}
