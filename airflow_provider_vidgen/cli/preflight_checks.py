# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Check the requests of a Dag before a run: by the same rules as a task does, without network or payment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_vidgen.airflow_dags import RUN_TIME, StaticTask, static_tasks
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection, Problem
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.landing.options import LandingOptions
from airflow_provider_vidgen.landing.preflight import static_target_problems
from airflow_provider_vidgen.models import Cost, VideoRequest
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.vendors.base import Vendor

#: Arguments of the operator that fill the field of the same name of a request.
_REQUEST_FIELDS = (
    *("prompt", "model", "duration", "aspect_ratio", "resolution", "image_urls", "continue_from"),
    *("style", "routing", "extra"),
)
#: The arguments that are checked.
FIELDS = (*_REQUEST_FIELDS, "output_path", "sidecar", "upload_args")
#: Stands for the connection's ``callback_base_url`` where the connection is not known.
_ANY_CALLBACK_URL = "https://callbacks.example.com/"


@dataclass(frozen=True, kw_only=True)
class RequestCheck:
    """
    What is known before a run about the requests of one task, or of those of its instances that are alike.

    :param count: number of requests; ``None`` if it is only known at run time.
    :param map_indexes: of the instances, where they are known.
    :param vendor: label of the vendor, empty if it is not known.
    :param model: empty if it is not known.
    :param problems: errors and warnings.
    :param run_time_fields: arguments that are only known at run time.
    :param notes: what could not be checked, and why.
    :param is_checked: whether the request could be checked, as far as its arguments are known.
    :param connection_missing: whether that failed for a connection that does not exist here.
    :param estimate: the cost of one request, if the vendor documents a price.
    :param usual_seconds: the documented usual time to render one video.
    """

    dag_id: str
    task_id: str
    count: int | None = 1
    map_indexes: tuple[int, ...] = ()
    vendor: str = ""
    model: str = ""
    problems: tuple[Problem, ...] = ()
    run_time_fields: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_checked: bool = True
    connection_missing: bool = False
    estimate: Cost | None = None
    usual_seconds: int | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems for which the task would fail before it submits."""
        return tuple(problem for problem in self.problems if problem.is_error)


@dataclass(frozen=True, kw_only=True)
class _Account:
    """What is known of a task's connection here."""

    vendor: Vendor | None
    settings: ConnectionSettings | None = None
    problems: tuple[Problem, ...] = ()
    note: str = ""
    is_missing: bool = False


def check_dags(dags: Iterable[Any], fallback_vendor: Vendor | None) -> list[RequestCheck]:
    """
    Check every request of some Dags; instances of a task that are alike make one result.

    :param fallback_vendor: for tasks whose connection is missing here, or only known at run time.
    """
    accounts = _Accounts(fallback_vendor)
    checks: list[RequestCheck] = []
    for dag in sorted(dags, key=lambda dag: str(dag.dag_id)):
        for task in static_tasks(dag, VideoGenerationOperator):
            check = _check_task(dag.dag_id, task, accounts)
            if checks and _is_alike(checks[-1], check):
                previous = checks.pop()
                check = dataclasses.replace(
                    check,
                    count=(previous.count or 0) + (check.count or 0),
                    map_indexes=previous.map_indexes + check.map_indexes,
                )
            checks.append(check)
    return checks


def _is_alike(one: RequestCheck, other: RequestCheck) -> bool:
    if not one.map_indexes or not other.map_indexes:
        return False
    return dataclasses.replace(one, count=other.count, map_indexes=other.map_indexes) == other


def _check_task(dag_id: str, task: StaticTask, accounts: _Accounts) -> RequestCheck:
    check = RequestCheck(
        dag_id=dag_id,
        task_id=task.task_id,
        count=task.count,
        map_indexes=() if task.map_index is None else (task.map_index,),
    )
    if task.error:
        problem = Problem(field="task", value="not created", constraint=redact(task.error))
        return dataclasses.replace(check, problems=(problem,), is_checked=False)
    account = accounts.get(task.get("vidgen_conn_id"))
    vendor, settings = account.vendor, account.settings
    run_time_fields = [name for name in FIELDS if task.get(name) is RUN_TIME]
    problems = [*account.problems, *_target_problems(task)]
    values = {name: None if (value := task.get(name)) is RUN_TIME else value for name in _REQUEST_FIELDS}
    check = dataclasses.replace(check, notes=(account.note,) if account.note else ())
    if vendor is None:
        return dataclasses.replace(
            check,
            model=_text(values["model"]),
            problems=tuple(problems),
            run_time_fields=tuple(run_time_fields),
            is_checked=False,
            connection_missing=account.is_missing,
        )
    if not values["model"] and "model" not in run_time_fields:
        if settings is None:
            run_time_fields.insert(0, "model")
        else:
            values["model"] = settings.model
    if task.get("use_callback") is True:
        values["callback_url"] = settings.callback_base_url if settings else _ANY_CALLBACK_URL
        if not values["callback_url"]:
            constraint = "must be a URL that the vendor can reach, for use_callback"
            problems.append(Problem(field="callback_base_url", value="empty", constraint=constraint))
    request = VideoRequest(**values)
    allow_private = settings is not None and settings.allow_private_urls
    problems += [
        problem
        for problem in vendor.problems(request, allow_private=allow_private)
        if problem.field.partition(".")[0].partition("[")[0] not in run_time_fields
    ]
    rules = vendor.rules_of(request)
    return dataclasses.replace(
        check,
        vendor=vendor.label,
        model=_text(request.model),
        problems=tuple(dict.fromkeys(problems)),
        run_time_fields=tuple(run_time_fields),
        estimate=vendor.estimate(request),
        usual_seconds=rules.usual_seconds if rules else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _Accounts:
    """
    The accounts of connections, each read once.

    :param fallback: the vendor of a connection that cannot be read.
    """

    def __init__(self, fallback: Vendor | None) -> None:
        self._fallback = fallback
        self._known: dict[Any, _Account] = {}

    def get(self, conn_id: Any) -> _Account:
        if conn_id not in self._known:
            self._known[conn_id] = self._read(conn_id)
        return self._known[conn_id]

    def _read(self, conn_id: Any) -> _Account:
        fallback = self._fallback
        instead = f"checked as {fallback.label}" if fallback else "not checked, as no --vendor is given"
        if conn_id is RUN_TIME:
            return _Account(vendor=fallback, note=f"the connection is known at run time; {instead}")
        try:
            settings = VideoGenHook(conn_id).settings
        except AirflowNotFoundException:
            note = f"the connection {conn_id!r} does not exist here; {instead}"
            return _Account(vendor=fallback, note=note, is_missing=True)
        except InvalidConnection as error:
            problems = tuple(
                dataclasses.replace(problem, field=f"{problem.field} of {conn_id}")
                for problem in error.problems
            )
            return _Account(vendor=fallback, problems=problems)
        return _Account(vendor=settings.vendor, settings=settings)


def _target_problems(task: StaticTask) -> Iterator[Problem]:
    if task.raw("output_path") is None:
        return

    def known(name: str, default: Any) -> Any:
        value = task.get(name)
        return default if value is RUN_TIME else value

    output_path = task.raw("output_path")
    if task.get("output_path") is RUN_TIME and not isinstance(output_path, str):
        return
    yield from static_target_problems(
        output_path,
        template=task.shared("output_path"),
        options=LandingOptions(sidecar=known("sidecar", True), upload_args=known("upload_args", None) or {}),
    )
