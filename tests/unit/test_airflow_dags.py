# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Dag files are parsed without a run, and the arguments of their tasks are read as far as they are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task, task_group
from sqlalchemy.exc import OperationalError

from airflow_provider_vidgen.airflow_dags import RUN_TIME, DagNotFound, StaticTask, parse_dags, static_tasks
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

DAG_FILE = """
from airflow.sdk import DAG
{first}
with DAG("{dag_id}", schedule=None):
    pass
"""


def dag_file(folder: Path, dag_id: str, first: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{dag_id}.py"
    path.write_text(DAG_FILE.format(dag_id=dag_id, first=first))
    return path


def tasks_of(dag: DAG) -> list[StaticTask]:
    return list(static_tasks(dag, VideoGenerationOperator))


@task
def rows() -> list[Any]:
    return []


class Subclass(VideoGenerationOperator):
    """An operator of the user's own."""


# --- files ----------------------------------------------------------------------------------------------


def test_a_file_is_parsed_with_the_modules_next_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helper_next_to_the_dag.py").write_text("print('imported')\n")
    parsed = parse_dags(str(dag_file(tmp_path, "one", "import helper_next_to_the_dag")))
    assert [dag.dag_id for dag in parsed.dags] == ["one"]
    assert parsed.import_errors == {}
    # The standard output is the command's, which may be JSON.
    output = capsys.readouterr()
    assert "imported" not in output.out
    assert "imported" in output.err


def test_a_folder_gives_all_its_dags_and_the_last_line_of_each_import_error(tmp_path: Path) -> None:
    dag_file(tmp_path, "one")
    dag_file(tmp_path, "two")
    dag_file(tmp_path, "broken", "raise ValueError('no such product')")
    parsed = parse_dags(f"{tmp_path}/")
    assert sorted(dag.dag_id for dag in parsed.dags) == ["one", "two"]
    assert parsed.import_errors == {"broken.py": "ValueError: no such product"}


def test_a_file_without_the_words_that_airflow_searches_for_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "shop_factory.py").write_text(
        DAG_FILE.format(dag_id="shop", first="").replace(":", " as it:")
    )
    path = tmp_path / "shop.py"
    path.write_text("from shop_factory import it\n")
    assert [dag.dag_id for dag in parse_dags(str(path)).dags] == ["shop"]
    path.write_text("x = 1\n")
    assert parse_dags(str(path)).dags == ()


@pytest.mark.parametrize("path", ["missing.py", "./missing", "missing.zip", "/no/such/folder/"])
def test_a_path_that_does_not_exist_is_named(path: str) -> None:
    with pytest.raises(DagNotFound, match=r"There is no file /.*(missing|folder)"):
        parse_dags(path)


# --- Dag ids --------------------------------------------------------------------------------------------


class Bundle:
    """A configured bundle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.is_initialized = False

    def initialize(self) -> None:
        self.is_initialized = True


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Two bundles, and the entries of the database by Dag id; no entries: there is no database."""
    from airflow.dag_processing.bundles import manager
    from airflow.models.dag import DagModel

    found = [Bundle(tmp_path / "first"), Bundle(tmp_path / "second")]
    for bundle in found:
        bundle.path.mkdir()
    monkeypatch.setattr(
        manager, "DagBundlesManager", lambda: SimpleNamespace(get_all_dag_bundles=lambda: iter(found))
    )
    database: dict[str, Any] = {}

    def get_current(dag_id: str) -> Any:
        if not database:
            raise OperationalError("SELECT", {}, Exception("no such table"))
        return database.get(dag_id)

    monkeypatch.setattr(DagModel, "get_current", get_current)
    return {"bundles": found, "database": database}


def test_a_dag_of_the_database_is_read_from_its_own_file_alone(
    bundles: dict[str, Any], tmp_path: Path
) -> None:
    dag_file(tmp_path / "first", "other", "raise ValueError")
    dag_file(tmp_path / "second", "another", "raise SystemExit('not to be parsed')")
    dag_file(tmp_path / "second", "lake")
    bundles["database"]["lake"] = SimpleNamespace(bundle_name="second", relative_fileloc="lake.py")
    parsed = parse_dags("lake")
    assert [dag.dag_id for dag in parsed.dags] == ["lake"]
    assert parsed.import_errors == {}
    assert [bundle.is_initialized for bundle in bundles["bundles"]] == [False, True]


def test_a_dag_of_the_database_whose_file_is_broken_now_gives_its_error(
    bundles: dict[str, Any], tmp_path: Path
) -> None:
    dag_file(tmp_path / "second", "lake", "import no_such_module_here")
    bundles["database"]["lake"] = SimpleNamespace(bundle_name="second", relative_fileloc="lake.py")
    parsed = parse_dags("lake")
    assert parsed.dags == ()
    assert parsed.import_errors == {"lake.py": "ModuleNotFoundError: No module named 'no_such_module_here'"}


@pytest.mark.parametrize("entry", [None, SimpleNamespace(bundle_name="gone", relative_fileloc=None)])
def test_a_dag_that_is_not_in_the_database_is_searched_in_all_bundles(
    bundles: dict[str, Any], tmp_path: Path, entry: Any
) -> None:
    dag_file(tmp_path / "first", "other")
    dag_file(tmp_path / "second", "lake")
    if entry:
        bundles["database"]["lake"] = entry
    assert [dag.dag_id for dag in parse_dags("lake").dags] == ["lake"]


def test_a_dag_that_is_nowhere_is_reported_with_the_searched_bundles(bundles: dict[str, Any]) -> None:
    with pytest.raises(DagNotFound, match="There is no Dag 'lake' in the bundles first, second"):
        parse_dags("lake")


