# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What a Dag file says of its tasks before a run; uses Airflow beyond its public interface.

For the command line. Tested with apache-airflow 3.3.2. Internal modules are imported where they are used.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final


class RunTime(Enum):
    """The type of :data:`RUN_TIME`, so that it can be compared with ``is``."""

    VALUE = "known at run time"


#: The value of an argument that is only known at run time: a template, an XCom, a mapped argument.
RUN_TIME: Final = RunTime.VALUE


class DagNotFound(LookupError):
    """There is no such Dag or file; the message says where it was searched."""


@dataclass(frozen=True, kw_only=True)
class ParsedDags:
    """
    The Dags of a file, a folder or a Dag id.

    :param import_errors: the last line of the error of each file that could not be imported.
    """

    dags: tuple[Any, ...]
    import_errors: Mapping[str, str]


def parse_dags(dag_or_path: str) -> ParsedDags:
    """
    Parse the Dags of a file or a folder, or the one of an id.

    Text with a ``/``, or that ends in ``.py`` or ``.zip``, is a path. A Dag id is looked up in Airflow's
    database, and if it is not there, in all configured bundles. Nothing is written to the database. What the
    files print goes to the standard error.

    :raises DagNotFound: there is no such file or Dag.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if "/" in dag_or_path or dag_or_path.endswith((".py", ".zip")):
            path = Path(dag_or_path).expanduser().absolute()
            if not path.exists():
                raise DagNotFound(f"There is no file {path}")
            return _parse(path, path if path.is_dir() else path.parent)
        return _parse_dag(dag_or_path)


def _parse(path: Path, bundle_path: Path, bundle_name: str | None = None) -> ParsedDags:
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(
        dag_folder=path,
        bundle_path=bundle_path,
        bundle_name=bundle_name,
        # A folder's files are searched for the words "dag" and "airflow" first; a given file is always read.
        safe_mode=path.is_dir(),
    )
    errors = {file: _last_line(error) for file, error in bag.import_errors.items()}
    return ParsedDags(dags=tuple(bag.dags.values()), import_errors=errors)


def _parse_dag(dag_id: str) -> ParsedDags:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from sqlalchemy.exc import SQLAlchemyError

    try:
        model = DagModel.get_current(dag_id)
    except SQLAlchemyError:  # no database, as in a build pipeline
        model = None
    bundles = list(DagBundlesManager().get_all_dag_bundles())  # type: ignore[no-untyped-call]
    if model is not None:
        bundles = [bundle for bundle in bundles if bundle.name == model.bundle_name] or bundles
    for bundle in bundles:
        bundle.initialize()
        file = bundle.path / ((model and model.relative_fileloc) or "")
        parsed = _parse(file if file.is_file() else bundle.path, bundle.path, bundle.name)
        dags = tuple(dag for dag in parsed.dags if dag.dag_id == dag_id)
        if dags:
            return ParsedDags(dags=dags, import_errors={})
        if file.is_file() and parsed.import_errors:
            return parsed
    searched = ", ".join(bundle.name for bundle in bundles)
    raise DagNotFound(
        f"There is no Dag {dag_id!r} in the bundles {searched}, or its file cannot be imported; "
        "a path has a / or ends in .py"
    )


def _last_line(error: str) -> str:
    return next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "unknown error")


class StaticTask:
    """
    The arguments of one or more instances of a task, as far as the Dag file says them.

    :param task: as the Dag holds it: an operator, or a mapped one.
    :param operator: with the arguments of these instances; ``None`` if it cannot be made.
    :param map_index: of the instance; ``None`` if the task is not mapped, or the index is not known.
    :param count: the number of instances; ``None`` if it is only known at run time.
    :param error: why the operator cannot be made.
    """

    def __init__(
        self, task: Any, operator: Any, *, map_index: int | None, count: int | None, error: str = ""
    ) -> None:
        self.task_id: str = task.task_id
        self.map_index = map_index
        self.count = count
        self.error = error
        self._task = task
        self._operator = operator

    def raw(self, name: str) -> Any:
        """Return an argument as written in the Dag file: also an unrendered template or an XCom's handle."""
        return getattr(self._operator, name, None)

    def get(self, name: str) -> Any:
        """Return an argument, or :data:`RUN_TIME`."""
        value = self.raw(name)
        is_templated = name in self._operator.template_fields
        return RUN_TIME if _is_known_at_run_time(value, is_templated) else value

    def shared(self, name: str) -> Any:
        """Return what all instances of a mapped task have as an argument, as written, or ``None``."""
        if not self._task.is_mapped and not list(self._task.iter_mapped_task_groups()):
            return None
        return getattr(self._task, "partial_kwargs", vars(self._task)).get(name)


