# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The videos of a page: task instances with what they reported, one for each job. No I/O.

A job may have several task instances: the one that generated its video, a sensor that waited for it, one that
downloaded its file. They are shown as one video.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from airflow_provider_vidgen.airflow_core_videos import VideoTask
from airflow_provider_vidgen.video_status import VideoState, VideoStatus
from airflow_provider_vidgen.videos_tab.progress import ReportedProgress
from airflow_provider_vidgen.videos_tab.situation import FINISHED, Situation, assess
from airflow_provider_vidgen.videos_tab.view import CardState
from airflow_provider_vidgen.videos_tab.wording import clean, parse_time

#: A task of these states shows the same job as the task that generated it.
_MERGED = (VideoState.RENDERING, VideoState.MADE, VideoState.LANDED)
#: Files or links of a video that are shown; an XCom has no limit.
_MAX_FILES = 12
DOWNLOAD_OPERATOR = "VideoDownloadOperator"


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """
    A landed file, or a link of the vendor.

    :param task: the task instance that reported it.
    :param number: its position in that report, from 0.
    :param manifest: of a landed file; ``None`` for a link.
    """

    task: VideoTask
    number: int
    manifest: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Video:
    """
    One video.

    :param task: the task instance that generated it, or the only one.
    :param tasks: all of its task instances.
    :param status: what ``task`` reported; all empty if it reported nothing that can be read.
    :param files: landed files, or else the vendor's links.
    :param usual_seconds: that the jobs of this vendor and model took; ``None`` if none has finished.
    """

    task: VideoTask
    tasks: tuple[VideoTask, ...]
    status: VideoStatus | None
    progress: ReportedProgress
    situation: Situation
    files: tuple[VideoFile, ...] = ()
    usual_seconds: float | None = None

    @property
    def state(self) -> CardState:
        """The state of its card."""
        return self.situation.state

    @property
    def vendor(self) -> tuple[str, str]:
        """The vendor's id, and its name as people write it."""
        if self.status is None:
            return "", ""
        return clean(self.status.vendor, 100), clean(self.status.vendor_name or self.status.vendor, 100)

    @property
    def title(self) -> str:
        """The name of a mapped instance, or the task's id."""
        if self.task.name:
            return clean(self.task.name, 300)
        index = f"[{self.task.map_index}]" if self.task.map_index >= 0 else ""
        return f"{clean(self.task.task_id, 300)}{index}"

    def contains(self, text: str) -> bool:
        """Whether its prompt, title, task or job id contains a text, whatever the case."""
        status = self.status
        found = [self.title, self.task.task_id]
        if status is not None:
            found += [status.prompt, status.job_id, status.model, status.code]
        return text.casefold() in "\n".join(found).casefold()

    def has_task(self, task_id: str, map_index: int | None) -> bool:
        """Whether a task instance is one of its own; ``None`` for any map index."""
        return any(task.task_id == task_id and map_index in (None, task.map_index) for task in self.tasks)


@dataclass
class _Report:
    task: VideoTask
    status: VideoStatus | None
    members: list[_Report] = field(default_factory=list)


def find_videos(tasks: Sequence[VideoTask], *, whole_runs: bool) -> list[Video]:
    """
    Return the videos of task instances, in their order.

    :param whole_runs: these are all task instances with a video of their runs; otherwise a place in the line
        for capacity is the one that the task reported.
    """
    reports = [_Report(task, VideoStatus.from_json(task.video)) for task in tasks]
    reports = [report for report in reports if not _is_outdated_download(report)]
    places = _places_in_line(reports) if whole_runs else {}
    usual = _usual_seconds(report.status for report in reports)
    return [_video(report, places, usual) for report in _merged(reports)]


def _is_outdated_download(report: _Report) -> bool:
    """
    Whether a task has landed a file and runs again.

    Until it starts it has the report of its last try, about a job that the generation may have left behind.
    """
    is_landed = report.status is not None and report.status.state is VideoState.LANDED
    return is_landed and report.task.operator == DOWNLOAD_OPERATOR and report.task.state not in FINISHED


