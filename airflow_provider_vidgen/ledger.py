# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The durable record of one submission, in the task state store. No I/O but the store's ``get`` and ``set``.

The record is written *before* the paid call, so that a crash at any moment leaves a trace. It holds neither
prompt nor API key. The task state store outlives tries, clears and deferrals.

Each write is a new entry, numbered without gaps, and the newest entry counts. Airflow's client abandons a
write after a few seconds and repeats it, and the API server may still execute the first one much later. Under
a single key that late write would replace the job id by *submitting* (seen on Airflow 3.3.2); under a
numbered key it repeats an entry that exists already.

Two processes of one task can run at once, for example after an outage of Airflow's API. Each try has a task
instance id of its own; the store returns nothing to an outdated one and refuses its writes. No process
submits before its intent is written, so an outdated process cannot submit, and a newer one reads what it
wrote earlier. This holds only for the rows of Airflow's own database, so the record stays there even if
``[workers] state_store_backend`` is set: such a backend is written to before the refusal. See
:mod:`.state_store`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.models import VideoJob

KEY_PREFIX = "vidgen_submission"
VERSION = 1

#: Tolerated difference between workers' clocks. A key sent further in the future is not trusted.
_CLOCK_SKEW = timedelta(minutes=5)


def entry_key(number: int) -> str:
    """Return the key of an entry in the store; the first entry has the number 1."""
    return f"{KEY_PREFIX}_{number}"


class Store(Protocol):
    """The part of the task state store that the ledger uses. A write that did not happen raises."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class Phase(StrEnum):
    """
    The phase of a submission.

    ``not_accepted``: the vendor created no job. ``discarded``: a user requested a new video.
    """

    NOT_ACCEPTED = "not_accepted"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"
    FAILED = "failed"
    LOST = "lost"
    DISCARDED = "discarded"


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    One submission; times are ISO 8601, UTC.

    :param fingerprint: of the final request and the connection, see :func:`.submission.fingerprint`.
    :param idempotency_key: empty for a vendor without idempotency keys.
    :param idempotency_key_sent_at: when the key was first sent; a resend keeps it, because the vendor's
        window starts there.
    :param deadline: of the try that submitted; a later try counts its own timeout from ``submitted_at``.
    :param max_tries: of the task instance when this was written; a clear raises it.
    :param api_key_hash: of the API key used for the submission, see :func:`.submission.api_key_hash`.
    :param task_id: the vendor's job id, empty before it is known.
    :param expires_at: when the links expire, as first reported; empty before that.
    :param result_urls: only for a synchronous endpoint, whose result cannot be requested again.
    :param files: path, bytes, sha256, content_type and poster of the landed files.
    """

    phase: Phase
    fingerprint: str
    vendor: str
    base_url: str
    model: str
    idempotency_key: str
    idempotency_key_sent_at: str
    submitted_at: str
    deadline: str
    max_tries: int
    api_key_hash: str = ""
    task_id: str = ""
    expires_at: str = ""
    result_urls: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    v: int = VERSION

    @property
    def job(self) -> VideoJob:
        """The job's handle."""
        return VideoJob(vendor=self.vendor, base_url=self.base_url, model=self.model, task_id=self.task_id)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        lists = {"result_urls": list(self.result_urls), "files": [dict(file) for file in self.files]}
        return {**asdict(self), "phase": str(self.phase), **lists}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """
        Parse what :meth:`to_json` returned; unknown fields are ignored.

        :raises ValueError: the value is not such a record. Money depends on it, so nothing is guessed.
        """
        if not isinstance(value, Mapping) or type(value.get("v")) is not int or value["v"] != VERSION:
            raise ValueError("not a record of this version")
        fields = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        urls, files, max_tries = (
            fields.pop("result_urls", []),
            fields.pop("files", []),
            fields.get("max_tries"),
        )
        strings = [fields[name] for name in fields if name not in ("max_tries", "v")]
        if type(max_tries) is not int or type(urls) is not list or type(files) is not list:
            raise ValueError("fields of another type")
        if {type(string) for string in (*strings, *urls)} != {str} or not all(map(_is_file, files)):
            raise ValueError("fields of another type")
        lists = {"result_urls": tuple(urls), "files": tuple(files)}
        try:
            record = cls(**{**fields, **lists, "phase": Phase(fields["phase"])})
        except (KeyError, TypeError) as error:
            raise ValueError("fields are missing") from error
        for timestamp in (record.idempotency_key_sent_at, record.submitted_at, record.deadline):
            _parse_time(timestamp)
        if record.expires_at:
            _parse_time(record.expires_at)
        if record.phase is Phase.SUBMITTED and not (record.task_id or record.result_urls):
            raise ValueError("a submitted job without an id")
        return record


