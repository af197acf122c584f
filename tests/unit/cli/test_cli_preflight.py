# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""``airflow vidgen preflight``: its output in each format, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from airflow_provider_vidgen.cli import preflight
from tests.support.accounts import VENDORS, connection

#: A Dag with a request of each kind: valid, refused, of a missing connection, and known at run time.
DAG = """
from airflow.sdk import DAG, task
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator as Video

with DAG("shop", schedule=None):
    @task
    def prompts():
        return ["a"]

    Video(task_id="intro", vidgen_conn_id="vidgen_apimodels", prompt="p", model="grok-video-3-10s")
    Video.partial(task_id="products", vidgen_conn_id="vidgen_apimodels", resolution="720p").expand(
        prompt=["a", "b", "c"]
    )
    Video.partial(task_id="ratios", vidgen_conn_id="vidgen_apixo", prompt="p").expand(
        aspect_ratio=["16:9", "3:2", "4:3"]
    )
    Video(task_id="official", vidgen_conn_id="vidgen_apimodels", prompt="p", model="grok-video-3-official",
        duration=15)
    Video(task_id="lost", vidgen_conn_id="vidgen_prod", prompt="p", model="grok-video")
    Video.partial(task_id="nightly", vidgen_conn_id="vidgen_apimodels").expand(prompt=prompts())
"""
VALID = """
from airflow.sdk import DAG
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

with DAG("valid", schedule=None):
    VideoGenerationOperator(task_id="one", prompt="p", vidgen_conn_id={conn_id!r})
"""
NO_VIDEO = """
from airflow.sdk import DAG

with DAG("none", schedule=None):
    pass
"""

_GOLDEN = Path(__file__).parent / "golden"
TABLE = (_GOLDEN / "preflight_table.txt").read_text()
DETAILS = (_GOLDEN / "preflight_details.txt").read_text()


class Result(NamedTuple):
    """Output and exit code of the command."""

    out: str
    err: str
    code: int


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a file with this source, with a connection for each vendor."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    for vendor in VENDORS:
        monkeypatch.setenv(f"AIRFLOW_CONN_VIDGEN_{vendor.upper()}", connection(vendor))

    def run(source: str, *, output: str = "table", vendor: str | None = None, path: str = "") -> Result:
        file = tmp_path / "shop.py"
        file.write_text(source)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            preflight.preflight(
                Namespace(dag_or_file=path or str(file), vendor=vendor, output=output, verbose=False)
            )
        assert isinstance(ended.value.code, int)
        written = capsys.readouterr()
        return Result(written.out, written.err, ended.value.code)

    return run


