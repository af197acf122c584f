# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The durable record of one submission, and what a new try must do about it.

The record is written *before* the paid call goes out, so a crash at any moment leaves a trace. It holds no
prompt and no key. Its place is the task state store, which outlives tries, clears and deferrals.

=============  =============================  ==============================  =============================
record says    automatic retry, lost worker   a person's clear                changed request
=============  =============================  ==============================  =============================
fresh          submit                         submit                          submit
submitting     report as unknown (*)          report as unknown (*)           submit, name what is left
submitted      ask about the same job         ask about the same job          submit, name what is left
unknown        report again (*)               submit                          submit, name what is left
delivered      return the same video          submit                          submit
failed         submit                         submit                          submit
lost           report again                   submit                          submit, name what is left
=============  =============================  ==============================  =============================

(*) A vendor with idempotency keys is sent the same request under the same key instead; and
``on_unknown_submit="resubmit"`` accepts the risk of a second bill and submits.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.models import VideoJob

KEY = "vidgen"
VERSION = 1

OnUnknown = Literal["fail", "resubmit"]


class Store(Protocol):
    """What the ledger needs of the task state store."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class Phase(StrEnum):
    """How far a submission got; ``fresh`` is one that the vendor certainly did not take."""

    FRESH = "fresh"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"
    FAILED = "failed"
    LOST = "lost"


class Action(StrEnum):
    """What a new try must do."""

    SUBMIT = "submit"
    RESEND = "resend"
    REATTACH = "reattach"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    One submission.

    :param fingerprint: of the final request and the connection, see :func:`fingerprint`.
    :param task_id: the vendor's id, empty before it is known.
    :param submitted_at: ISO 8601, UTC; when the paid call went out.
    :param deadline: ISO 8601, UTC.
    :param max_tries: Airflow's limit of tries when this was written; a person's clear raises it.
    :param result_urls: only for a synchronous endpoint, whose result cannot be asked for again.
    """

    phase: Phase
    fingerprint: str
    vendor: str
    base_url: str
    model: str
    idempotency_key: str
    submitted_at: str
    deadline: str
    max_tries: int
    task_id: str = ""
    updated_at: str = ""
    result_urls: tuple[str, ...] = ()
    v: int = VERSION

    @property
    def job(self) -> VideoJob:
        """The handle of the job."""
        return VideoJob(vendor=self.vendor, base_url=self.base_url, model=self.model, task_id=self.task_id)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """
    What a new try must do, and why.

    :param record: the earlier submission, if it still matters.
    :param why: a sentence for the log, empty for a plain first try.
    """

    action: Action
    record: Record | None = None
    why: str = ""


