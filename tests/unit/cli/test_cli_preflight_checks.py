# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The requests of a Dag are checked by the rules of a task, as far as they are known before a run."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_vidgen.cli.preflight_checks import FIELDS, RequestCheck, check_dags
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.vendors import get_vendor
from tests.support.accounts import MODEL, VENDORS, connection


@pytest.fixture(autouse=True)
def _connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for each vendor, ``vidgen_apixo`` and so on."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"AIRFLOW_CONN_VIDGEN_{vendor.upper()}", connection(vendor))


@task
def rows() -> list[Any]:
    return []


def check(vendor: str = "apixo", *, fallback: str | None = None, **arguments: Any) -> RequestCheck:
    """The check of one task."""
    with DAG("d", schedule=None) as dag:
        values = {"prompt": "p", "vidgen_conn_id": f"vidgen_{vendor}", **arguments}
        VideoGenerationOperator(task_id="t", **values)
    (result,) = check_dags([dag], get_vendor(fallback) if fallback else None)
    return result


def mapped(fixed: dict[str, Any], fallback: str | None = None, **expanded: Any) -> list[RequestCheck]:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", **fixed).expand(**expanded)
    return check_dags([dag], get_vendor(fallback) if fallback else None)


def fields(result: RequestCheck) -> list[str]:
    return [problem.field for problem in result.errors]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_valid_request_has_its_vendor_and_the_connections_model(vendor: str) -> None:
    result = check(vendor)
    assert (result.problems, result.notes, result.run_time_fields) == ((), (), ())
    assert (result.vendor, result.model) == (get_vendor(vendor).label, MODEL[vendor])
    assert (result.is_checked, result.count) == (True, 1)


def test_all_errors_and_warnings_of_a_request_are_found_at_once() -> None:
    result = check("apimodels", duration=6, aspect_ratio="3:2", resolution="480p", style="fun")
    assert fields(result) == ["style", "duration", "resolution"]
    assert [problem.field for problem in result.problems if not problem.is_error] == ["aspect_ratio"]


def test_the_estimate_and_the_usual_time_are_those_of_the_document() -> None:
    result = check("apimodels", duration=5)
    assert result.estimate is not None
    assert (result.estimate.amount, result.estimate.basis, result.usual_seconds) == (0.08, "estimated", 30)
    assert (check("apixo").estimate, check("apixo").usual_seconds) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "run_time"),
    [
        ({"prompt": "{{ params.prompt }}"}, "prompt"),
        ({"duration": "{{ params.duration }}"}, "duration"),
        ({"image_urls": ["{{ params.image }}", "not a url"]}, "image_urls"),
        ({"continue_from": {"task_id": "{{ params.job }}", "index": 9}}, "continue_from"),
        ({"extra": {"input": {"prompt": "{{ params.x }}"}}}, "extra"),
        ({"output_path": "{{ params.folder }}"}, "output_path"),
        ({"output_path": "s3://b/", "sidecar": "{{ params.folder }}"}, "sidecar"),
        ({"output_path": "s3://b/", "upload_args": {"StorageClass": "{{ params.x }}"}}, "upload_args"),
    ],
)
def test_a_field_that_is_known_at_run_time_is_named_and_not_judged(
    arguments: dict[str, Any], run_time: str
) -> None:
    result = check("apixo", **arguments)
    assert result.run_time_fields == (run_time,)
    assert result.errors == ()


def test_the_other_fields_of_a_request_with_a_template_are_judged() -> None:
    result = check("apixo", prompt="{{ params.prompt }}", duration=5, output_path="s3://bucket/videos")
    assert result.run_time_fields == ("prompt",)
    assert fields(result) == ["output_path", "duration"]


def test_a_model_that_is_known_at_run_time_has_no_estimate() -> None:
    result = check("apimodels", model="{{ params.model }}", duration=6)
    assert (result.run_time_fields, result.model, result.estimate) == (("model",), "", None)
    assert result.errors == ()


# --- connections ----------------------------------------------------------------------------------------


def test_a_connection_that_does_not_exist_is_named_and_the_target_is_judged_nevertheless() -> None:
    result = check(vidgen_conn_id="vidgen_prod", model="m", duration=99, output_path="no-folder")
    (note,) = result.notes
    assert note == "the connection 'vidgen_prod' does not exist here; not checked, as no --vendor is given"
    assert (result.is_checked, result.connection_missing, result.model) == (False, True, "m")
    assert fields(result) == ["output_path"]


def test_the_fallback_vendor_judges_a_request_without_its_connection() -> None:
    result = check(vidgen_conn_id="vidgen_prod", fallback="apixo", model="grok-video", duration=5)
    assert result.notes == ("the connection 'vidgen_prod' does not exist here; checked as Apixo",)
    assert (result.is_checked, result.connection_missing) == (True, False)
    assert fields(result) == ["duration"]


def test_without_its_connection_a_default_model_is_only_known_at_run_time() -> None:
    result = check(vidgen_conn_id="vidgen_prod", fallback="apixo", duration=5)
    assert (result.run_time_fields, result.model) == (("model",), "")
    assert result.errors == ()


@pytest.mark.parametrize(("fallback", "is_checked"), [(None, False), ("apixo", True)])
def test_a_connection_that_is_known_at_run_time_is_not_missing(
    fallback: str | None, is_checked: bool
) -> None:
    result = check(vidgen_conn_id="{{ params.conn }}", fallback=fallback)
    assert result.notes[0].startswith("the connection is known at run time; ")
    assert (result.is_checked, result.connection_missing) == (is_checked, False)


def test_the_problems_of_a_connection_are_errors_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_APIXO", connection("apixo", password=""))
    result = check("apixo", fallback="apixo", model="grok-video", duration=5)
    assert fields(result) == ["password of vidgen_apixo", "duration"]
    assert "API key" in result.errors[0].constraint


