# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a trigger says to the task it wakes: versioned, and without link, prompt or key."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from airflow_provider_vidgen.models import VideoJob

VERSION = 1


class Reason(StrEnum):
    """Why the task was woken."""

    ENDED = "ended"
    DEADLINE = "deadline"
    RESULT_MISSING = "result_missing"
    LOST = "lost"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    TROUBLE = "trouble"


_MESSAGES = {
    Reason.ENDED: "The job has ended",
    Reason.DEADLINE: "The job has not ended by its deadline",
    Reason.RESULT_MISSING: "The vendor calls the job finished but gives no usable link",
    Reason.LOST: "The vendor does not know the job",
    Reason.REFUSED: "The vendor refuses to tell about the job",
    Reason.UNAVAILABLE: "The vendor cannot be asked",
    Reason.TROUBLE: "The job cannot be watched",
}


def make_event(reason: Reason, job: VideoJob) -> dict[str, Any]:
    """Return the payload."""
    return {"v": VERSION, "reason": str(reason), "task_id": job.task_id, "message": _MESSAGES[reason]}


def read_event(event: Any, job: VideoJob) -> tuple[Reason, str]:
    """
    Read a payload that may be from another version, about another job, or nothing at all.

    :return: the reason, and what is odd about the event, if anything. An odd event counts as trouble: the
        resumed task asks the vendor in any case and believes nothing else.
    """
    if not isinstance(event, dict):
        return Reason.TROUBLE, f"The trigger's event is {type(event).__name__}, not an object"
    if event.get("v") != VERSION:
        return Reason.TROUBLE, f"The trigger's event has the unknown version {event.get('v')!r}"
    if event.get("task_id") != job.task_id:
        return Reason.TROUBLE, "The trigger's event is about another job"
    try:
        return Reason(str(event.get("reason"))), ""
    except ValueError:
        return Reason.TROUBLE, "The trigger's event gives an unknown reason"
