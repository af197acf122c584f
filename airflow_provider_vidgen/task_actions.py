# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What a person can do about a task's job: adopt one, look for it again, or abandon it for a new one.

The command line and the API server share these actions. None of them pays: an action changes the ledger, and
the next try acts by the table in :mod:`.decision`. The vendor is asked before a job id is written.

A task's state and ledger are read again and written in one transaction that locks the task instance, after
the vendor has answered: no request is waited for while the database is locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_vidgen import airflow_core
from airflow_provider_vidgen.airflow_core import CannotClear, LockedTask, UnknownRun
from airflow_provider_vidgen.client import WorkerClient
from airflow_provider_vidgen.clock import from_iso, utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    InvalidConnection,
    JobConnectionMismatch,
    JobNotFound,
    LedgerUnreadable,
    StatusRefused,
    TaskRef,
    VidgenError,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.ledger import Ledger, Phase, Record
from airflow_provider_vidgen.models import JobStatus, VideoJob
from airflow_provider_vidgen.submission import api_key_hash

_ACTIVE_STATES = ("running", "deferred", "queued", "scheduled", "restarting")
#: Longest time in seconds to connect, and between two bytes of a reply: a person waits for the answer.
_TIMEOUT = 10.0
_NOTHING_CHANGED = "Nothing was changed."
#: Number of instances that a message about a mapped task lists.
_LISTED_INSTANCES = 10
_WITHOUT_A_JOB = (Phase.SUBMITTING, Phase.UNKNOWN, Phase.LOST, Phase.FAILED, Phase.NOT_ACCEPTED)


