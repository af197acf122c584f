# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The Python example of the simulator's documentation runs as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "simulator.md"


def test_the_documented_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", "overwritten by the example, restored by monkeypatch")
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    exec(compile(example, str(DOCUMENTATION), "exec"), {})
    assert "airflow vidgen adopt" in capsys.readouterr().out
