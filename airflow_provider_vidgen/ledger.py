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
unknown        report again (*)               ask first, then submit (*)      submit, name what is left
delivered      return the same video          return it while it exists (**)  submit
failed         submit                         ask first, then submit          submit
lost           report again                   ask first, then submit          submit, name what is left
discarded      submit                         submit                          submit
=============  =============================  ==============================  =============================

(*) A vendor with idempotency keys is sent the same request under the same key instead, while the key is
younger than the vendor's window and the connection still has the API key that it was sent with. Otherwise
``on_unknown_submit="resubmit"`` accepts the risk of a second bill and submits, having asked about a known id.

(**) With ``on_clear="regenerate"`` a clear submits. *Discarded* is what ``airflow vidgen regenerate`` writes.

"Ask first" is one free question about the job whose id is known: a job that runs, or has a video that can
still be fetched, is re-attached instead of paid for again.

A clear is known by Airflow's changed limit of tries. It looks the same whether the cleared task had ended, or
its worker had died, or lost the store, between *unknown* or *lost* and Airflow's word for it. Where it cannot
be told from a retry, the row of the retry holds: nothing is paid, and the next clear is recognised.

Each write is an entry of its own, numbered without a gap, and the newest one counts. Airflow's client gives a
write up after a few seconds and repeats it, and the API server may still finish the first one much later.
Under one name that would put *submitting* over the job's id (seen on Airflow 3.3.2); under a number it writes
again what is there already.

Two processes of one task at once, as after an outage of Airflow's API: each try has a task instance id of its
own, and the store gives nothing to an outdated one and refuses its writes. Nothing is submitted before the
intent is written, so the older process cannot submit any more, and if it had written, the newer one sees it.
That holds for what Airflow keeps itself, so the record stays there with a ``[workers] state_store_backend``,
too: such a backend is written to before the refusal. See :class:`.state_store.NonExpiringStateStore`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol

from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.models import VideoJob

KEY = "vidgen"
VERSION = 1

#: Workers' clocks differ by no more; a key from further ahead is of an age that nobody knows.
_CLOCKS_DIFFER = timedelta(minutes=5)

OnUnknown = Literal["fail", "resubmit"]
OnClear = Literal["reuse", "regenerate"]


#: Said where the same video is returned, and where nothing else leads to a new one.
REGENERATE_HINT = (
    "For a new, paid one run `airflow vidgen regenerate DAG_ID RUN_ID TASK_ID` and clear the task, or set "
    'on_clear="regenerate".'
)


def entry_key(number: int) -> str:
    """Return the name of an entry in the store; the first one has the number 1."""
    return f"{KEY}_{number}"


class Store(Protocol):
    """What the ledger needs of the task state store. A write that did not happen raises."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class Phase(StrEnum):
    """
    How far a submission got.

    ``fresh`` is one that the vendor certainly did not take, ``discarded`` one that a person wants replaced.
    """

    FRESH = "fresh"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"
    FAILED = "failed"
    LOST = "lost"
    DISCARDED = "discarded"


class Action(StrEnum):
    """What a new try must do."""

    SUBMIT = "submit"
    CHECK_THEN_SUBMIT = "check_then_submit"
    RESEND = "resend"
    REATTACH = "reattach"
    RETURN = "return"
    RETURN_OR_SUBMIT = "return_or_submit"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    One submission; times are ISO 8601, UTC.

    :param fingerprint: of the final request and the connection, see :func:`.submission.fingerprint`.
    :param idempotency_key: empty for a vendor that knows no such keys.
    :param idempotency_key_sent_at: when the key was first sent; a resend keeps it, as the vendor counts from there.
    :param deadline: of the try that submitted; a later one counts from submission with its own timeout.
    :param max_tries: Airflow's limit of tries when this was written; a person's clear raises it.
    :param api_key_hash: of the API key it was submitted with, see :func:`.submission.api_key_hash`.
    :param task_id: the vendor's id, empty before it is known.
    :param expires_at: when the links die, from the first time they were seen; empty before that.
    :param result_urls: only for a synchronous endpoint, whose result cannot be asked for again.
    :param files: path, bytes and sha256 of what was landed.
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
    updated_at: str = ""
    expires_at: str = ""
    result_urls: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    v: int = VERSION

    @property
    def job(self) -> VideoJob:
        """The handle of the job."""
        return VideoJob(vendor=self.vendor, base_url=self.base_url, model=self.model, task_id=self.task_id)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        lists = {"result_urls": list(self.result_urls), "files": [dict(file) for file in self.files]}
        return {**asdict(self), "phase": str(self.phase), **lists}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """
        Read back what :meth:`to_json` wrote; unknown fields are left aside.

        :raises ValueError: anything else. Billing depends on it, so nothing is guessed.
        """
        if not isinstance(value, Mapping) or type(value.get("v")) is not int or value["v"] != VERSION:
            raise ValueError("not a record of this version")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        urls, files = known.pop("result_urls", []), known.pop("files", [])
        tries, texts = (
            known.get("max_tries"),
            [known[name] for name in known if name not in ("max_tries", "v")],
        )
        if type(tries) is not int or type(urls) is not list or type(files) is not list:
            raise ValueError("fields of another type")
        if {type(text) for text in (*texts, *urls)} != {str} or not all(map(_is_file, files)):
            raise ValueError("fields of another type")
        lists = {"result_urls": tuple(urls), "files": tuple(files)}
        try:
            record = cls(**{**known, **lists, "phase": Phase(known["phase"])})
        except (KeyError, TypeError) as error:
            raise ValueError("fields are missing") from error
        for moment in (record.idempotency_key_sent_at, record.submitted_at, record.deadline):
            _moment(moment)
        if record.expires_at:
            _moment(record.expires_at)
        if record.phase is Phase.SUBMITTED and not (record.task_id or record.result_urls):
            raise ValueError("a job without a handle")
        return record


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a new try must do about what earlier ones left, and why, as a sentence for the log or empty."""

    action: Action
    record: Record | None = None
    why: str = ""


