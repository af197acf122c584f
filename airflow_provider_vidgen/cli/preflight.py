# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
``airflow vidgen preflight``: check every request of a Dag that is known before a run.

Exit code 0: no errors; 1: requests that would be refused; 2: something could not be checked, as a file could
not be imported, or a connection does not exist.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.airflow_dags import DagNotFound, ParsedDags, parse_dags
from airflow_provider_vidgen.cli.preflight_checks import FIELDS, RequestCheck, check_dags
from airflow_provider_vidgen.models import format_amount
from airflow_provider_vidgen.vendors import get_vendor

if TYPE_CHECKING:
    from argparse import Namespace

_NOT_CHECKED = 2


@suppress_logs_and_warning
def preflight(args: Namespace) -> None:
    """
    Print the checks of a Dag's requests, and their estimated cost.

    :raises SystemExit: with the exit code; 0 as well.
    """
    airflow_core.use_connections_of_the_database()
    try:
        parsed = parse_dags(args.dag_or_file)
    except DagNotFound as error:
        print(f"{error}.", file=sys.stderr)  # noqa: T201
        sys.exit(_NOT_CHECKED)
    checks = check_dags(parsed.dags, get_vendor(args.vendor) if args.vendor else None)
    exit_code = _exit_code(parsed, checks)
    if args.output in ("json", "yaml"):
        console = AirflowConsole()
        write = console.print_as_json if args.output == "json" else console.print_as_yaml
        write(_to_document(parsed, checks, exit_code))
    else:
        if checks:
            AirflowConsole().print_as([_to_row(check) for check in checks], args.output)
        for line in dict.fromkeys(_details(parsed, checks)):
            print(line)  # noqa: T201
    sys.exit(exit_code)


def _exit_code(parsed: ParsedDags, checks: Iterable[RequestCheck]) -> int:
    if any(check.errors for check in checks):
        return 1
    is_incomplete = not parsed.dags or parsed.import_errors
    missing = any(check.connection_missing for check in checks)
    return _NOT_CHECKED if is_incomplete or missing else 0


# --- text -----------------------------------------------------------------------------------------------


def _to_row(check: RequestCheck) -> dict[str, Any]:
    is_all = len(check.run_time_fields) == len(FIELDS)
    return {
        "dag": check.dag_id,
        "task": check.task_id,
        "map_index": _ranges(check.map_indexes) or "-",
        "videos": "run time" if check.count is None else str(check.count),
        "vendor": check.vendor or "-",
        "model": check.model or "-",
        "result": _result(check),
        "cost": "-" if check.estimate is None else _each(_money(check), check.count),
        "seconds": "-" if check.usual_seconds is None else _each(str(check.usual_seconds), check.count),
        "known_at_run_time": "all" if is_all else ", ".join(check.run_time_fields) or "-",
    }


def _result(check: RequestCheck) -> str:
    if check.errors:
        return _plural(len(check.errors), "error")
    if not check.is_checked:
        return "not checked"
    warnings = len(check.problems)
    return f"ok, {_plural(warnings, 'warning')}" if warnings else "ok"


def _details(parsed: ParsedDags, checks: list[RequestCheck]) -> Iterator[str]:
    for file, error in parsed.import_errors.items():
        yield f"error: {file} cannot be imported: {error}"
    for check in checks:
        index = f"[{_ranges(check.map_indexes)}]" if check.map_indexes else ""
        name = f"{check.dag_id}.{check.task_id}{index}"
        for problem in sorted(check.problems, key=lambda problem: not problem.is_error):
            yield f"{'error' if problem.is_error else 'warning'}: {name}: {problem}"
        for note in check.notes:
            yield f"note: {name}: {note}"
    if not checks:
        yield "No VideoGenerationOperator was found." if parsed.dags else "No Dag was found."
        return
    total = _Total.of(checks)
    yield f"Videos: {total.videos}" + "".join(
        f"; the number of {task} is known at run time" for task in total.uncounted_tasks
    )
    cost = ", ".join(f"{format_amount(amount)} {currency}" for currency, amount in total.cost.items())
    dates = f" (prices of {', '.join(total.price_dates)})" if total.price_dates else ""
    yield f"Estimated cost: {cost}{dates}{_not_known(cost, total.videos_without_price)}"
    time = f"{total.seconds} s, one after the other" if total.seconds else ""
    yield f"Usual rendering time: {time}{_not_known(time, total.videos_without_time)}"
    if any(check.errors for check in checks):
        yield "Requests with errors are not counted: they would fail before anything is paid."


