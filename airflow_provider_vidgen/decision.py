# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What a new try does, by the ledger: submit, re-attach, return a result, or report. No I/O.

=============  =============================  ==============================  =============================
ledger phase   automatic retry, lost worker   clear by a person               changed request
=============  =============================  ==============================  =============================
not_accepted   submit                         submit                          submit
submitting     report as unknown (*)          report as unknown (*)           submit, log the job left behind
submitted      re-attach                      re-attach                       submit, log the job left behind
unknown        report again (*)               check, then submit (*)          submit, log the job left behind
delivered      return the same video          return it if available (**)     submit
failed         submit                         check, then submit              submit
lost           report again                   check, then submit              submit, log the job left behind
discarded      submit                         submit                          submit
=============  =============================  ==============================  =============================

(*) For a vendor with idempotency keys the same request is sent again with the same key instead, while the key
is valid: younger than the vendor's window, and sent with the API key that the connection still has. Otherwise
``on_unknown_submit="resubmit"`` submits, after a check if the job id is known, and risks a second bill.

(**) With ``on_clear="regenerate"`` a clear submits. ``airflow vidgen regenerate`` writes *discarded*.

"Check" is one free status check of a job whose id is known: a job that is running, or whose video can
still be downloaded, is re-attached instead of paid for again.

A clear is recognised by a changed ``max_tries`` of the task instance. If the worker died, or lost the store,
between recording *unknown* or *lost* and Airflow recording the failure, a clear cannot be distinguished from
a retry. Then the retry column applies: nothing is paid, and the next clear is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from airflow_provider_vidgen.ledger import Phase, Record

OnUnknown = Literal["fail", "resubmit"]
OnClear = Literal["reuse", "regenerate"]

#: Added where the same video is returned; see :meth:`.TaskRef.fill_in`.
REGENERATE_HINT = 'For a new, paid video run {regenerate} and clear the task, or set on_clear="regenerate".'


class Action(StrEnum):
    """What a new try does."""

    SUBMIT = "submit"
    CHECK_THEN_SUBMIT = "check_then_submit"
    RESEND = "resend"
    REATTACH = "reattach"
    RETURN = "return"
    RETURN_OR_SUBMIT = "return_or_submit"
    REPORT = "report"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """
    What a new try does.

    :param record: the ledger's record of earlier tries; ``None`` if there is none.
    :param reason: a sentence for the log, or empty.
    """

    action: Action
    record: Record | None = None
    reason: str = ""


def decide(
    record: Record | None,
    fingerprint: str,
    *,
    cleared: bool,
    key_is_valid: bool,
    on_unknown: OnUnknown,
    on_clear: OnClear,
) -> Decision:
    """
    Decide what a new try does, by the table above.

    :param record: the ledger's newest record; ``None`` if there is none.
    :param fingerprint: of the request as it is now.
    :param cleared: the task was cleared since the record was written.
    :param key_is_valid: the vendor still bills only once under the record's idempotency key.
    """
    if record is None or record.phase is Phase.NOT_ACCEPTED:
        return Decision(action=Action.SUBMIT, record=record)
    phase, job = record.phase, _name_of(record)
    if phase is Phase.DISCARDED:
        reason = f"A new video was requested instead of {job}; a new, paid job is submitted"
        return Decision(action=Action.SUBMIT, record=record, reason=reason)
    if record.fingerprint != fingerprint:
        return Decision(action=Action.SUBMIT, record=record, reason=_changed_request(record))
    if phase is Phase.SUBMITTED:
        reason = f"An earlier try submitted {job}; re-attaching to it, nothing is submitted"
        return Decision(action=Action.REATTACH, record=record, reason=reason)
    if phase is Phase.DELIVERED:
        return _after_delivery(record, cleared=cleared, on_clear=on_clear)
    if phase is Phase.FAILED and not cleared:
        reason = (
            f"In an earlier try {job} ended without a video; a new job is submitted and may be billed again"
        )
        return Decision(action=Action.SUBMIT, record=record, reason=reason)
    if key_is_valid and phase in (Phase.SUBMITTING, Phase.UNKNOWN):
        reason = f"{_UNKNOWN}; the same request is sent again with the same idempotency key"
        return Decision(action=Action.RESEND, record=record, reason=reason)
    if cleared and phase is not Phase.SUBMITTING:
        return _after_clear(record)
    if phase is not Phase.LOST and on_unknown == "resubmit":
        return _resubmit(record)
    return Decision(action=Action.REPORT, record=record)


_UNKNOWN = "The outcome of an earlier submission is unknown"


def _name_of(record: Record) -> str:
    return f"the job {record.task_id}" if record.task_id else "a job of unknown id"


def _changed_request(record: Record) -> str:
    reason = "The request has changed since the last try, so a new job is submitted"
    if record.phase in (Phase.DELIVERED, Phase.FAILED):
        return reason
    return f"{reason}; {_name_of(record)} at {record.vendor} is left behind and may be billed"


def _after_delivery(record: Record, *, cleared: bool, on_clear: OnClear) -> Decision:
    if not cleared:
        reason = f"An earlier try has already delivered {record.job}; returning the same video"
        return Decision(action=Action.RETURN, record=record, reason=reason)
    if on_clear == "regenerate":
        reason = f"{record.job} was delivered; a new, paid job is submitted, as on_clear='regenerate' asks"
        return Decision(action=Action.SUBMIT, record=record, reason=reason)
    reason = (
        f"{record.job} was delivered; the cleared task returns the same video if it is still available. "
        f"{REGENERATE_HINT}"
    )
    return Decision(action=Action.RETURN_OR_SUBMIT, record=record, reason=reason)


def _after_clear(record: Record) -> Decision:
    if record.task_id:
        reason = (
            f"The task was cleared after {_name_of(record)} was recorded as {record.phase}; checking it "
            "before a new one is paid for"
        )
        return Decision(action=Action.CHECK_THEN_SUBMIT, record=record, reason=reason)
    reason = f"The task was cleared after {_name_of(record)} had been reported; a new, paid job is submitted"
    return Decision(action=Action.SUBMIT, record=record, reason=reason)


def _resubmit(record: Record) -> Decision:
    if record.task_id:
        reason = f"{_UNKNOWN}; checking {_name_of(record)} before a new one is paid for"
        return Decision(action=Action.CHECK_THEN_SUBMIT, record=record, reason=reason)
    accepted = "as on_unknown_submit='resubmit' asks, and both may be billed"
    return Decision(
        action=Action.SUBMIT, record=record, reason=f"{_UNKNOWN}; a new job is submitted, {accepted}"
    )
