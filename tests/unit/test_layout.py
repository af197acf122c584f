# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The package's layout: import directions, cheap imports, docstrings and licence headers."""

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
#: The licence header, which this file begins with.
HEADER = "".join(Path(__file__).read_text().splitlines(keepends=True)[:2])
HTTP = {"requests", "aiohttp", "urllib3", "httpx", "http", "socket"}
AIRFLOW = {"airflow"}

#: Module or subpackage -> those of this package that it may import, besides itself.
BOTTOM = {"models", "errors"}
MIDDLE = BOTTOM | {"vendors", "polling", "addresses", "redaction"}
ALLOWED = {
    "models": set(),
    "errors": {"models"},
    "addresses": set(),
    "redaction": set(),
    "polling": BOTTOM,
    "vendors": MIDDLE,
    "xcom": {"models", "polling"},
    "video_status": set(),
    "instance_names": set(),
    "clock": set(),
    "lineage": set(),
    "ledger": BOTTOM | {"clock"},
    "connection": MIDDLE,
    "limits": {"connection"},
    "http": MIDDLE | {"clock", "connection", "limits", "metrics"},
    "account_check": MIDDLE | {"connection"},
    "client": MIDDLE | {"account_check", "clock", "connection", "http", "limits", "metrics"},
    "landing": MIDDLE | {"airflow_internals", "clock", "connection", "http", "lineage", "metrics"},
    "decision": {"ledger"},
    "submission": MIDDLE | {"client", "connection", "http", "ledger", "decision", "clock", "metrics"},
}
#: The same for modules that import Airflow.
ALLOWED_WITH_AIRFLOW = {
    "airflow_internals": set(),
    "airflow_core": {"errors"},
    "airflow_core_access": set(),
    "airflow_core_videos": {"video_status"},
    "airflow_dags": set(),
    "links": set(),
    "mapped_instances": {"airflow_internals", "instance_names"},
    "metrics": BOTTOM | {"airflow_internals", "clock"},
    "airflow_errors": {"airflow_internals", "errors", "redaction"},
    "state_store": {"airflow_internals"},
    "task_actions": BOTTOM
    | {"airflow_core", "client", "clock", "connection", "hooks", "ledger", "submission"},
    "capacity": {"airflow_internals", "clock", "errors", "state_store"},
    "openlineage_events": {"landing", "lineage", "models"},
    "hooks": MIDDLE | {"airflow_internals", "client", "clock", "connection", "http", "metrics"},
    "triggers": MIDDLE | {"airflow_internals", "client", "clock", "hooks", "metrics", "video_status", "xcom"},
    "job_wait": BOTTOM
    | {"airflow_internals", "clock", "hooks", "polling", "triggers", "video_status", "xcom"},
    "video_report": BOTTOM | {"capacity", "clock", "vendors", "video_status"},
    "generation": BOTTOM
    | {"airflow_errors", "airflow_internals", "capacity", "clock", "decision", "hooks", "job_wait", "landing"}
    | {"ledger", "links", "metrics", "state_store", "submission", "video_report", "xcom"},
    "videos_tab": BOTTOM
    | {
        "__version__",
        "airflow_core_access",
        "airflow_core_videos",
        "clock",
        "landing",
        "redaction",
        "task_actions",
        "video_status",
    },
    "plugins": {"videos_tab"},
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
    "video_status",
    "instance_names",
    "clock",
    "lineage",
    "ledger",
    "decision",
    *(f"videos_tab/{name}" for name in ("cards", "listing", "paths", "progress", "situation", "videos")),
    *(f"videos_tab/{name}" for name in ("view", "wording")),
)


def files(*modules: str) -> list[Path]:
    """Return the files of modules and subpackages."""
    single = [PACKAGE / f"{module}.py" for module in modules if (PACKAGE / f"{module}.py").exists()]
    return single + [path for module in modules for path in sorted((PACKAGE / module).rglob("*.py"))]