# --- arguments ------------------------------------------------------------------------------------------


def test_literal_arguments_of_templated_fields_are_known() -> None:
    with DAG("d", schedule=None) as dag:
        Subclass(task_id="t", prompt="p", duration=6, image_urls=["https://example.com/a.png"])
        task.python(task_id="other")(lambda: None)()
    (found,) = tasks_of(dag)
    assert (found.task_id, found.map_index, found.count, found.error) == ("t", None, 1, "")
    assert (found.get("prompt"), found.get("duration"), found.get("style")) == ("p", 6, None)
    assert found.get("image_urls") == ["https://example.com/a.png"]
    assert found.shared("prompt") is None


@pytest.mark.parametrize(
    "value",
    [
        "{{ params.x }}",
        "a {% if x %}b{% endif %}",
        ["https://example.com/a.png", "{{ ds }}"],
        ("{{ ds }}",),
        {"input": {"seed": "{{ params.seed }}"}},
    ],
)
def test_a_template_is_known_at_run_time_wherever_it_is(value: Any) -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator(task_id="t", prompt="p", extra=value)
    (found,) = tasks_of(dag)
    assert found.get("extra") is RUN_TIME
    assert found.raw("extra") == value


def test_an_xcom_is_known_at_run_time_and_a_template_where_there_are_none_is_text() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator(task_id="t", prompt=rows(), image_urls=[rows()], use_callback="{{ x }}")
    (found,) = tasks_of(dag)
    assert found.get("prompt") is found.get("image_urls") is RUN_TIME
    assert found.get("use_callback") == "{{ x }}"


def test_literal_mappings_are_multiplied_in_airflows_order() -> None:
    with DAG("d", schedule=None, default_args={"model": "grok-video-3"}) as dag:
        VideoGenerationOperator.partial(task_id="t", resolution="720p").expand(
            prompt=["a", "b"], aspect_ratio=["16:9", "9:16", "1:1"]
        )
    found = tasks_of(dag)
    values = [(one.map_index, one.get("prompt"), one.get("aspect_ratio")) for one in found]
    assert values == [
        (0, "a", "16:9"),
        (1, "a", "9:16"),
        (2, "a", "1:1"),
        (3, "b", "16:9"),
        (4, "b", "9:16"),
        (5, "b", "1:1"),
    ]
    assert {(one.get("model"), one.get("resolution"), one.count) for one in found} == {
        ("grok-video-3", "720p", 1)
    }
    assert found[0].shared("resolution") == "720p"
    assert found[0].shared("prompt") is None


def test_a_mapping_gives_its_items_as_pairs() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", prompt="p").expand(extra={"a": 1, "b": 2})
    assert [one.get("extra") for one in tasks_of(dag)] == [("a", 1), ("b", 2)]


def test_a_partly_literal_mapping_has_an_unknown_number_of_instances() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t").expand(prompt=rows(), duration=[5, 6])
    found = tasks_of(dag)
    assert [(one.get("prompt"), one.get("duration")) for one in found] == [(RUN_TIME, 5), (RUN_TIME, 6)]
    assert {(one.map_index, one.count) for one in found} == {(None, None)}


def test_expand_kwargs_with_a_list_gives_each_instance_its_own_arguments() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", model="m").expand_kwargs(
            [{"prompt": "a"}, {"prompt": "b", "duration": 6}, rows()]
        )
    first, second, third = tasks_of(dag)
    assert (first.get("prompt"), first.get("duration"), first.map_index, first.count) == ("a", None, 0, 1)
    assert (second.get("prompt"), second.get("duration"), second.map_index) == ("b", 6, 1)
    assert (third.get("prompt"), third.get("duration"), third.count) == (RUN_TIME, RUN_TIME, 1)
    assert third.get("model") == "m"


def test_expand_kwargs_with_an_xcom_leaves_only_the_common_arguments_known() -> None:
    with DAG("d", schedule=None, default_args={"style": "fun"}) as dag:
        VideoGenerationOperator.partial(task_id="t", model="m").expand_kwargs(rows())
    (found,) = tasks_of(dag)
    assert (found.count, found.map_index, found.get("model")) == (None, None, "m")
    assert found.get("prompt") is found.get("style") is found.get("vidgen_conn_id") is RUN_TIME


def test_an_instance_that_cannot_be_made_has_the_error() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", on_clear="never").expand(prompt=["a"])
    (found,) = tasks_of(dag)
    assert found.error == "ValueError: on_clear='never': must be 'reuse' or 'regenerate'"


@pytest.mark.parametrize(("values", "count"), [(["a", "b"], 2), (None, None)])
def test_the_instances_of_a_mapped_group_are_counted_if_they_are_literal(
    values: list[str] | None, count: int | None
) -> None:
    @task_group
    def group(prompt: str) -> None:
        VideoGenerationOperator(task_id="one", prompt=prompt, output_path="s3://b/v.mp4")

    with DAG("d", schedule=None) as dag:
        group.expand(prompt=values if values else rows())
    (found,) = tasks_of(dag)
    assert (found.task_id, found.get("prompt")) == ("group.one", RUN_TIME)
    assert (found.count, found.map_index) == (count, None)
    assert found.shared("output_path") == "s3://b/v.mp4"


def test_a_mapped_group_by_expand_kwargs_is_counted() -> None:
    @task_group
    def group(prompt: str) -> None:
        VideoGenerationOperator(task_id="one", prompt=prompt)

    with DAG("d", schedule=None) as dag:
        group.expand_kwargs([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
        group.override(group_id="other").expand_kwargs(rows())
    assert [found.count for found in tasks_of(dag)] == [3, None]