def _not_known(known: str, videos: int) -> str:
    if not known:
        return "not known"
    return f"; not known for {_plural(videos, 'video')}" if videos else ""


def _money(check: RequestCheck) -> str:
    return f"{format_amount(check.estimate.amount)} {check.estimate.currency}" if check.estimate else "-"


def _each(value: str, count: int | None) -> str:
    return value if count == 1 else f"{value} each"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _ranges(indexes: tuple[int, ...]) -> str:
    """Return indexes in the form ``0-2, 5``."""
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and index == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], index]
        else:
            ranges.append([index])
    return ", ".join("-".join(map(str, part)) for part in ranges)


# --- totals ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Total:
    """
    The sums over all requests without errors, if each task runs once; the others would not be submitted.

    :param uncounted_tasks: tasks whose number of videos is only known at run time.
    :param cost: amounts by currency.
    """

    videos: int
    uncounted_tasks: list[str]
    cost: dict[str, float]
    price_dates: list[str]
    videos_without_price: int
    seconds: int
    videos_without_time: int

    @classmethod
    def of(cls, checks: Iterable[RequestCheck]) -> _Total:
        valid = [check for check in checks if not check.errors]
        counted = [(check, check.count) for check in valid if check.count is not None]
        cost: defaultdict[str, float] = defaultdict(float)
        for check, count in counted:
            if check.estimate is not None:
                cost[check.estimate.currency] += check.estimate.amount * count
        dates = {check.estimate.as_of for check in valid if check.estimate and check.estimate.as_of}
        uncounted = [f"{check.dag_id}.{check.task_id}" for check in valid if check.count is None]
        return cls(
            videos=sum(count for _, count in counted),
            uncounted_tasks=list(dict.fromkeys(uncounted)),
            cost={currency: round(amount, 4) for currency, amount in sorted(cost.items())},
            price_dates=[date.isoformat() for date in sorted(dates)],
            videos_without_price=sum(count for check, count in counted if check.estimate is None),
            seconds=sum((check.usual_seconds or 0) * count for check, count in counted),
            videos_without_time=sum(count for check, count in counted if check.usual_seconds is None),
        )


# --- json and yaml --------------------------------------------------------------------------------------


def _to_document(parsed: ParsedDags, checks: list[RequestCheck], exit_code: int) -> dict[str, Any]:
    return {
        "tasks": [
            {
                "dag_id": check.dag_id,
                "task_id": check.task_id,
                "map_indexes": list(check.map_indexes),
                "videos": check.count,
                "vendor": check.vendor or None,
                "model": check.model or None,
                "checked": check.is_checked,
                "errors": [_to_json(problem) for problem in check.problems if problem.is_error],
                "warnings": [_to_json(problem) for problem in check.problems if not problem.is_error],
                "notes": list(check.notes),
                "known_at_run_time": list(check.run_time_fields),
                "cost_of_each": check.estimate and check.estimate.to_dict(),
                "usual_seconds_of_each": check.usual_seconds,
            }
            for check in checks
        ],
        "import_errors": dict(parsed.import_errors),
        "total": dataclasses.asdict(_Total.of(checks)),
        "exit_code": exit_code,
    }


def _to_json(problem: Any) -> dict[str, str]:
    return {"field": problem.field, "value": problem.value, "constraint": problem.constraint}