def decide(
    record: Record,
    wanted: str,
    *,
    cleared: bool,
    key_is_valid: bool,
    on_unknown: OnUnknown,
    on_clear: OnClear,
) -> Decision:
    """
    Decide what a new try must do: the table above.

    :param wanted: the fingerprint of the request as it is now.
    :param cleared: a person cleared the task since the record was written.
    :param key_is_valid: the vendor takes a request only once under the record's idempotency key.
    """

    def so(action: Action, why: str = "") -> Decision:
        return Decision(action=action, record=record, why=why)

    if record.phase is Phase.FRESH:
        return so(Action.SUBMIT)
    phase = record.phase
    left = f"the job {record.task_id}" if record.task_id else "a job of unknown id"
    if phase is Phase.DISCARDED:
        return so(Action.SUBMIT, f"A new video was asked for instead of {left}; a new, paid job is submitted")
    if record.fingerprint != wanted:
        why = "The request has changed since the last try, so a new job is submitted"
        if phase not in (Phase.DELIVERED, Phase.FAILED):
            why += f"; {left} at {record.vendor} is left behind and may be billed"
        return so(Action.SUBMIT, why)
    if phase is Phase.SUBMITTED:
        return so(Action.REATTACH, f"An earlier try has submitted {left}; asking about it, not submitting")
    if phase is Phase.DELIVERED:
        return _after_delivery(record, cleared=cleared, on_clear=on_clear)
    if phase is Phase.FAILED and not cleared:
        return so(Action.SUBMIT, f"An earlier try saw {left} end without a video; a new one may cost again")
    open_ = "The outcome of an earlier submission is unknown"
    if key_is_valid and phase in (Phase.SUBMITTING, Phase.UNKNOWN):
        return so(Action.RESEND, f"{open_}; the same request is sent again under the same idempotency key")
    if cleared and phase is not Phase.SUBMITTING:
        if record.task_id:
            why = (
                f"The task was cleared after {left} was {phase}; asking about it before a new one is paid for"
            )
            return so(Action.CHECK_THEN_SUBMIT, why)
        return so(
            Action.SUBMIT, f"The task was cleared after {left} had been reported; a new one is submitted"
        )
    if phase is Phase.LOST:
        return so(Action.STOP)
    if on_unknown == "resubmit" and record.task_id:
        return so(Action.CHECK_THEN_SUBMIT, f"{open_}; asking about {left} before a new one is paid for")
    if on_unknown == "resubmit":
        accepted = "as on_unknown_submit='resubmit' asks, and both may be billed"
        return so(Action.SUBMIT, f"{open_}; a new job is submitted all the same, {accepted}")
    return so(Action.STOP)


