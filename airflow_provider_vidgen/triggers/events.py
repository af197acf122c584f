# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The event with which a trigger resumes its task: versioned, without links, prompt or API key."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from airflow_provider_vidgen.models import VideoJob

VERSION = 1


class Reason(StrEnum):
    """Why the task is resumed. The values are stored in Airflow's database."""

    ENDED = "ended"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    RESULT_MISSING = "result_missing"
    JOB_LOST = "job_lost"
    ACCESS_DENIED = "access_denied"
    VENDOR_UNAVAILABLE = "vendor_unavailable"
    TRIGGER_ERROR = "trigger_error"


_MESSAGES = {
    Reason.ENDED: "The job has ended",
    Reason.DEADLINE_EXCEEDED: "The job has not ended by its deadline",
    Reason.RESULT_MISSING: "The vendor reports success without a usable link",
    Reason.JOB_LOST: "The vendor does not know the job",
    Reason.ACCESS_DENIED: "The vendor refuses access to the job",
    Reason.VENDOR_UNAVAILABLE: "The vendor does not answer status checks",
    Reason.TRIGGER_ERROR: "The trigger cannot poll the job",
}


def make_event(reason: Reason, job: VideoJob) -> dict[str, Any]:
    """Return the event's payload."""
    return {"v": VERSION, "reason": str(reason), "task_id": job.task_id, "message": _MESSAGES[reason]}


def read_event(event: Any, job: VideoJob) -> tuple[Reason, str]:
    """
    Parse a payload, which may come from another version, be about another job, or be missing.

    :return: the reason, and what is wrong with the event, if anything. An invalid event counts as
        ``TRIGGER_ERROR``: the resumed task checks the job in any case.
    """
    if not isinstance(event, dict):
        return Reason.TRIGGER_ERROR, f"The trigger's event is {type(event).__name__}, not an object"
    if event.get("v") != VERSION:
        return Reason.TRIGGER_ERROR, f"The trigger's event has the unknown version {event.get('v')!r}"
    if event.get("task_id") != job.task_id:
        return Reason.TRIGGER_ERROR, "The trigger's event is about another job"
    try:
        return Reason(str(event.get("reason"))), ""
    except ValueError:
        return Reason.TRIGGER_ERROR, "The trigger's event has an unknown reason"
