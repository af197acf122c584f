# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator's arguments: validation, defaults, templates."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

TEMPLATED = (
    "prompt",
    "model",
    "duration",
    "aspect_ratio",
    "resolution",
    "image_urls",
    "continue_from",
    "style",
    "routing",
    "extra",
    "vidgen_conn_id",
    "output_path",
)


def test_every_field_of_the_request_is_templated() -> None:
    assert set(TEMPLATED) <= set(VideoGenerationOperator.template_fields)


def test_every_templated_field_is_an_attribute_with_the_given_value() -> None:
    given = {name: f"{{{{ params.{name} }}}}" for name in TEMPLATED}
    operator = VideoGenerationOperator(task_id="t", **given)  # type: ignore[arg-type]
    assert {name: getattr(operator, name) for name in TEMPLATED} == given


def test_templates_are_rendered_inside_lists_and_mappings() -> None:
    operator = VideoGenerationOperator(
        task_id="t",
        prompt="{{ subject }} at night",
        image_urls=["{{ url }}"],
        extra={"input": {"x": "{{ subject }}"}},
    )
    operator.render_template_fields({"subject": "a cat", "url": "https://example.com/a.png"})  # type: ignore[arg-type]
    assert operator.prompt == "a cat at night"
    assert operator.image_urls == ["https://example.com/a.png"]
    assert operator.extra == {"input": {"x": "a cat"}}


def test_the_operator_can_be_mapped() -> None:
    mapped = VideoGenerationOperator.partial(task_id="t", model="grok-video").expand(prompt=["a", "b"])
    assert mapped.task_id == "t"


@pytest.mark.parametrize(
    "invalid",
    [
        {"on_unknown_submit": "retry"},
        {"on_unknown_submit": None},
        {"timeout": 0},
        {"timeout": -1},
        {"poll_interval": 0},
        {"poll_interval": -5},
        {"verify": "FAIL"},
        {"on_clear": "always"},
    ],
)
def test_an_invalid_argument_is_refused_when_the_dag_is_parsed(invalid: dict[str, Any]) -> None:
    (name,) = invalid
    with pytest.raises(ValueError, match=name):
        VideoGenerationOperator(task_id="t", prompt="x", **invalid)


@pytest.mark.parametrize(
    "valid",
    [
        {"on_unknown_submit": "fail"},
        {"on_unknown_submit": "resubmit"},
        {"on_clear": "reuse"},
        {"on_clear": "regenerate"},
        {"timeout": 0.5},
        {"poll_interval": 0.5},
        {"verify": True},
        {"verify": False},
        {"verify": "fail"},
        {"sidecar": False},
        {"sidecar_prompt": False},
        {"cancel_on_kill": False},
        {"use_callback": True},
        {"deferrable": True},
    ],
)
def test_a_valid_argument_is_stored_unchanged(valid: dict[str, Any]) -> None:
    ((name, value),) = valid.items()
    assert getattr(VideoGenerationOperator(task_id="t", prompt="x", **valid), name) == value


def test_the_defaults_are_the_documented_ones() -> None:
    operator = VideoGenerationOperator(task_id="t", prompt="x")
    assert operator.vidgen_conn_id == "vidgen_default"
    assert (operator.timeout, operator.poll_interval, operator.use_callback) == (1800, None, False)
    assert (operator.output_path, operator.on_unknown_submit) == (None, "fail")
    assert (operator.sidecar, operator.sidecar_prompt, operator.verify) == (True, True, True)
    assert (operator.on_clear, operator.cancel_on_kill) == ("reuse", True)
    assert operator.deferrable is False