def _merged(reports: Iterable[_Report]) -> list[_Report]:
    """Return one report for each job, with the others of that job as its members."""
    found: list[_Report] = []
    by_job: dict[tuple[str, ...], list[_Report]] = defaultdict(list)
    for report in reports:
        found.append(report)
        status = report.status
        if status is not None and status.job_id and status.state in _MERGED:
            by_job[(report.task.dag_id, report.task.run_id, status.vendor, status.job_id)].append(report)
    merged: set[tuple[str, str, str, int]] = set()
    for same_job in by_job.values():
        # The sort is stable: of equals, the first task.
        first, *others = sorted(same_job, key=_rank)
        first.members = others
        merged.update(other.task.key for other in others)
    return [report for report in found if report.task.key not in merged]


def _rank(report: _Report) -> tuple[bool, bool]:
    """Sort the task that generated a video first: only a generation knows the prompt."""
    assert report.status is not None
    return report.task.operator != "VideoGenerationOperator", not report.status.prompt


def _video(report: _Report, places: Mapping[Any, int], usual: Mapping[tuple[str, str], float]) -> Video:
    task, status = report.task, report.status
    progress = ReportedProgress.from_json(task.progress)
    place = places.get(task.key, status.ahead if status else None)
    # A sensor is rescheduled between its checks of a job, a generation only before it submits.
    was_rescheduled = task.was_rescheduled and task.operator != "VideoTaskSensor"
    situation = assess(task.state, task.try_number, status, progress, place, was_rescheduled=was_rescheduled)
    landed = next(
        (
            member
            for member in (report, *report.members)
            if member.status is not None and member.status.state is VideoState.LANDED and member.status.files
        ),
        None,
    )
    if landed is not None and landed is not report and situation.state is CardState.MADE:
        situation = assess(task.state, task.try_number, landed.status, progress)
    return Video(
        task=task,
        tasks=(task, *(member.task for member in report.members)),
        status=status,
        progress=progress,
        situation=situation,
        files=_files(landed or report),
        usual_seconds=usual.get((status.vendor, status.model)) if status is not None else None,
    )


def _files(report: _Report) -> tuple[VideoFile, ...]:
    status = report.status
    if status is None:
        return ()
    manifests: Sequence[Mapping[str, Any] | None] = status.files or (None,) * len(status.result_urls)
    return tuple(
        VideoFile(task=report.task, number=number, manifest=manifest)
        for number, manifest in enumerate(manifests[:_MAX_FILES])
    )


def _places_in_line(reports: Iterable[_Report]) -> dict[tuple[str, str, str, int], int]:
    """
    Return the place of each instance that waits for its turn in a mapped task, from 1.

    The first ``limit`` instances that have not ended may submit, by map index.
    """
    by_task: dict[tuple[str, str, str], list[_Report]] = defaultdict(list)
    for report in reports:
        if report.task.map_index >= 0:
            by_task[(report.task.dag_id, report.task.run_id, report.task.task_id)].append(report)
    places = {}
    for instances in by_task.values():
        before = 0
        for report in sorted(instances, key=lambda report: report.task.map_index):
            status = report.status
            if status is not None and status.state is VideoState.WAITING and status.limit:
                places[report.task.key] = before - status.limit + 1
            before += report.task.state not in FINISHED
    return places


def _usual_seconds(statuses: Iterable[VideoStatus | None]) -> dict[tuple[str, str], float]:
    """Return the median seconds of the finished jobs of each vendor and model."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for status in statuses:
        if status is not None and (took := rendering_seconds(status)) is not None:
            seconds[(status.vendor, status.model)].append(took)
    return {key: median(values) for key, values in seconds.items()}


def rendering_seconds(status: VideoStatus) -> float | None:
    """Return the seconds from acceptance to the end of a job that made a video."""
    if status.state not in (VideoState.MADE, VideoState.LANDED):
        return None
    # Not every vendor reports the end of a job; then it is when the task noticed it.
    start, end = parse_time(status.submitted_at), parse_time(status.finished_at or status.since)
    return (end - start).total_seconds() if start and end and end >= start else None


def expiry(status: VideoStatus | None) -> datetime | None:
    """Return when the vendor's links expire, if that is known."""
    return None if status is None else parse_time(status.expires_at)
