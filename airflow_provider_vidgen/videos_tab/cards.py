# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Build the card of a video. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_vidgen.airflow_core_videos import VideoTask
from airflow_provider_vidgen.errors import Billing
from airflow_provider_vidgen.video_status import VideoState, VideoStatus
from airflow_provider_vidgen.videos_tab import paths, wording
from airflow_provider_vidgen.videos_tab.paths import of_task
from airflow_provider_vidgen.videos_tab.videos import (
    DOWNLOAD_OPERATOR,
    Video,
    VideoFile,
    expiry,
    rendering_seconds,
)
from airflow_provider_vidgen.videos_tab.view import Action, Card, CardState, Clip, Counts, Link, Moment, Tone
from airflow_provider_vidgen.videos_tab.wording import clean

#: States of a task instance that Airflow's clear, and so an action, accepts.
_ACTIONABLE = frozenset({"success", "failed", "skipped", "upstream_failed", "up_for_retry"})
#: A link's remaining life is shown in colour below this many seconds.
_EXPIRES_SOON = 3600.0


def build_card(video: Video, *, now: datetime, editable: Collection[str], across_runs: bool) -> Card:
    """
    Return the card of a video.

    :param now: the current time, for texts such as ``2 min 10 s``.
    :param editable: the Dags whose tasks this user may clear.
    :param across_runs: the page has videos of several runs, so the card says which.
    """
    status, situation = video.status, video.situation
    card = Card(
        id=f"video-{_hash('/'.join(map(str, video.task.key)))}",
        version="",
        state=situation.state,
        tone=situation.tone,
        label=situation.label,
        title=video.title,
        place=_place(video, across_runs=across_runs),
        picture=situation.picture,
        message=situation.message,
        billing=situation.billing,
        next_step=situation.next_step,
        moments=tuple(_moments(video, now)),
        links=tuple(_links(video, across_runs=across_runs)),
        actions=tuple(_actions(video)) if video.task.dag_id in editable else (),
    )
    if status is not None:
        card = _with_report(card, video, status, now)
    return replace(card, version=_hash(repr(card)))


def _with_report(card: Card, video: Video, status: VideoStatus, now: datetime) -> Card:
    """Add what only the report of a task tells."""
    clips = tuple(_clip(file, status) for file in video.files)
    picture, message = card.picture, card.message
    expires_at = expiry(status)
    if card.state is CardState.MADE and expires_at is not None and expires_at <= now:
        clips, picture = (), "link expired"
        message = "Not landed, and the vendor's link has expired."
    elif card.state is CardState.MADE and not clips:
        picture, message = "no link", "Not landed, and the vendor's link is not known."
    return replace(
        card,
        picture=picture,
        message=message,
        percent=_percent(video),
        prompt=clean(status.prompt),
        vendor_line=_vendor_line(video, status),
        cost=_cost(status),
        cost_note=_cost_note(status),
        job_id=clean(status.job_id, 300),
        file_line=_file_line(video.files),
        code=clean(status.code, 300) if card.state in (CardState.FAILED, CardState.RETRYING) else "",
        clips=clips,
    )


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _place(video: Video, *, across_runs: bool) -> str:
    parts = [video.task.dag_id, video.task.run_id] if across_runs else []
    if video.task.name:
        parts.append(f"{video.task.task_id}[{video.task.map_index}]")
    return clean(" · ".join(parts), 800)


def _percent(video: Video) -> float | None:
    is_running = video.state in (CardState.RENDERING, CardState.SILENT)
    return video.progress.percent if is_running else None


def _vendor_line(video: Video, status: VideoStatus) -> str:
    vendor = video.vendor[1]
    if video.state is CardState.WAITING and status.limit:
        return f"{vendor or 'The account'} takes {status.limit} at a time"
    length = wording.number(status.duration)
    seconds = f"{length:g} s" if length and video.state is not CardState.LANDED else ""
    parts = (vendor, status.model, status.resolution, status.aspect_ratio, seconds)
    return " · ".join(clean(part, 200) for part in parts if part)


def _cost(status: VideoStatus) -> str:
    cost = wording.cost_parts(status.cost)
    if cost is None:
        return ""
    amount, currency, basis = cost
    text = wording.money(amount, currency)
    return f"{text} reported" if basis == "reported" else f"about {text}, estimated"


def _cost_note(status: VideoStatus) -> str:
    cost = wording.cost_parts(status.cost)
    if cost is None or status.cost is None:
        return ""
    if cost[2] == "reported":
        return "Reported by the vendor."
    as_of = status.cost.get("as_of")
    date = f" of {clean(as_of, 30)}" if isinstance(as_of, str) and as_of else ""
    return f"Estimated from the vendor's documented price{date}."


def _file_line(files: Sequence[VideoFile]) -> str:
    sizes = [wording.number(file.manifest.get("bytes")) for file in files if file.manifest is not None]
    known = [size for size in sizes if size is not None]
    if not known or len(known) != len(sizes):
        return ""
    return f"{len(known)} files, {wording.size(sum(known))}" if len(known) > 1 else wording.size(known[0])


def _clip(file: VideoFile, status: VideoStatus) -> Clip:
    manifest: Mapping[str, Any] = file.manifest or {}
    seconds, count = wording.number(status.duration_seconds), wording.number(manifest.get("bytes"))
    path, poster = manifest.get("path"), manifest.get("poster")
    # A video that is made anew has another address, so that a browser does not show the one it has.
    query: dict[str, str | int] = {"number": file.number, "v": _hash(f"{status.job_id} {path}")}
    src = of_task(paths.FILE, file.task, **query)
    return Clip(
        src=src,
        streamed_src=f"{src}&stream=1" if file.manifest is not None else "",
        poster=of_task(paths.POSTER, file.task, **query) if isinstance(poster, str) else "",
        size=wording.size(count) if count is not None else "",
        length=wording.length(seconds) if seconds is not None else "",
        path=clean(path, 1_000) if isinstance(path, str) else "",
    )


