# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Names of mapped task instances."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_vidgen.instance_names import MAX_LENGTH, instance_name

PROMPTS = [f"a film about a {thing} in soft light" for thing in ("red kettle", "lamp", "blue coffee grinder")]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"prompt": "a storm at sea", "aspect_ratio": "16:9"}, "a storm at sea 16:9"),
        ({"aspect_ratio": "9:16", "duration": 6, "resolution": "720p"}, "9:16 6 s 720p"),
        ({"image_urls": ["https://cdn.example.com/a/espresso-machine.png"]}, "espresso-machine"),
        ({"output_path": "s3://key:secret@films/espresso%20machine.mp4", "model": "m"}, "espresso machine m"),
        ({"output_path": "gs://films/espresso-machine/{task_id}.mp4"}, "espresso-machine"),
        ({"url": ["https://cdn.example.com/f/a7.mp4?signature=abc", "https://cdn.example.com/8.mp4"]}, "a7"),
        ({"prompt": "animate https://cdn.example.com/a7.png?signature=abc slowly"}, "animate slowly"),
        ({"url": "/files/a7.mp4?signature=abc"}, "a7"),
        ({"url": "https://user:secret@cdn.example.com/?signature=abc"}, "cdn.example.com"),
        ({"video": {"task_id": "task_7", "model": "m"}}, "task_7"),
        ({"job_id": "task_7"}, "task_7"),
        ({"image_urls": ["data:image/png;base64,AAAA"], "aspect_ratio": "1:1"}, "1:1"),
        ({"image_urls": ["data:image/png;base64,AAAA"]}, ""),
        ({"url": "https://[", "model": "m"}, "m"),
        ({"image_urls": [], "extra": {"seed": 1}, "style": None, "sidecar": True}, ""),
        ({}, ""),
    ],
)
def test_a_name_is_made_of_the_short_values_or_of_the_words_of_the_prompt(
    arguments: dict[str, Any], name: str
) -> None:
    assert instance_name(arguments) == name


def test_words_that_all_prompts_begin_or_end_with_are_left_out() -> None:
    names = [instance_name({"prompt": prompt}, {"prompt": PROMPTS}) for prompt in PROMPTS]
    assert names == ["red kettle", "lamp", "blue coffee grinder"]


def test_a_prompt_that_others_continue_keeps_a_word() -> None:
    prompts = ["a lamp", "a lamp at night"]
    assert [instance_name({"prompt": prompt}, {"prompt": prompts}) for prompt in prompts] == [
        "lamp",
        "lamp at night",
    ]


def test_equal_prompts_keep_their_words() -> None:
    assert instance_name({"prompt": "a lamp", "model": "m"}, {"prompt": ["a lamp"]}) == "a lamp m"


def test_a_value_that_all_instances_share_is_left_out() -> None:
    known = {"resolution": ["720p", "720p"], "aspect_ratio": ["16:9", "1:1"]}
    assert instance_name({"resolution": "720p", "aspect_ratio": "1:1"}, known) == "1:1"


def test_a_long_prompt_is_cut_between_words_and_leaves_space_for_the_short_values() -> None:
    name = instance_name({"prompt": "An " + "unhurried camera move " * 20, "aspect_ratio": "16:9"})
    assert name == "An unhurried camera move unhurried camera move… 16:9"


def test_a_long_id_is_cut() -> None:
    assert instance_name({"job_id": "x" * 500}) == "x" * 39 + "…"


def test_a_prompt_is_left_out_if_a_file_names_the_instance() -> None:
    arguments = {"prompt": "a storm at sea", "image_urls": ["https://cdn.example.com/storm.png"]}
    assert instance_name(arguments) == "storm"


@pytest.mark.parametrize("literal", ["12", "None", "[1,2]", "'x'"])
def test_a_name_is_never_a_python_literal(literal: str) -> None:
    """Otherwise a Dag with ``render_template_as_native_obj`` would render another type, and fail the task."""
    assert instance_name({"style": literal}) == f"style {literal}"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(["prompt", "duration", "image_urls", "output_path", "extra", "video"])


@given(st.dictionaries(_NAMES, _VALUES), st.dictionaries(_NAMES, st.lists(_VALUES, max_size=4)))
@example({"prompt": "a\nb\x00c \u202egnp.exe"}, {})
@example({"prompt": "{{ conn.x.password }} and more"}, {})
def test_a_name_is_one_short_line_whatever_the_arguments_are(
    arguments: dict[str, Any], known: dict[str, list[Any]]
) -> None:
    name = instance_name(arguments, known)
    assert len(name) <= MAX_LENGTH
    assert name.isprintable()
    assert name == " ".join(name.split())
    with pytest.raises((ValueError, SyntaxError)):
        ast.literal_eval(name)


@given(st.lists(st.text("abc ", min_size=3, max_size=30), min_size=2, max_size=5, unique=True))
def test_known_prompts_lose_only_words_that_all_of_them_have(prompts: list[str]) -> None:
    for prompt in prompts:
        name = instance_name({"prompt": prompt}, {"prompt": prompts})
        assert name in " ".join(prompt.split())
        if prompt.strip():
            assert name


@given(st.text(st.characters(exclude_characters="/?#:%")))
def test_a_query_is_never_in_a_name(secret: str) -> None:
    assert instance_name({"url": f"https://cdn.example.com/a/b.mp4?signature={secret}"}) == "b"