class ActionRefused(Exception):
    """An action was not taken, and nothing was changed; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class _Submission:
    """What a task has submitted, as read in one transaction."""

    task: LockedTask
    ledger: Ledger
    record: Record


def regenerate(task: TaskRef, *, clear: bool) -> str:
    """
    Make the next try of a task submit a new, paid job, whatever the state of its current one.

    :param clear: also clear the task and those downstream of it.
    :return: what was done, and what happens next.
    :raises ActionRefused: nothing was changed.
    """
    with _locked(task) as found:
        record = found.record
        found.ledger.transition(record, Phase.DISCARDED)
        cleared = _clear(task, found.task) if clear else "Clear the task"
    return (
        f"{_name(task)} abandons {_job(record)} ({record.phase}; what it cost stays spent). "
        f"{cleared}: it submits a new, paid job."
    )


def adopt(task: TaskRef, job_id: str, *, clear: bool, check: bool = True) -> str:
    """
    Give a task a job that was found in the vendor's console.

    :param job_id: the vendor's id of the job.
    :param clear: also clear the task and those downstream of it.
    :param check: ask the vendor about the job first. Without that the next try does, with the connection that
        only the workers may have.
    :return: what was done, and what happens next.
    :raises ActionRefused: nothing was changed.
    """
    job_id = job_id.strip()
    if not job_id:
        raise ActionRefused(f"There is no job id. {_NOTHING_CHANGED} Copy it from the vendor's console.")
    changes: dict[str, Any] = {}
    seen, state = None, "not checked with the vendor"
    if check:
        with _locked(task) as found:
            _refuse_another_job(task, found.record, job_id)
            seen, conn_id = found.record, found.task.rendered_argument("vidgen_conn_id")
        settings = _settings(task, conn_id, otherwise="`airflow vidgen adopt` with --no-check")
        status = _ask(settings, replace(seen.job, task_id=job_id), seen)
        state = f"{status.state} at the vendor"
        changes["api_key_hash"] = api_key_hash(settings.api_key, seen.fingerprint)
    with _locked(task, seen=seen) as found:
        record = found.record
        _refuse_another_job(task, record, job_id)
        if record.task_id != job_id:
            changes |= {"task_id": job_id, "expires_at": "", "result_urls": (), "files": ()}
        if changes or record.phase is not Phase.SUBMITTED:
            found.ledger.transition(record, Phase.SUBMITTED, **changes)
        cleared = _clear(task, found.task) if clear else "Clear the task"
    return (
        f"{_name(task)} has adopted the {record.vendor} job {job_id} ({state}). "
        f"{cleared}: it checks this job and does not pay for another."
    )


def look_again(task: TaskRef, *, clear: bool) -> str:
    """
    Ask the vendor about the job of a failed task; if it lives, the next try re-attaches to it.

    :param clear: also clear the task and those downstream of it, if the job lives.
    :return: what was found, and what happens next.
    :raises ActionRefused: nothing was changed: there is no such job, or nothing is known about it.
    """
    with _locked(task) as found:
        seen, conn_id = found.record, found.task.rendered_argument("vidgen_conn_id")
    _refuse_unless_reported(task, seen)
    if not seen.task_id:
        raise ActionRefused(_about_unknown_job(task, seen, _key_expiry(task, found.ledger, seen, conn_id)))
    settings = _settings(
        task,
        conn_id,
        otherwise="a clear of the task, which checks the job and pays for another only if this one is gone",
    )
    status = _ask(settings, seen.job, seen)
    with _locked(task, seen=seen) as found:
        if found.record.phase is not Phase.SUBMITTED:
            found.ledger.transition(found.record, Phase.SUBMITTED)
        cleared = _clear(task, found.task) if clear else "Clear the task"
    return (
        f"The {seen.vendor} job {seen.task_id} of {_name(task)} is {status.state}. "
        f"{cleared}: it checks this job and does not pay for another."
    )


# --- the task and its ledger ----------------------------------------------------------------------------


def _name(task: TaskRef) -> str:
    index = "" if task.map_index is None or task.map_index < 0 else f"[{task.map_index}]"
    return f"{task.dag_id} {task.run_id} {task.task_id}{index}"


def _job(record: Record) -> str:
    return (
        f"the {record.vendor} job {record.task_id}"
        if record.task_id
        else f"a job without an id at {record.vendor}"
    )


@contextmanager
def _locked(task: TaskRef, *, seen: Record | None = None) -> Iterator[_Submission]:
    """
    Provide what a task that is not active has submitted; nothing else changes it until the block ends.

    :param seen: the record that was read before the vendor was asked.
    :raises ActionRefused: there is no submission, the task is active, or the ledger has changed since.
    """
    with airflow_core.locked_task(task) as found:
        if found is None:
            raise ActionRefused(_no_such_instance(task))
        ledger = Ledger(found.store, max_tries=found.max_tries, now=utcnow)
        try:
            record = ledger.read()
        except LedgerUnreadable as error:
            raise ActionRefused(f"{error.summary}. {_NOTHING_CHANGED}") from error
        if record is None:
            raise ActionRefused(
                f"{_name(task)} has not submitted anything. A clear submits; a VideoTaskSensor waits for a "
                "job that was submitted elsewhere."
            )
        if found.state in _ACTIVE_STATES:
            raise ActionRefused(
                f"{_name(task)} is {found.state}. "
                "Wait until it has ended, or mark it as failed, and try again."
            )
        if seen is not None and record != seen:
            raise ActionRefused(
                f"{_name(task)} was changed while the vendor was asked. {_NOTHING_CHANGED} Try again."
            )
        yield _Submission(task=found, ledger=ledger, record=record)


def _no_such_instance(task: TaskRef) -> str:
    """Return the message, which lists the instances of a mapped task."""
    try:
        return _missing_index(task)
    except UnknownRun as error:
        return str(error)


def _missing_index(task: TaskRef) -> str:
    with airflow_core.tasks_of_run(task.dag_id, task.run_id) as tasks:
        instances = [instance for instance in tasks if instance.task_id == task.task_id]
        if not instances or instances[0].map_index < 0:
            return f"There is no task instance {_name(task)}."
        candidates = []
        for instance in instances:
            ledger = Ledger(instance.store, max_tries=instance.max_tries, now=utcnow)
            try:
                record = ledger.read()
            except LedgerUnreadable:
                continue
            if record is not None and record.phase in _WITHOUT_A_JOB and instance.state not in _ACTIVE_STATES:
                label = f" ({instance.name})" if instance.name else ""
                candidates.append(f"{instance.map_index}{label}, {record.phase}, sent {record.submitted_at}")
    indices = f"{instances[0].map_index} to {instances[-1].map_index}"
    text = f"{_name(task)} is a mapped task: give the map index of one of its instances, {indices}."
    if not candidates:
        return f"{text} Each of them has a job or has submitted nothing."
    more = len(candidates) - _LISTED_INSTANCES
    listed = "; ".join(candidates[:_LISTED_INSTANCES]) + (f"; and {more} more" if more > 0 else "")
    return f"{text} Those without a job: {listed}."


def _clear(task: TaskRef, found: LockedTask) -> str:
    try:
        count = found.clear()
    except CannotClear as error:
        raise ActionRefused(
            f"{_name(task)} cannot be cleared: {error}. {_NOTHING_CHANGED} Try again without clearing it, "
            "and clear the task in Airflow."
        ) from None
    others = f", with {count - 1} downstream" if count > 1 else ""
    return f"The task was cleared{others}"


def _refuse_another_job(task: TaskRef, record: Record, job_id: str) -> None:
    if record.phase in (Phase.SUBMITTED, Phase.DELIVERED) and record.task_id != job_id:
        raise ActionRefused(
            f"{_name(task)} already has {_job(record)} ({record.phase}). {_NOTHING_CHANGED} "
            f"To abandon it and pay for a new one, run `{task.regenerate_command()}`."
        )
    if record.phase is Phase.DELIVERED:
        raise ActionRefused(
            f"{_name(task)} has delivered the video of the job {job_id}. {_NOTHING_CHANGED} A clear returns "
            "the same video while it is available."
        )


def _refuse_unless_reported(task: TaskRef, record: Record) -> None:
    """Refuse to look for a job where none is missing."""
    if record.phase is Phase.DELIVERED:
        raise ActionRefused(
            f"{_name(task)} has delivered the video of the job {record.task_id}. "
            f"{_NOTHING_CHANGED} A clear returns the same video while it is available."
        )
    if record.phase is Phase.NOT_ACCEPTED:
        raise ActionRefused(
            f"{_name(task)} has no job: {record.vendor} accepted none. {_NOTHING_CHANGED} "
            "A clear submits a new, paid job."
        )
    if record.phase is Phase.DISCARDED:
        again = f" To go back to it, run `{task.adopt_command(record.task_id)}`." if record.task_id else ""
        raise ActionRefused(f"The job of {_name(task)} was abandoned by `airflow vidgen regenerate`.{again}")
    if not record.task_id and record.phase in (Phase.SUBMITTED, Phase.FAILED):
        raise ActionRefused(
            f"The job of {_name(task)} was made by a synchronous endpoint of {record.vendor} and has no id. "
            f"{_NOTHING_CHANGED} The vendor cannot be asked about it."
        )


def _about_unknown_job(task: TaskRef, record: Record, key_expires_at: datetime | None) -> str:
    sent = (
        f"{record.vendor} was sent the request of {_name(task)} at {record.submitted_at} and no job id is "
        f"known, so the vendor cannot be asked about it. {_NOTHING_CHANGED}"
    )
    adopt = f"If the vendor's console shows the job, run `{task.adopt_command()}`."
    if key_expires_at is not None:
        expiry = key_expires_at.isoformat(timespec="seconds")
        return (
            f"{sent} Until {expiry} a clear of the task sends the same request with the same idempotency "
            f"key, which is not billed twice. {adopt}"
        )
    return f"{sent} {adopt} If it does not, a clear of the task submits a new, paid job."


def _key_expiry(task: TaskRef, ledger: Ledger, record: Record, conn_id: str) -> datetime | None:
    """Return until when the vendor bills a repeated request only once, or ``None`` if that is not certain."""
    if not record.idempotency_key:
        return None
    try:
        settings = _settings(task, conn_id, otherwise="")
    except ActionRefused:
        return None
    window = settings.vendor.idempotency_window
    key_hash = api_key_hash(settings.api_key, record.fingerprint)
    if window is None or not ledger.key_is_valid(record, window, api_key_hash=key_hash):
        return None
    return from_iso(record.idempotency_key_sent_at) + window


# --- the vendor -----------------------------------------------------------------------------------------


def _settings(task: TaskRef, conn_id: str, *, otherwise: str) -> ConnectionSettings:
    """
    Return the settings of the task's connection.

    :param otherwise: what works where the connection is not known.
    """
    if not conn_id:
        raise ActionRefused(
            f"The connection of {_name(task)} is not known any more. {_NOTHING_CHANGED} Use {otherwise}."
        )
    try:
        settings = VideoGenHook(conn_id).settings
    except AirflowNotFoundException:
        raise ActionRefused(
            f"The connection {conn_id!r} is not defined here; it may exist on the workers only. "
            f"{_NOTHING_CHANGED} Use {otherwise}."
        ) from None
    except InvalidConnection as error:
        raise ActionRefused(
            f"{_one_line(error)}. {_NOTHING_CHANGED} Correct the connection, and try again."
        ) from None
    return replace(settings, timeout=min(settings.timeout, _TIMEOUT))


def _ask(settings: ConnectionSettings, job: VideoJob, record: Record) -> JobStatus:
    """
    Return the status of a job that has a video or may still bring one.

    :param record: the task's.

    :raises ActionRefused: the vendor does not know the job, it failed, or the vendor did not answer.
    """
    vendor = settings.vendor.label
    try:
        status = WorkerClient(settings).status_once(job)
    except JobNotFound:
        changed = api_key_hash(settings.api_key, record.fingerprint) != record.api_key_hash
        raise ActionRefused(
            f"{vendor} does not know the job {job.task_id} with the API key of {settings.conn_id!r}"
            f"{', which is not the key that the task submitted with' if changed else ''}. "
            f"{_NOTHING_CHANGED} Compare the id and the account with the vendor's console."
        ) from None
    except JobConnectionMismatch as error:
        raise ActionRefused(
            f"{_one_line(error)}. {_NOTHING_CHANGED} Restore the connection, and try again."
        ) from None
    except StatusRefused as error:
        raise ActionRefused(
            f"{error.summary}. {_NOTHING_CHANGED} "
            f"Correct the API key of the connection {settings.conn_id!r}, and try again."
        ) from None
    except VidgenError as error:
        # Without the vendor's own message, which may repeat the prompt.
        raise ActionRefused(
            f"{error.summary}. {_NOTHING_CHANGED} Try again when the vendor answers."
        ) from None
    if status.failure is not None:
        raise ActionRefused(
            f"The {vendor} job {job.task_id} has ended without a video ({status.failure.category}). "
            f"{_NOTHING_CHANGED} A clear of the task submits a new, paid job."
        )
    return status


def _one_line(error: InvalidConnection) -> str:
    return f"{error.summary}: {'; '.join(map(str, error.problems))}"