# --- times ----------------------------------------------------------------------------------------------


def _moments(video: Video, now: datetime) -> list[Moment]:
    return [moment for moment in _all_moments(video, now) if moment is not None]


def _all_moments(video: Video, now: datetime) -> Sequence[Moment | None]:
    status, progress = video.status, video.progress
    if video.state is CardState.RETRYING:
        return [_until("next try in ", video.task.retry_at, now, when_over="next try now")]
    if status is None:
        return []
    since = wording.parse_time(status.since)
    match video.state:
        case CardState.WAITING:
            next_check = wording.parse_time(status.next_check_at)
            return [
                _elapsed("for ", since, now),
                _until("next check in ", next_check, now, when_over="checks now"),
            ]
        case CardState.RENDERING:
            usual = video.usual_seconds
            after = f" of about {wording.duration(usual)}" if usual else ""
            start = wording.parse_time(status.submitted_at) or since
            return [_elapsed("" if after else "for ", start, now, after=after)]
        case CardState.SILENT:
            silent, again = progress.not_answering_since, progress.next_check_at
            return [
                _clock("not answering since ", silent, now, tone=Tone.WARN),
                _until("asking again in ", again, now, when_over="asking again now"),
            ]
        case CardState.MADE | CardState.LANDED:
            return _end_and_expiry(video, status, now)
        case _:
            return [_clock("", since, now)]


def _end_and_expiry(video: Video, status: VideoStatus, now: datetime) -> Sequence[Moment | None]:
    took = rendering_seconds(status)
    after = f", in {wording.duration(took)}" if took is not None else ""
    finished = wording.parse_time(status.finished_at) or wording.parse_time(status.since)
    moments = [_clock("finished ", finished, now, after=after)]
    expires_at = expiry(status)
    if video.state is CardState.MADE and expires_at is not None:
        left = (expires_at - now).total_seconds()
        moments.append(
            _until(
                "link expires in ",
                expires_at,
                now,
                when_over="link expired",
                tone=Tone.WARN if left < _EXPIRES_SOON else None,
            )
        )
    return moments


def _elapsed(before: str, at: datetime | None, now: datetime, *, after: str = "") -> Moment | None:
    if at is None:
        return None
    text = wording.duration((now - at).total_seconds())
    return Moment(before=before, at=at.isoformat(), counts=Counts.ELAPSED, text=text, after=after)


def _until(
    before: str, at: datetime | None, now: datetime, *, when_over: str, tone: Tone | None = None
) -> Moment | None:
    if at is None:
        return None
    return Moment(
        before=before,
        at=at.isoformat(),
        counts=Counts.REMAINING,
        text=wording.duration((at - now).total_seconds()),
        when_over=when_over,
        tone=tone,
    )


def _clock(
    before: str, at: datetime | None, now: datetime, *, after: str = "", tone: Tone | None = None
) -> Moment | None:
    if at is None:
        return None
    text = f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    return Moment(before=before, at=at.isoformat(), counts=Counts.CLOCK, text=text, after=after, tone=tone)


# --- links and actions ----------------------------------------------------------------------------------


def _links(video: Video, *, across_runs: bool) -> list[Link]:
    task = video.task
    found = []
    if video.files and video.files[0].manifest is not None:
        href = of_task(paths.FILE, video.files[0].task, number=0, download=1)
        found.append(Link(kind="file", label="File", href=href))
    found.append(Link(kind="task", label="Task", href=f"{paths.task_page(task)}/details"))
    found.append(Link(kind="log", label="Log", href=_log_page(task)))
    if across_runs:
        found.append(Link(kind="run", label="Run", href=paths.run_page(task)))
    console = video.status.console_url if video.status is not None else ""
    if paths.is_web_link(console, schemes=("https",)):
        found.append(Link(kind="console", label="Vendor console", href=console, external=True))
    return found


def _log_page(task: VideoTask) -> str:
    return f"{paths.task_page(task)}?try_number={task.try_number}"


def _actions(video: Video) -> list[Action]:
    task, status = video.task, video.status
    if status is None or task.state not in _ACTIONABLE or task.operator == DOWNLOAD_OPERATOR:
        return []
    found = []
    if status.state in (VideoState.UNKNOWN, VideoState.LOST) or status.error == "JobNotRecorded":
        found.append(
            Action(name="adopt", label="Adopt a job…", url=of_task(paths.ADOPT, task), needs_job_id=True)
        )
        found.append(Action(name="look_again", label="Look again", url=of_task(paths.LOOK_AGAIN, task)))
    elif status.state is VideoState.RENDERING or status.billing == Billing.JOB_CONTINUES:
        found.append(Action(name="look_again", label="Look again", url=of_task(paths.LOOK_AGAIN, task)))
    if _submits(video, status):
        found.append(
            Action(
                name="regenerate",
                label="Make a new one…",
                url=of_task(paths.REGENERATE, task),
                question=_question(status),
            )
        )
    return found


def _submits(video: Video, status: VideoStatus) -> bool:
    """Whether the task submits jobs and has submitted one: a sensor has nothing to make anew."""
    if video.task.operator == "VideoTaskSensor":
        return False
    return bool(status.job_id) or status.state is VideoState.UNKNOWN


def _question(status: VideoStatus) -> str:
    cost = wording.cost_parts(status.cost)
    price = f"about {wording.money(cost[0], cost[1])}" if cost is not None else "its cost is not known"
    return (
        f"Make a new, paid video ({price})? The task is cleared and runs again at once. "
        "What the present one cost stays spent."
    )