def fingerprint(body: Mapping[str, Any] | None, *, path: str, conn_id: str) -> str:
    """
    Return what makes two requests the same: the final body, the path (which may hold the model), the account.

    Never the try number: a retry is the same request.
    """
    canonical = json.dumps([path, conn_id, body], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


class Ledger:
    """
    The record of one task instance.

    :param store: the task state store.
    :param max_tries: Airflow's current limit of tries for this task instance.
    :param now: the clock.
    """

    def __init__(self, store: Store, *, max_tries: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._max_tries = max_tries
        self._now = now

    def read(self) -> Record | None:
        """
        Return the record, if there is one.

        :raises LedgerUnreadable: the store cannot be read, or holds what this version does not understand.
        """
        try:
            value = self._store.get(KEY)
        except Exception as error:
            raise LedgerUnreadable(
                f"The record of earlier submissions cannot be read ({type(error).__name__})"
            ) from error
        if value is None:
            return None
        try:
            known = {name: value[name] for name in Record.__dataclass_fields__ if name in value}
            record = Record(**{**known, "phase": Phase(known["phase"])})
            return replace(record, result_urls=tuple(record.result_urls), v=self._version(value))
        except (TypeError, ValueError, KeyError) as error:
            raise LedgerUnreadable(
                f"The record of earlier submissions is not one this version writes ({type(error).__name__})"
            ) from error

    @staticmethod
    def _version(value: Mapping[str, Any]) -> int:
        if value["v"] != VERSION:
            raise ValueError(value["v"])
        return VERSION

    def resolve(self, wanted: str, *, on_unknown: OnUnknown, has_keys: bool) -> Decision:
        """
        Decide what this try must do. The table is in the module's docstring.

        :param wanted: the fingerprint of the request as it is now.
        :param has_keys: whether the vendor takes a request only once under the same idempotency key.
        :raises LedgerUnreadable: nothing may be submitted.
        """
        record = self.read()
        if record is None or record.phase is Phase.FRESH:
            return Decision(action=Action.SUBMIT)
        cleared = self._max_tries != record.max_tries
        left = f"the job {record.task_id}" if record.task_id else "a submission of unknown outcome"
        if record.fingerprint != wanted:
            why = "The request has changed since the last try, so a new job is submitted"
            if record.phase not in (Phase.DELIVERED, Phase.FAILED):
                why += f"; {left} at {record.vendor} is left behind and may be billed"
            return Decision(action=Action.SUBMIT, record=record, why=why)
        match record.phase:
            case Phase.SUBMITTED:
                return Decision(
                    action=Action.REATTACH,
                    record=record,
                    why=f"An earlier try has submitted {left}; asking about it instead of submitting",
                )
            case Phase.DELIVERED if not cleared:
                return Decision(
                    action=Action.REATTACH,
                    record=record,
                    why=f"An earlier try has already delivered {left}; returning it again",
                )
            case Phase.DELIVERED:
                return Decision(
                    action=Action.SUBMIT,
                    record=record,
                    why=f"The task was cleared after {left} had been delivered, so a new job is submitted",
                )
            case Phase.FAILED:
                return Decision(
                    action=Action.SUBMIT,
                    record=record,
                    why=f"{left[0].upper()}{left[1:]} ended without a video; a new job is submitted, "
                    "which may cost again",
                )
            case Phase.UNKNOWN | Phase.LOST if cleared:
                return Decision(
                    action=Action.SUBMIT,
                    record=record,
                    why=f"The task was cleared after {left} had been reported, so a new job is submitted",
                )
            case Phase.LOST:
                return Decision(action=Action.STOP, record=record)
        if has_keys:
            return Decision(
                action=Action.RESEND,
                record=record,
                why="The outcome of an earlier submission is unknown; "
                "the same request is sent again under the same idempotency key",
            )
        if on_unknown == "resubmit":
            return Decision(
                action=Action.SUBMIT,
                record=record,
                why="The outcome of an earlier submission is unknown; a new job is submitted all the same, "
                "as on_unknown_submit='resubmit' asks, and both may be billed",
            )
        return Decision(action=Action.STOP, record=record)

    def submitting(
        self,
        wanted: str,
        job: VideoJob,
        *,
        submitted_at: datetime,
        deadline: datetime,
        idempotency_key: str | None = None,
    ) -> Record:
        """
        Record that the paid call is about to go out.

        :param job: the handle, still without an id.
        :raises LedgerUnreadable: it could not be recorded, so nothing may be submitted.
        """
        record = Record(
            phase=Phase.SUBMITTING,
            fingerprint=wanted,
            vendor=job.vendor,
            base_url=job.base_url,
            model=job.model,
            idempotency_key=idempotency_key or f"vidgen-{uuid.uuid4().hex}",
            submitted_at=submitted_at.isoformat(),
            deadline=deadline.isoformat(),
            max_tries=self._max_tries,
        )
        try:
            return self.write(record)
        except Exception as error:
            raise LedgerUnreadable(
                f"The intent to submit cannot be recorded ({type(error).__name__})"
            ) from error

    def moved(self, record: Record, phase: Phase, **changes: Any) -> Record:
        """Record how far a submission got."""
        return self.write(replace(record, phase=phase, max_tries=self._max_tries, **changes))

    def write(self, record: Record) -> Record:
        """Store a record."""
        record = replace(record, updated_at=self._now().isoformat())
        self._store.set(KEY, {**asdict(record), "result_urls": list(record.result_urls)})
        return record