def imports(path: Path, *, include_typing: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports, also in functions; ``include_typing`` adds those for typing."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not include_typing:
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


def top_module(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == NAME and len(parts) > 1 else None


@pytest.mark.parametrize("module", ALLOWED_WITH_AIRFLOW)
def test_imports_of_modules_with_airflow_run_downward_only(module: str) -> None:
    assert files(module)
    for path in files(module):
        used = {top_module(name) for name in imports(path)} - {None, module}
        assert used <= ALLOWED_WITH_AIRFLOW[module], f"{path} imports {used - ALLOWED_WITH_AIRFLOW[module]}"


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_run_downward_only(module: str) -> None:
    for path in files(module):
        used = {top_module(name) for name in imports(path, include_typing=True)} - {None, module}
        assert used <= ALLOWED[module], f"{path} imports {used - ALLOWED[module]}"


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_neither_airflow_nor_a_network_library(module: str) -> None:
    assert files(module)
    for path in files(module):
        used = {name.split(".")[0] for name in imports(path, include_typing=True)}
        assert not used & (HTTP | AIRFLOW), f"{path} imports {used & (HTTP | AIRFLOW)}"


def test_client_http_limits_and_submission_import_no_airflow() -> None:
    for path in files("account_check", "client", "http", "limits", "submission"):
        assert "airflow" not in {name.split(".")[0] for name in imports(path)}, path


def test_the_package_needs_no_other_provider() -> None:
    for path in PACKAGE.rglob("*.py"):
        used = {name for name in imports(path) if name.startswith(("airflow.providers", "openlineage"))}
        # Imported only when the provider of OpenLineage itself calls an operator.
        optional = path.name == "openlineage_events.py"
        assert not used or optional, f"{path} imports {used}"


def test_only_operators_import_the_optional_openlineage_module_and_only_when_it_is_used() -> None:
    for path in PACKAGE.rglob("*.py"):
        if f"{NAME}.openlineage_events" in set(imports(path)):
            assert path.parent.name == "operators"
            tree = ast.parse(path.read_text())
            top = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            assert not any("openlineage" in line for line in top), path


def test_nothing_imports_the_simulator() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "simulator" not in path.relative_to(PACKAGE).parts:
            assert "simulator" not in {top_module(name) for name in imports(path)}, path


def test_the_simulator_imports_nothing_of_the_package() -> None:
    for path in files("simulator"):
        modules = {top_module(name) for name in imports(path)} - {None}
        assert modules <= {"simulator"}, f"{path} imports {modules}"


def test_no_lower_module_imports_an_airflow_component() -> None:
    components = {"hooks", "operators", "sensors", "triggers", "decorators", "links", "plugins", "cli"}
    for module in ALLOWED:
        for path in files(module):
            assert not components & {top_module(name) or "" for name in imports(path, include_typing=True)}, (
                path
            )


@pytest.mark.parametrize(
    "module",
    [
        "operators.video_generation",
        "operators.video_download",
        "sensors.video_task",
        "hooks.video_gen",
        "get_provider_info",
        "plugins.vidgen",
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
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(process.stdout.strip().splitlines()[-1]))
    assert not loaded & {"requests", "aiohttp", "urllib3", "tenacity", "fsspec", "upath"}, loaded


def test_the_generation_operator_imports_the_rest_of_the_package_only_when_it_runs() -> None:
    module = f"{NAME}.operators.video_generation"
    code = (
        "import sys\n"
        "from airflow.sdk import BaseOperator, conf\n"
        "before = set(sys.modules)\n"
        f"import {module}\n"
        f"print([name for name in set(sys.modules) - before if name.startswith('{NAME}.')])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(process.stdout.strip().splitlines()[-1]))
    # Airflow loads the metadata of installed providers.
    metadata = {f"{NAME}.get_provider_info", f"{NAME}.vendors"}
    needed = {f"{NAME}.links", f"{NAME}.links.video_links", f"{NAME}.mapped_instances"}
    assert loaded - metadata == {f"{NAME}.operators", module, *needed}


@pytest.mark.parametrize("module", ["operators.video_download", "sensors.video_task"])
def test_parsing_a_dag_loads_neither_the_hook_nor_the_vendors(module: str) -> None:
    code = (
        "import sys\n"
        f"import {NAME}.{module}\n"
        f"print([name for name in sys.modules if name.startswith('{NAME}.')])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(process.stdout.strip().splitlines()[-1]))
    assert not loaded & {f"{NAME}.hooks.video_gen", f"{NAME}.client", f"{NAME}.vendors.base"}, loaded


def test_the_plugin_loads_nothing_of_the_tab_and_no_web_framework() -> None:
    code = (
        "import sys\n"
        "from airflow.plugins_manager import AirflowPlugin\n"
        "before = set(sys.modules)\n"
        f"import {NAME}.plugins.vidgen\n"
        "print([name for name in set(sys.modules) - before])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(process.stdout.strip().splitlines()[-1]))
    assert {name for name in loaded if name.startswith(NAME)} <= {
        *(NAME, f"{NAME}.plugins", f"{NAME}.plugins.vidgen"),
        # Airflow loads the metadata of installed providers.
        *(f"{NAME}.get_provider_info", f"{NAME}.vendors"),
    }
    assert not {"fastapi", "starlette", "jinja2"} & {name.split(".")[0] for name in loaded}


def repository_files() -> list[Path]:
    folders = ("airflow_provider_vidgen", "tests", "example_dags", "examples", "dev", "benchmarks")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_file_begins_with_the_licence_header() -> None:
    assert "Apache License, Version 2.0" in HEADER
    assert [str(path) for path in repository_files() if not path.read_text().startswith(HEADER)] == []


def test_every_module_of_the_package_has_a_docstring() -> None:
    undocumented = [
        str(path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if not ast.get_docstring(tree := ast.parse(path.read_text())) and tree.body
    ]
    assert undocumented == []


def test_every_public_class_and_function_has_a_docstring() -> None:
    undocumented = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                undocumented.append(f"{path.name}:{node.name}")
    assert undocumented == []


def test_py_typed_is_shipped() -> None:
    assert (PACKAGE / "py.typed").exists()
