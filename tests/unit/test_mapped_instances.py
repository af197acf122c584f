# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Mapped instances get names when their arguments are rendered, unless the Dag names them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task, task_group

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.mapped_instances import NamesMappedInstances
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

PROMPTS = ["a film about a lamp", "a film about a boot"]


class Rendered:
    """Stands for Airflow's operators, which render template fields."""

    def _do_render_template_fields(self, *arguments: Any) -> None:
        self.was_rendered = True


class Named(NamesMappedInstances, Rendered):
    template_fields = ("prompt", "model", "duration", "vidgen_conn_id")

    def __init__(self, prompt: str = "", model: str | None = None, vidgen_conn_id: str = "default") -> None:
        self.prompt, self.model, self.vidgen_conn_id = prompt, model, vidgen_conn_id


def context_of(dag: DAG, map_index: int | None = 0, **context: Any) -> dict[str, Any]:
    return {"ti": SimpleNamespace(task_id="make", map_index=map_index), "dag": dag, **context}


def render(operator: Named, context: Any, parent: Any = None) -> Any:
    operator._do_render_template_fields(parent or operator, (), context, None, set())
    assert operator.was_rendered
    return context.get("vidgen_instance_name")


@pytest.fixture
def dag() -> DAG:
    with DAG("named", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="make", model="m").expand(prompt=PROMPTS)
    return dag


def test_an_instance_is_named_by_a_variable_of_the_template(dag: DAG) -> None:
    context = context_of(dag)
    assert render(Named(PROMPTS[0]), context) == "lamp"
    assert context["map_index_template"] == "{{ vidgen_instance_name }}"


def test_a_prompt_with_jinja_is_not_rendered_again(dag: DAG) -> None:
    context = context_of(dag)
    name = render(Named("a film about {{ var.value.secret }} of all people"), context)
    assert name == "{{ var.value.secret }} of all people"
    assert "secret" not in context["map_index_template"]


@pytest.mark.parametrize("map_index", [None, -1])
def test_a_task_that_is_not_mapped_has_no_name(dag: DAG, map_index: int | None) -> None:
    assert render(Named(PROMPTS[0]), context_of(dag, map_index)) is None
    assert render(Named(PROMPTS[0]), {}) is None


def test_the_dags_own_template_wins(dag: DAG) -> None:
    context = context_of(dag, map_index_template="{{ task.prompt }}")
    assert render(Named(PROMPTS[0]), context) is None
    assert context["map_index_template"] == "{{ task.prompt }}"


def test_an_object_inside_of_an_argument_names_nothing(dag: DAG) -> None:
    assert render(Named(PROMPTS[0]), context_of(dag), parent=object()) is None


def test_an_instance_without_telling_arguments_keeps_its_number(dag: DAG) -> None:
    context = context_of(dag)
    assert render(Named(), context) is None
    assert "map_index_template" not in context


def test_an_error_leaves_the_number_and_says_so_without_the_prompt(
    dag: DAG, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(context: Any) -> Any:
        raise ValueError(PROMPTS[0])

    monkeypatch.setattr(airflow_internals, "mapped_arguments", fail)
    assert render(Named(PROMPTS[0]), context_of(dag)) is None
    assert "The mapped instance keeps its number, as no name could be made (ValueError)" in caplog.text
    assert PROMPTS[0] not in caplog.text


# --- which arguments are mapped -------------------------------------------------------------------------


def mapped_arguments(dag: DAG, task_id: str = "make") -> Any:
    return airflow_internals.mapped_arguments({"dag": dag, "ti": SimpleNamespace(task_id=task_id)})


def test_expand_with_values_in_the_dag_gives_the_values_of_all_instances(dag: DAG) -> None:
    assert mapped_arguments(dag) == {"prompt": PROMPTS}


def test_expand_kwargs_with_values_in_the_dag_gives_the_values_of_all_instances() -> None:
    rows = [{"prompt": "a", "retries": 1}, {"prompt": "b", "duration": 5}]
    with DAG("named", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="make").expand_kwargs(rows)
    assert mapped_arguments(dag) == {"prompt": ["a", "b"], "duration": [None, 5]}


def test_arguments_from_other_tasks_are_known_by_name_or_not_at_all() -> None:
    @task
    def values() -> list[Any]:
        return []

    with DAG("named", schedule=None, default_args={"vidgen_conn_id": "c"}) as dag:
        VideoGenerationOperator.partial(task_id="make", model="m").expand(prompt=values())
        VideoGenerationOperator.partial(task_id="rows", model="m").expand_kwargs(values())
    assert mapped_arguments(dag) == {"prompt": None}
    names = mapped_arguments(dag, "rows")
    assert {"prompt", "aspect_ratio", "output_path"} <= set(names)
    assert not {"model", "vidgen_conn_id"} & set(names)
    # An argument that no instance sets is at its default, and tells nothing apart.
    assert render(Named("a lamp at night"), context_of_task(dag, "rows")) == "a lamp at night"


def context_of_task(dag: DAG, task_id: str) -> dict[str, Any]:
    return {"ti": SimpleNamespace(task_id=task_id, map_index=0), "dag": dag}


def test_in_a_mapped_task_group_the_groups_arguments_are_mapped() -> None:
    @task_group
    def group(prompt: str) -> None:
        VideoGenerationOperator(task_id="make", prompt=prompt, model="m")

    with DAG("named", schedule=None) as dag:
        group.expand(prompt=PROMPTS)
    assert mapped_arguments(dag, "group.make") == {"prompt": None}