def test_the_connections_vendor_is_preferred_to_the_fallback() -> None:
    assert check("apixo", fallback="apimodels").vendor == "Apixo"


def test_a_connection_is_read_once_for_all_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

    read: list[str] = []
    get_connection = VideoGenHook.get_connection
    monkeypatch.setattr(
        VideoGenHook,
        "get_connection",
        classmethod(lambda cls, conn_id: (read.append(conn_id), get_connection(conn_id))[1]),
    )
    mapped({"vidgen_conn_id": "vidgen_apixo"}, prompt=["a", "b", "c"])
    assert read == ["vidgen_apixo"]


# --- callbacks ------------------------------------------------------------------------------------------


def test_a_callback_needs_the_connections_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fields(check("apixo", use_callback=True)) == ["callback_base_url"]
    url = {"callback_base_url": "https://airflow.example.com/"}
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_APIXO", connection("apixo", extra=url))
    assert check("apixo", use_callback=True).problems == ()


def test_a_callback_of_a_vendor_without_callbacks_is_an_error_also_without_the_connection() -> None:
    arguments: dict[str, Any] = {"vidgen_conn_id": "vidgen_prod", "use_callback": True}
    assert fields(check(fallback="apixgo", **arguments)) == ["callback_url"]
    assert check(fallback="apixo", **arguments).errors == ()


# --- targets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"output_path": "s3://bucket/videos/"}, []),
        ({"output_path": "s3://bucket/{task_id}.{ext}"}, []),
        ({"output_path": "s3://bucket/{job}.mp4"}, ["output_path"]),
        ({"output_path": "s3://bucket/videos"}, ["output_path"]),
        ({"output_path": " "}, ["output_path"]),
        ({"output_path": 7}, ["output_path"]),
        ({"output_path": "s3://bucket/", "sidecar": "s3://bucket/meta"}, ["sidecar"]),
        ({"output_path": "s3://bucket/", "sidecar": 7}, ["sidecar"]),
        ({"output_path": "s3://bucket/", "upload_args": {"NoSuch": "x"}}, ["upload_args[NoSuch]"]),
        ({"output_path": "file:///tmp/", "upload_args": {"ACL": "private"}}, ["upload_args[ACL]"]),
        ({"output_path": None, "sidecar": 7}, []),
        ({"output_path": "s3://bucket/{{ ds }}.mp4"}, []),
    ],
)
def test_a_target_is_judged_by_its_text_alone(arguments: dict[str, Any], expected: list[str]) -> None:
    assert fields(check("apixo", **arguments)) == expected


@pytest.mark.parametrize(
    ("path", "is_error"),
    [
        ("s3://bucket/{{ ds }}.mp4", True),
        ("s3://bucket/{{ run_id }}/v.{ext}", True),
        ("s3://bucket/v.mp4", True),
        ("s3://bucket/{{ ds }}/", False),
        ("s3://bucket/{{ ds }}-{map_index}.mp4", False),
        ("s3://bucket/{{ task.prompt }}.mp4", False),
        # It may end in a slash.
        ("{{ params.output }}", False),
    ],
)
def test_one_path_for_all_instances_is_an_error_also_in_a_template(path: str, is_error: bool) -> None:
    for expanded in ({"prompt": ["a", "b"]}, {"prompt": rows()}):
        (result,) = mapped({"vidgen_conn_id": "vidgen_apixo", "output_path": path}, **expanded)
        assert fields(result) == (["output_path"] if is_error else [])


def test_a_path_of_an_xcom_is_not_judged() -> None:
    assert check("apixo", output_path=rows()).problems == ()


# --- mapped tasks ---------------------------------------------------------------------------------------


def test_instances_that_are_alike_make_one_result() -> None:
    first, second, third = mapped(
        {"vidgen_conn_id": "vidgen_apimodels", "prompt": "p"}, duration=[5, "5", 6, 7, 5]
    )[0:3]
    assert (first.map_indexes, first.count, first.errors) == ((0, 1), 2, ())
    assert (second.map_indexes, fields(second)) == ((2,), ["duration"])
    assert (third.map_indexes, fields(third)) == ((3,), ["duration"])


def test_an_unknown_number_of_instances_is_not_added_up() -> None:
    results = mapped({"vidgen_conn_id": "vidgen_apimodels"}, prompt=rows(), resolution=["720p", "1080p"])
    assert [(result.count, result.map_indexes) for result in results] == [(None, ()), (None, ())]


def test_the_arguments_of_expand_kwargs_with_an_xcom_are_known_at_run_time() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t").expand_kwargs(rows())
    (result,) = check_dags([dag], get_vendor("apixo"))
    assert result.run_time_fields == FIELDS
    assert (result.is_checked, result.errors) == (True, ())


def test_an_instance_that_airflow_could_not_make_is_an_error_without_links() -> None:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(
            task_id="t", on_clear="https://user:secret@example.com/?sig=secret"
        ).expand(prompt=["a"])
    (result,) = check_dags([dag], None)
    assert (fields(result), result.is_checked) == (["task"], False)
    assert "must be 'reuse' or 'regenerate'" in str(result.errors[0])
    assert "secret" not in str(result.errors[0])


def test_dags_are_sorted_and_their_tasks_keep_their_order() -> None:
    dags = []
    for dag_id in ("b", "a"):
        with DAG(dag_id, schedule=None) as dag:
            for name in ("z", "y"):
                VideoGenerationOperator(task_id=name, prompt="p")
        dags.append(dag)
    checks = check_dags(dags, None)
    assert [(result.dag_id, result.task_id) for result in checks] == [
        ("a", "z"),
        ("a", "y"),
        ("b", "z"),
        ("b", "y"),
    ]
