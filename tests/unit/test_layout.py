# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The house stands as it was drawn: imports run downward, files say what they are, start-up is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_vidgen

PACKAGE = Path(airflow_provider_vidgen.__file__).parent
ROOT = PACKAGE.parent
NAME = PACKAGE.name
#: The licence: this very file begins with it.
HEADER = "".join(Path(__file__).read_text().splitlines(keepends=True)[:2])
HTTP = {"requests", "aiohttp", "urllib3", "httpx", "http", "socket"}
AIRFLOW = {"airflow"}

#: Room -> the rooms of ours it may import from, besides itself.
BOTTOM = {"models", "errors"}
MIDDLE = BOTTOM | {"vendors", "polling", "addresses", "redaction"}
ALLOWED = {
    "models": set(),
    "errors": {"models"},
    "addresses": set(),
    "redaction": set(),
    "polling": BOTTOM,
    "vendors": MIDDLE,
    "xcom": {"models"},
    "clock": set(),
    "ledger": BOTTOM | {"clock"},
    "connection": MIDDLE,
    "limits": {"connection"},
    "http": MIDDLE | {"clock", "connection", "limits"},
    "client": MIDDLE | {"clock", "connection", "http", "limits"},
    "landing": MIDDLE | {"clock", "connection", "http"},
    "decision": {"ledger"},
    "submission": MIDDLE | {"client", "connection", "http", "ledger", "decision", "clock"},
}
PURE = (
    "models",
    "errors",
    "addresses",
    "redaction",
    "polling",
    "vendors",
    "connection",
    "xcom",
    "clock",
    "ledger",
    "decision",
)


def files(*rooms: str) -> list[Path]:
    found = [PACKAGE / f"{room}.py" for room in rooms if (PACKAGE / f"{room}.py").exists()]
    return found + [path for room in rooms for path in sorted((PACKAGE / room).rglob("*.py"))]


def imports(path: Path, *, typing_too: bool = False) -> Iterator[str]:
    """All modules a file imports, also inside functions; not what is only for the type checker."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_too:
            skipped |= {id(inner) for inner in ast.walk(node)}
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module
            if node.module == NAME:
                yield from (f"{NAME}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 else None


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_downward_only(room: str) -> None:
    for path in files(room):
        used = {room_of(module) for module in imports(path, typing_too=True)} - {None, room}
        assert used <= ALLOWED[room], f"{path} imports {used - ALLOWED[room]}"


@pytest.mark.parametrize("room", PURE)
def test_pure_modules_import_neither_airflow_nor_a_network_library(room: str) -> None:
    assert files(room)
    for path in files(room):
        used = {module.split(".")[0] for module in imports(path, typing_too=True)}
        assert not used & (HTTP | AIRFLOW), f"{path} imports {used & (HTTP | AIRFLOW)}"


def test_the_http_client_imports_no_airflow() -> None:
    for path in files("client", "http", "limits", "submission"):
        assert "airflow" not in {module.split(".")[0] for module in imports(path)}, path


def test_the_package_needs_no_other_provider() -> None:
    for path in PACKAGE.rglob("*.py"):
        used = {module for module in imports(path) if module.startswith("airflow.providers")}
        assert not used, f"{path} imports {used}"


def test_nothing_imports_the_simulator() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "simulator" not in path.relative_to(PACKAGE).parts:
            assert "simulator" not in {room_of(module) for module in imports(path)}, path


def test_the_simulator_imports_nothing_of_the_package() -> None:
    for path in files("simulator"):
        rooms = {room_of(module) for module in imports(path)} - {None}
        assert rooms <= {"simulator"}, f"{path} imports {rooms}"


def test_no_lower_module_imports_an_airflow_component() -> None:
    facing = {"hooks", "operators", "sensors", "triggers", "decorators", "links", "plugins", "cli"}
    for room in ALLOWED:
        for path in files(room):
            assert not facing & {room_of(module) or "" for module in imports(path, typing_too=True)}, path


@pytest.mark.parametrize(
    "module",
    [
        "operators.video_generation",
        "operators.video_download",
        "sensors.video_task",
        "hooks.video_gen",
        "get_provider_info",
    ],
)
def test_parsing_a_dag_loads_no_http_library(module: str) -> None:
    code = (
        "import sys, airflow.sdk\n"
        "from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator, PokeReturnValue, conf\n"
        "before = set(sys.modules)\n"
        f"import airflow_provider_vidgen.{module}\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(told.stdout.strip().splitlines()[-1]))
    assert not loaded & {"requests", "aiohttp", "urllib3", "tenacity", "fsspec", "upath"}, loaded


def repository_files() -> list[Path]:
    folders = ("airflow_provider_vidgen", "tests", "example_dags", "examples", "dev", "benchmarks")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_file_begins_with_the_licence_header() -> None:
    assert "Apache License, Version 2.0" in HEADER
    assert [str(path) for path in repository_files() if not path.read_text().startswith(HEADER)] == []


def test_every_module_of_the_package_has_a_docstring() -> None:
    silent = [
        str(path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if not ast.get_docstring(tree := ast.parse(path.read_text())) and tree.body
    ]
    assert silent == []


def test_every_public_class_and_function_has_a_docstring() -> None:
    silent = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{path.name}:{node.name}")
    assert silent == []


def test_py_typed_is_shipped() -> None:
    assert (PACKAGE / "py.typed").exists()