def without_trailing_spaces(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def test_the_table_and_the_lines_below_it(run: Run) -> None:
    result = run(DAG)
    assert without_trailing_spaces(result.out) == TABLE + DETAILS
    assert (result.err, result.code) == ("", 1)


def test_plain_output_has_the_same_rows_and_lines(run: Run) -> None:
    result = run(DAG, output="plain")
    assert result.out.endswith(DETAILS)
    rows = result.out.removesuffix(DETAILS).splitlines()
    table = [[cell.strip() for cell in line.split("|")] for line in TABLE.splitlines() if "=" not in line]
    assert [" ".join(row.split()) for row in rows] == [" ".join(" ".join(row).split()) for row in table]


@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_json_and_yaml_are_one_document_with_numbers(
    run: Run, output: str, parse: Callable[[str], Any]
) -> None:
    result = run(DAG, output=output)
    document = parse(result.out)
    assert document["total"] == {
        "videos": 8,
        "uncounted_tasks": ["shop.nightly"],
        "cost": {"USD": 0.4},
        "price_dates": ["2026-11-20"],
        "videos_without_price": 3,
        "seconds": 150,
        "videos_without_time": 4,
    }
    assert (document["exit_code"], document["import_errors"], result.code) == (1, {}, 1)
    assert [(task["task_id"], task["map_indexes"]) for task in document["tasks"]] == [
        ("intro", []),
        ("products", [0, 1, 2]),
        ("ratios", [0, 1]),
        ("ratios", [2]),
        ("official", []),
        ("lost", []),
        ("nightly", []),
    ]
    assert document["tasks"][3] == {
        "dag_id": "shop",
        "task_id": "ratios",
        "map_indexes": [2],
        "videos": 1,
        "vendor": "Apixo",
        "model": "grok-video",
        "checked": True,
        "errors": [
            {
                "field": "aspect_ratio",
                "value": "4:3",
                "constraint": "grok-video accepts 1:1, 2:3, 3:2, 9:16, 16:9",
            }
        ],
        "warnings": [],
        "notes": [],
        "known_at_run_time": [],
        "cost_of_each": None,
        "usual_seconds_of_each": None,
    }
    price = {"amount": 0.08, "currency": "USD", "basis": "estimated", "as_of": "2026-11-20"}
    assert document["tasks"][0]["cost_of_each"] == price
    assert document["tasks"][6]["known_at_run_time"] == ["prompt"]
    assert (document["tasks"][6]["videos"], document["tasks"][5]["checked"]) == (None, False)


def test_a_dag_without_errors_ends_with_0(run: Run) -> None:
    result = run(VALID.format(conn_id="vidgen_apimodels"))
    assert result.code == 0
    assert "Estimated cost: 0.08 USD (prices of 2026-11-20)\nUsual rendering time: 30 s" in result.out
    assert "errors" not in result.out


def test_a_request_without_price_and_time_says_so(run: Run) -> None:
    result = run(VALID.format(conn_id="vidgen_apixo"))
    assert "Videos: 1\nEstimated cost: not known\nUsual rendering time: not known\n" in result.out


def test_a_missing_connection_ends_with_2_and_with_0_if_a_vendor_is_given(run: Run) -> None:
    source = VALID.format(conn_id="vidgen_prod")
    assert run(source).code == 2
    judged = run(source, vendor="apimodels")
    assert judged.code == 0
    assert "does not exist here; checked as APIModels" in judged.out


def test_a_connection_that_is_known_at_run_time_ends_with_0(run: Run) -> None:
    result = run(VALID.format(conn_id="{{ params.conn }}"))
    assert result.code == 0
    assert "the connection is known at run time; not checked, as no --vendor is given" in result.out


def test_arguments_that_are_all_known_at_run_time_are_one_word(run: Run) -> None:
    source = NO_VIDEO.replace(
        "    pass",
        "    from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator\n"
        "    from airflow.sdk import task\n"
        "    VideoGenerationOperator.partial(task_id='t').expand_kwargs(\n"
        "        task(task_id='rows')(lambda: [])())",
    )
    assert "| all" in run(source, vendor="apixo").out


def test_a_file_that_cannot_be_imported_ends_with_2(run: Run) -> None:
    result = run("import no_such_module_here  # airflow dag")
    assert result.code == 2
    expected = "error: shop.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module_here'"
    assert result.out.splitlines() == [expected, "No Dag was found."]


def test_a_file_without_a_dag_ends_with_2_and_one_without_a_video_with_0(run: Run) -> None:
    assert run("x = 1") == Result("No Dag was found.\n", "", 2)
    assert run(NO_VIDEO) == Result("No VideoGenerationOperator was found.\n", "", 0)
    assert json.loads(run(NO_VIDEO, output="json").out)["tasks"] == []


def test_a_path_that_does_not_exist_ends_with_2_and_a_message_alone(run: Run) -> None:
    assert run("", path="/no/such/dag.py") == Result("", "There is no file /no/such/dag.py.\n", 2)


def test_errors_of_one_dag_count_more_than_a_missing_connection_of_another(run: Run) -> None:
    assert run(DAG).code == 1
    assert run(DAG, vendor="apixo").code == 1


def test_a_problem_of_several_rows_is_written_once(run: Run) -> None:
    lines = run(DAG.replace(".expand(prompt=prompts())", ".expand(prompt=prompts(), duration=[6, 6])")).out
    assert lines.count("| nightly") == 2
    assert lines.count("error: shop.nightly: duration=6: grok-video-3 accepts 5 seconds") == 1


def test_the_connections_of_the_database_are_found(run: Run) -> None:
    run(NO_VIDEO)
    assert os.environ["_AIRFLOW_PROCESS_CONTEXT"] == "server"


def test_prompts_and_keys_are_in_no_output(run: Run) -> None:
    source = VALID.format(conn_id="vidgen_apixo").replace('prompt="p"', 'prompt="a secret plan", duration=1')
    for output in ("table", "json", "yaml", "plain"):
        result = run(source, output=output)
        assert result.code == 1
        assert "secret plan" not in result.out + result.err
        assert "sk-" not in result.out + result.err


def test_nothing_is_sent_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*address: Any) -> None:
        pytest.fail(f"The command connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    target = '"vidgen_apixo", image_urls=["https://example.com/a.png"], output_path="s3://bucket/videos/"'
    assert run(VALID.replace("{conn_id!r}", target)).code == 0


@pytest.mark.parametrize("indexes", [(), (0,), (3, 4, 5), (0, 2, 3, 7), (1, 2)])
def test_indexes_are_written_as_ranges(indexes: tuple[int, ...]) -> None:
    written = {(): "", (0,): "0", (3, 4, 5): "3-5", (0, 2, 3, 7): "0, 2-3, 7", (1, 2): "1-2"}
    assert preflight._ranges(indexes) == written[indexes]
