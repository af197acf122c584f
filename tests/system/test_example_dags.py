# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
``airflow dags test`` of every example Dag: a new user's first step, without scheduler and triggerer.

Airflow then runs each trigger in the same process, and passes only its event to the task that resumes.
"""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.support.example_dag_runs import DAGS, EXAMPLES, ExampleResult


def test_every_example_dag_is_tested() -> None:
    assert set(DAGS) == {file.stem for file in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("dag_id", DAGS)
def test_dags_test_of_an_example_succeeds_and_pays_once_for_each_video(
    example_results: dict[str, Future[ExampleResult]], dag_id: str
) -> None:
    example, result = DAGS[dag_id], example_results[dag_id].result()
    assert result.code == 0, result.output
    assert result.output.count("[DAG TEST] Trigger completed") == example.resumed, result.output
    assert [entry.state for entry in result.bills] == ["settled"] * example.jobs, result.output
    assert len(result.videos) == example.files