def _after_delivery(record: Record, *, cleared: bool, on_clear: OnClear) -> Decision:
    if not cleared:
        why = f"An earlier try has already delivered {record.job}; returning it again"
        return Decision(action=Action.RETURN, record=record, why=why)
    if on_clear == "regenerate":
        why = f"{record.job} has been delivered; a new, paid job is submitted, as on_clear='regenerate' asks"
        return Decision(action=Action.SUBMIT, record=record, why=why)
    why = (
        f"{record.job} has been delivered; the cleared task returns the same video if it is still there. "
        f"{REGENERATE_HINT}"
    )
    return Decision(action=Action.RETURN_OR_SUBMIT, record=record, why=why)


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
        #: The number of the newest entry, once it is known.
        self._newest: int | None = None

    def read(self) -> Record | None:
        """
        Return the record, if there is one.

        :raises LedgerUnreadable: the store cannot be read, or holds what this version does not understand.
        """
        try:
            self._newest, value = self._find_newest()
        except Exception as error:
            summary = f"The record of earlier submissions cannot be read ({type(error).__name__})"
            raise LedgerUnreadable(summary) from error
        try:
            return None if value is None else Record.from_json(value)
        except ValueError as error:
            where = f"{entry_key(self._newest)!r} in the task state store"
            summary = f"The record of earlier submissions ({where}) is not this version's"
            raise LedgerUnreadable(
                f"{summary}; look for a job in the vendor's console before deleting it"
            ) from error

    def resolve(
        self,
        wanted: str,
        *,
        api_key_hash: str,
        on_unknown: OnUnknown,
        on_clear: OnClear,
        key_window: timedelta | None,
    ) -> Decision:
        """
        Read what earlier tries left, and :func:`decide`.

        :param api_key_hash: of the connection's API key as it is now.
        :param key_window: how long the vendor remembers an idempotency key; ``None``: it knows none.
        :raises LedgerUnreadable: nothing may be submitted.
        """
        record = self.read()
        if record is None:
            return Decision(action=Action.SUBMIT)
        return decide(
            record,
            wanted,
            cleared=self._max_tries != record.max_tries,
            key_is_valid=self.key_is_valid(record, key_window, api_key_hash=api_key_hash),
            on_unknown=on_unknown,
            on_clear=on_clear,
        )

    def key_is_valid(self, record: Record, key_window: timedelta | None, *, api_key_hash: str) -> bool:
        """
        Return whether the vendor still takes the request only once under its idempotency key.

        It remembers a key for a while, and for one account: another API key may be another account's.
        """
        if key_window is None or not record.idempotency_key or record.api_key_hash != api_key_hash:
            return False
        return -_CLOCKS_DIFFER <= self._now() - _moment(record.idempotency_key_sent_at) < key_window

    def submitting(
        self,
        wanted: str,
        job: VideoJob,
        *,
        api_key_hash: str,
        deadline: datetime,
        has_keys: bool,
        resent: Record | None = None,
    ) -> Record:
        """
        Record that the paid call is about to go out.

        :param job: the handle, still without an id.
        :param api_key_hash: of the connection's API key.
        :param has_keys: the vendor knows idempotency keys.
        :param resent: the earlier submission whose key is used again.
        :raises LedgerUnreadable: it could not be recorded, so nothing may be submitted.
        """
        now = self._now().isoformat()
        key = f"vidgen-{uuid.uuid4().hex}" if has_keys else ""
        record = Record(
            phase=Phase.SUBMITTING,
            fingerprint=wanted,
            vendor=job.vendor,
            base_url=job.base_url,
            model=job.model,
            idempotency_key=resent.idempotency_key if resent else key,
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

    def moved(self, record: Record, phase: Phase, **changes: Any) -> Record:
        """Record how far a submission got, and the limit of tries by which the next clear is known."""
        return self._write(replace(record, phase=phase, max_tries=self._max_tries, **changes))

    def _write(self, record: Record) -> Record:
        record = replace(record, updated_at=self._now().isoformat())
        if self._newest is None:
            self._newest, _ = self._find_newest()
        self._store.set(entry_key(self._newest + 1), record.to_json())
        self._newest += 1
        return record

    def _find_newest(self) -> tuple[int, Any]:
        """Return number and value of the newest entry; of many entries only a few are read."""
        newest, value, beyond = 0, None, 1
        while (found := self._store.get(entry_key(beyond))) is not None:
            newest, value, beyond = beyond, found, 2 * beyond
        while beyond - newest > 1:
            between = (newest + beyond) // 2
            found = self._store.get(entry_key(between))
            if found is None:
                beyond = between
            else:
                newest, value = between, found
        return newest, value


def _is_file(value: Any) -> bool:
    return isinstance(value, Mapping) and {type(value.get(name)) for name in ("path", "sha256")} == {str}


def _moment(text: str) -> datetime:
    moment = from_iso(text)
    # Far-off years would overflow as soon as a timeout is added.
    if not 2000 <= moment.year < 3000:
        raise ValueError("not a time of ours")
    return moment
