# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
``airflow dags test`` of every example Dag: a newcomer's first step, with no scheduler and no triggerer.

Airflow runs each trigger in line then, and hands nothing but its event to the task that goes on.
"""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from tested_examples import DAGS, EXAMPLES, Ended


def test_every_example_is_here() -> None:
    assert set(DAGS) == {file.stem for file in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("dag_id", DAGS)
def test_dags_test_of_an_example_succeeds_and_pays_once_for_each_video(
    tested_examples: dict[str, Future[Ended]], dag_id: str
) -> None:
    example, done = DAGS[dag_id], tested_examples[dag_id].result()
    assert done.code == 0, done.output
    assert done.output.count("[DAG TEST] Trigger completed") == example.resumed, done.output
    assert [entry.state for entry in done.bills] == ["settled"] * example.jobs, done.output
    assert len(done.videos) == example.files