class Ledger:
    """
    The record of one task instance.

    :param store: the task state store.
    :param max_tries: the task instance's current ``max_tries``.
    :param now: the clock.
    """

    def __init__(self, store: Store, *, max_tries: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._max_tries = max_tries
        self._now = now
        #: The number of the newest entry, once it is known.
        self._newest: int | None = None

    def read(self) -> Record | None:
        """
        Return the newest record, or ``None`` if there is none.

        :raises LedgerUnreadable: the store cannot be read, or the entry is not of this version.
        """
        try:
            self._newest, value = self._find_newest()
        except Exception as error:
            summary = f"The ledger of earlier tries cannot be read ({type(error).__name__})"
            raise LedgerUnreadable(summary) from error
        try:
            return None if value is None else Record.from_json(value)
        except ValueError as error:
            key = f"{entry_key(self._newest)!r} in the task state store"
            summary = f"The ledger of earlier tries ({key}) was not written by this version"
            raise LedgerUnreadable(
                f"{summary}; look for a job in the vendor's console before deleting it"
            ) from error

    def is_cleared(self, record: Record) -> bool:
        """Whether the task was cleared since the record was written."""
        return self._max_tries != record.max_tries

    def key_is_valid(self, record: Record, key_window: timedelta | None, *, api_key_hash: str) -> bool:
        """
        Whether the vendor still bills a request only once under the record's idempotency key.

        The vendor remembers a key for a limited time and per account; another API key may be another account.

        :param key_window: how long the vendor remembers a key; ``None`` if it has no such keys.
        :param api_key_hash: of the connection's current API key.
        """
        if key_window is None or not record.idempotency_key or record.api_key_hash != api_key_hash:
            return False
        return -_CLOCK_SKEW <= self._now() - _parse_time(record.idempotency_key_sent_at) < key_window

    def record_intent(
        self,
        fingerprint: str,
        job: VideoJob,
        *,
        api_key_hash: str,
        deadline: datetime,
        supports_keys: bool,
        resent: Record | None = None,
    ) -> Record:
        """
        Record that the paid call is about to be sent.

        :param job: the handle, still without an id.
        :param api_key_hash: of the connection's API key.
        :param supports_keys: the vendor supports idempotency keys.
        :param resent: the earlier submission whose key is reused.
        :raises LedgerUnreadable: the intent could not be written, so nothing may be submitted.
        """
        now = self._now().isoformat()
        new_key = f"vidgen-{uuid.uuid4().hex}" if supports_keys else ""
        record = Record(
            phase=Phase.SUBMITTING,
            fingerprint=fingerprint,
            vendor=job.vendor,
            base_url=job.base_url,
            model=job.model,
            idempotency_key=resent.idempotency_key if resent else new_key,
            idempotency_key_sent_at=resent.idempotency_key_sent_at if resent else now,
            submitted_at=now,
            deadline=deadline.isoformat(),
            max_tries=self._max_tries,
            api_key_hash=api_key_hash,
            task_id=resent.task_id if resent else "",
        )
        try:
            return self._write(record)
        except Exception as error:
            summary = f"The intent to submit cannot be recorded ({type(error).__name__})"
            raise LedgerUnreadable(summary) from error

    def transition(self, record: Record, phase: Phase, **changes: Any) -> Record:
        """Write a new phase, with the current ``max_tries``, by which the next clear is recognised."""
        return self._write(replace(record, phase=phase, max_tries=self._max_tries, **changes))

    def _write(self, record: Record) -> Record:
        if self._newest is None:
            self._newest, _ = self._find_newest()
        self._store.set(entry_key(self._newest + 1), record.to_json())
        self._newest += 1
        return record

    def _find_newest(self) -> tuple[int, Any]:
        """Return the number and value of the newest entry, by a binary search over the numbers."""
        newest, value, missing = 0, None, 1
        while (found := self._store.get(entry_key(missing))) is not None:
            newest, value, missing = missing, found, 2 * missing
        while missing - newest > 1:
            middle = (newest + missing) // 2
            found = self._store.get(entry_key(middle))
            if found is None:
                missing = middle
            else:
                newest, value = middle, found
        return newest, value


def _is_file(value: Any) -> bool:
    return isinstance(value, Mapping) and {type(value.get(name)) for name in ("path", "sha256")} == {str}


def _parse_time(text: str) -> datetime:
    time = from_iso(text)
    # Years far away would overflow as soon as a timeout is added.
    if not 2000 <= time.year < 3000:
        raise ValueError("a time out of range")
    return time