def static_tasks(dag: Any, operator_class: type) -> Iterator[StaticTask]:
    """Yield the tasks of a class and its subclasses, each instance of a literal mapping by itself."""
    for task in dag.tasks:
        task_class = task.operator_class if task.is_mapped else type(task)
        if not issubclass(task_class, operator_class):
            continue
        if not task.is_mapped:
            groups = task.iter_mapped_task_groups()
            count = _product([_literal_count(group._expand_input) for group in groups])
            yield StaticTask(task, task, map_index=None, count=count)
            continue
        # Airflow maps no task in a mapped task group, so there are no other instances than these.
        for index, (arguments, count) in enumerate(_expansions(task)):
            operator, error = None, ""
            try:
                operator = task.unmap(arguments)
            except Exception as exception:
                error = f"{type(exception).__name__}: {exception}"
            map_index = None if count is None else index
            yield StaticTask(task, operator, map_index=map_index, count=count, error=error)


def _expansions(task: Any) -> Iterator[tuple[Mapping[str, Any], int | None]]:
    """Yield the arguments of each instance of a mapped task, and the number of instances that have them."""
    from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput

    value = task.expand_input.value
    # The name of an argument that an XCom gives is not known either, so it may be any that is not given.
    any_argument = {
        name: _run_time_value()
        for name in task.operator_class.template_fields
        if name not in task.partial_kwargs
    }
    if isinstance(task.expand_input, DictOfListsExpandInput):
        literal = {name: _items(items) for name, items in value.items() if _is_literal(items)}
        others = {name: items for name, items in value.items() if name not in literal}
        for combination in itertools.product(*literal.values()):
            yield {**dict(zip(literal, combination, strict=True)), **others}, None if others else 1
    elif not _is_literal(value):
        yield any_argument, None
    else:
        for item in value:
            yield item if isinstance(item, Mapping) else any_argument, 1


def _literal_count(expand_input: Any) -> int | None:
    """Return the number of instances of an expansion, or ``None`` if an XCom decides it."""
    value = expand_input.value
    if not isinstance(value, Mapping):
        return len(value) if _is_literal(value) else None
    return _product([len(items) if _is_literal(items) else None for items in value.values()])


def _product(counts: list[int | None]) -> int | None:
    result = 1
    for count in counts:
        if count is None:
            return None
        result *= count
    return result


def _items(items: Any) -> list[Any]:
    return list(items.items()) if isinstance(items, Mapping) else list(items)


def _is_literal(value: Any) -> bool:
    from airflow.sdk.definitions._internal.mixins import ResolveMixin

    return not isinstance(value, ResolveMixin)


def _run_time_value() -> Any:
    from airflow.sdk.definitions._internal.mixins import ResolveMixin

    return ResolveMixin()


def _is_known_at_run_time(value: Any, is_templated: bool) -> bool:
    """Whether Airflow replaces a value, or a part of it, when the task runs."""
    if isinstance(value, str):
        return is_templated and ("{{" in value or "{%" in value)
    if isinstance(value, Mapping):
        return any(_is_known_at_run_time(item, is_templated) for item in value.values())
    if isinstance(value, list | tuple | set):
        return any(_is_known_at_run_time(item, is_templated) for item in value)
    return not _is_literal(value)
