# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The code blocks and links in README and docs work as they are."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.simulator import __main__ as simulator

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language: str) -> list[Any]:
    """Return all code blocks of a language, with their documents' names as ids."""
    params = [
        pytest.param(block, id=f"{path.name}-{number}")
        for path in DOCUMENTS
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL))
    ]
    assert len(params) >= 4
    return params


@pytest.mark.parametrize("block", blocks("python"))
def test_each_python_block_runs_by_itself(block: str) -> None:
    code = compile(block, "snippet", "exec")
    # Blocks with the simulator open sockets, so they run in the integration tests.
    if "Simulator" not in block:
        exec(code, {})


@pytest.mark.parametrize("block", blocks("bash"))
def test_each_command_exists_and_accepts_its_arguments(block: str) -> None:
    # Arguments in brackets are optional.
    lines = re.sub(r" \[[^]]*\]", "", block.replace("\\\n", " ")).splitlines()
    commands = [command for line in lines if (command := shlex.split(line, comments=True))]
    assert commands
    for command in commands:
        check(command)


def check(command: list[str]) -> None:
    match command:
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["pip", "install", requirement]:
            name, _, extras = requirement.rstrip("]").partition("[")
            assert name == PROJECT["name"]
            assert set(filter(None, extras.split(","))) <= set(PROJECT["optional-dependencies"])
        case ["python", "-m", "airflow_provider_vidgen.simulator", *arguments]:
            simulator._parser().parse_args(arguments)
        case ["airflow", *arguments]:
            from airflow.cli.cli_parser import get_parser

            get_parser().parse_args(arguments)
        case _:
            pytest.fail(f"There is no check for the command {command[0]!r}")


def test_the_readme_has_absolute_links_only() -> None:
    links = re.findall(r"\]\(([^)]*)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_links_between_documents_resolve() -> None:
    for path in DOCUMENTS[1:]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            assert link.startswith("https://") or (path.parent / link).exists(), f"{path.name}: {link}"
