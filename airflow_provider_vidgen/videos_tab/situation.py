# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What is true of a video, from the state of its task and from what the task last reported. No I/O.

The two can contradict each other: a killed task reports nothing any more, and people mark tasks by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_provider_vidgen.errors import Billing
from airflow_provider_vidgen.video_status import VideoState, VideoStatus
from airflow_provider_vidgen.videos_tab.progress import ReportedProgress
from airflow_provider_vidgen.videos_tab.view import CardState, Tone
from airflow_provider_vidgen.videos_tab.wording import error_label, ordinal, sentence

#: States of a task instance that has ended.
FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
#: States before a worker has the task; the empty one is Airflow's ``None``.
_NOT_STARTED = {"": "Not started", "scheduled": "Scheduled", "queued": "Queued in Airflow"}
_NOTHING_YET = "Nothing has been submitted or paid yet."
_BY_HAND = {"success": "Succeeded", "skipped": "Skipped", "removed": "Removed", "upstream_failed": "Not run"}
TONES = {
    CardState.QUEUED: Tone.IDLE,
    CardState.WAITING: Tone.WAIT,
    CardState.RENDERING: Tone.RUN,
    CardState.SILENT: Tone.WARN,
    CardState.MADE: Tone.OK,
    CardState.LANDED: Tone.OK,
    CardState.RETRYING: Tone.WARN,
    CardState.FAILED: Tone.BAD,
    CardState.UNKNOWN: Tone.WARN,
    CardState.LOST: Tone.BAD,
    CardState.OTHER: Tone.IDLE,
}


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The part of a card that follows from the states; see :class:`.Card`."""

    state: CardState
    label: str
    picture: str = ""
    message: str = ""
    billing: str = ""
    next_step: str = ""

    @property
    def tone(self) -> Tone:
        """The colour of the state."""
        return TONES[self.state]


def assess(
    task_state: str,
    try_number: int,
    status: VideoStatus | None,
    progress: ReportedProgress,
    place: int | None = None,
    *,
    was_rescheduled: bool = False,
) -> Situation:
    """
    Return what is true of a video.

    :param task_state: of the task instance, empty for none.
    :param try_number: of the task instance; Airflow counts a try when it schedules it.
    :param status: what the task reported; ``None`` if it reported nothing that can be read.
    :param progress: what its trigger reported.
    :param place: place in the line for capacity, from 1; ``None`` if it is not known.
    :param was_rescheduled: the try has waited for capacity before.
    """
    if status is None:
        return _without_report(task_state, try_number, was_rescheduled)
    if task_state == "up_for_retry":
        return _retrying(status)
    if status.state in (VideoState.WAITING, VideoState.RENDERING):
        if task_state in FINISHED:
            return _ended_without_report(task_state, status)
        return _waiting(status, place) if status.state is VideoState.WAITING else _rendering(progress)
    found = _ended(status)
    if task_state in _NOT_STARTED:
        return replace(
            found,
            state=CardState.QUEUED,
            label="Queued again",
            message=_joined(f"The task will run again. Its last try: {found.label}.", found.message),
        )
    expected = "failed" if found.state in (CardState.FAILED, CardState.UNKNOWN, CardState.LOST) else "success"
    if task_state in FINISHED and task_state != expected:
        return replace(
            found, message=_joined(found.message, f"The task is marked as {_word(task_state)} in Airflow.")
        )
    return found


def _without_report(task_state: str, try_number: int, was_rescheduled: bool) -> Situation:
    if was_rescheduled and task_state in ("scheduled", "queued", "running"):
        # For the seconds in which a waiting task checks again, it has no report.
        return Situation(state=CardState.WAITING, label="Waiting", picture="checking again")
    if task_state in _NOT_STARTED:
        is_first_try = try_number <= (1 if task_state else 0)
        return Situation(
            state=CardState.QUEUED,
            label=_NOT_STARTED[task_state],
            picture="not started",
            message="" if is_first_try else "It runs again, and first looks for the job of its last try.",
            billing=_NOTHING_YET if is_first_try else "",
        )
    if task_state in ("running", "restarting"):
        return Situation(state=CardState.QUEUED, label="Starting", picture="starting")
    if task_state == "up_for_retry":
        return Situation(
            state=CardState.RETRYING,
            label="Retry pending",
            picture="no video yet",
            message="The last try failed without a report; its log says why.",
        )
    if task_state == "failed":
        return Situation(
            state=CardState.FAILED,
            label="Failed",
            picture="no video",
            message="The task failed without a report; its log says why.",
            billing=str(Billing.MAYBE),
            next_step="If the log shows that a request was sent, look into the vendor's console.",
        )
    if task_state in _BY_HAND:
        succeeded = task_state == "success"
        return Situation(
            state=CardState.OTHER,
            label=_BY_HAND[task_state],
            picture="not known" if succeeded else "no video",
            message="The task's report has been deleted, or cannot be read here." if succeeded else "",
        )
    return Situation(
        state=CardState.OTHER,
        label="In progress",
        picture="in progress",
        message="The task has reported nothing that can be read here.",
    )


def _waiting(status: VideoStatus, place: int | None) -> Situation:
    has_place = place is not None and place > 0
    return Situation(
        state=CardState.WAITING,
        label="Waiting",
        picture=f"{ordinal(place)} in line" if place is not None and has_place else "waiting for capacity",
        # The reported reason has the place of that time.
        message="" if has_place else sentence(status.reason),
        billing=_NOTHING_YET,
    )


def _rendering(progress: ReportedProgress) -> Situation:
    if progress.not_answering_since is not None:
        return Situation(
            state=CardState.SILENT,
            label="Vendor silent",
            picture="not answering",
            message="The job continues at the vendor; nothing is lost.",
        )
    if progress.has_ended:
        return Situation(state=CardState.RENDERING, label="Finishing", picture="finishing")
    if progress.percent is not None:
        return Situation(
            state=CardState.RENDERING, label=f"Rendering {progress.percent:.0f} %", picture="rendering"
        )
    if progress.is_queued:
        return Situation(
            state=CardState.RENDERING, label="Queued at the vendor", picture="queued at the vendor"
        )
    return Situation(state=CardState.RENDERING, label="Rendering", picture="rendering")


def _ended(status: VideoStatus) -> Situation:
    """Return the situation of a status that ends a try."""
    match status.state:
        case VideoState.LANDED:
            return Situation(state=CardState.LANDED, label="Landed")
        case VideoState.MADE:
            return Situation(
                state=CardState.MADE, label="Made", message="Not landed: the vendor's link is played."
            )
        case VideoState.UNKNOWN:
            found = Situation(state=CardState.UNKNOWN, label="Unknown", picture="outcome unknown")
        case VideoState.LOST:
            found = Situation(state=CardState.LOST, label="Lost", picture="no video")
        case _:
            found = Situation(state=CardState.FAILED, label=error_label(status.error), picture="no video")
    return replace(
        found,
        message=sentence(status.summary),
        billing=sentence(status.billing),
        next_step=sentence(status.next_step),
    )


def _retrying(status: VideoStatus) -> Situation:
    if status.state in (VideoState.WAITING, VideoState.RENDERING):
        found = _ended_without_report("failed", status)
        next_step = "The next try re-attaches to the job." if status.state is VideoState.RENDERING else ""
    else:
        found = _ended(status)
        next_step = found.next_step
    return replace(
        found,
        state=CardState.RETRYING,
        label="Retry pending",
        picture="no video yet",
        next_step=next_step,
    )


def _ended_without_report(task_state: str, status: VideoStatus) -> Situation:
    """Return the situation of a task that was killed, or marked by hand, before it could report its end."""
    waited = status.state is VideoState.WAITING
    what = "failed" if task_state == "failed" else f"was marked as {_word(task_state)}"
    when = "it waited for capacity" if waited else "the job was rendering"
    return Situation(
        state=CardState.FAILED if task_state == "failed" else CardState.OTHER,
        label=_BY_HAND.get(task_state, "Failed"),
        picture="no video",
        message=f"The task {what} while {when}.",
        billing=str(Billing.NOT_SPENT if waited else Billing.JOB_CONTINUES),
        next_step="A clear waits again." if waited else "A clear re-attaches to the job.",
    )


def _word(task_state: str) -> str:
    return {"success": "successful", "upstream_failed": "upstream failed"}.get(task_state, task_state)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
