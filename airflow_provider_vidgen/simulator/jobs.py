# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Jobs: the accepted request, its progress over virtual time, and snapshots of it for status responses."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_vidgen.simulator.clock import round_to_microsecond
from airflow_provider_vidgen.simulator.job_script import JobScript

# A stuck job looks nearly done, as stuck jobs of real vendors do.
_STUCK_FRACTION: Final = 0.9
_PROGRESS_DECREASE: Final = 30


@dataclass(frozen=True)
class GenerationRequest:
    """A valid request for a video, in the same form for all vendors.

    :param seconds: duration of the video.
    :param body: the JSON object received.
    :param script: the behaviour that the request itself causes; None for that of the prompt.
    """

    model: str
    prompt: str
    seconds: int
    aspect_ratio: str
    resolution: str
    body: Mapping[str, Any]
    images: tuple[str, ...] = ()
    callback_url: str | None = None
    script: JobScript | None = None


@dataclass(frozen=True)
class JobView:
    """A job as the control API serves it.

    :param fraction: elapsed part of the job's time, from 0 to 1.
    :param finishes_at: virtual time of the end; None for a stuck job.
    """

    vendor: str
    task_id: str
    model: str
    state: str
    fraction: float
    created_at: float
    finishes_at: float | None
    polls: int


@dataclass
class Job:
    """An accepted request.

    :param account: fingerprint of the API key that pays.
    :param job_seconds: virtual seconds from acceptance to the end, unless it is stuck.
    :param ended: the end has been reached and billed; it cannot change any more.
    """

    vendor: str
    task_id: str
    request: GenerationRequest
    account: str
    created_at: float
    job_seconds: float
    script: JobScript
    polls: int = 0
    polls_after_success: int = 0
    links: tuple[str, ...] = ()
    thumbnail_link: str | None = None
    links_expire_at: float = 0.0
    ended: bool = False

    @property
    def finishes_at(self) -> float:
        """Virtual time of the end; infinity for a stuck job."""
        return float("inf") if self.script.stuck else round_to_microsecond(self.created_at + self.job_seconds)

    def fraction(self, now: float) -> float:
        """Return the elapsed part of the job's time, from 0 to 1.

        :param now: virtual time.
        """
        if now >= self.finishes_at:
            return 1.0
        fraction = (now - self.created_at) / self.job_seconds if self.job_seconds else 1.0
        return min(fraction, _STUCK_FRACTION if self.script.stuck else 1.0)

    def state(self, now: float) -> str:
        """Return ``waiting``, or the outcome of an ended job.

        :param now: virtual time.
        """
        return self.script.outcome if now >= self.finishes_at else "waiting"

    def progress(self, now: float) -> int:
        """Return the progress in percent for the current poll.

        :param now: virtual time.
        """
        percent = int(self.fraction(now) * 100)
        if self.script.progress == "decreasing" and percent < 100 and self.polls % 2 == 0:
            return max(0, percent - _PROGRESS_DECREASE)
        return percent

    def custom_state(self, now: float) -> str | None:
        """Return the scripted state in the second half of the job's time.

        :param now: virtual time.
        """
        return self.script.custom_state if 0.5 <= self.fraction(now) < 1 else None

    def view(self, now: float) -> JobView:
        """Return the job as the control API serves it.

        :param now: virtual time.
        """
        return JobView(
            vendor=self.vendor,
            task_id=self.task_id,
            model=self.request.model,
            state=self.state(now),
            fraction=self.fraction(now),
            created_at=self.created_at,
            finishes_at=None if self.script.stuck else self.finishes_at,
            polls=self.polls,
        )


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one poll, before a vendor puts it into its own response format.

    :param progress: percent.
    :param custom_state: a scripted state to report instead of the vendor's.
    :param urls: result links; empty while there are none.
    """

    state: str
    fraction: float
    progress: int
    custom_state: str | None
    urls: tuple[str, ...]
    thumbnail_url: str | None
    urls_expire_at: float
    created_at: float
    finished_at: float
    fail_code: str
    fail_message: str
    error_in_url: bool


class JobRegistry:
    """All jobs by id, and a queue of their ends."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._ends: list[tuple[float, str]] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._jobs

    def get(self, task_id: str) -> Job | None:
        """Return a job, or None.

        :param task_id: the vendor's id.
        """
        return self._jobs.get(task_id)

    def add(self, job: Job) -> None:
        """Add a job, or schedule the changed end of a known one.

        :param job: the job.
        """
        self._jobs[job.task_id] = job
        heapq.heappush(self._ends, (job.finishes_at, job.task_id))

    def unfinished(self, vendor: str, account: str) -> list[Job]:
        """Return the jobs that count against the concurrency limit.

        :param vendor: name of the vendor.
        :param account: fingerprint of the API key.
        """
        return [job for job in self if not job.ended and job.vendor == vendor and job.account == account]

    def pop_ended(self, now: float) -> list[Job]:
        """Return each job that has ended since the last call, once.

        :param now: virtual time.
        """
        ended = []
        while self._ends and self._ends[0][0] <= now:
            _, task_id = heapq.heappop(self._ends)
            job = self._jobs[task_id]
            if not job.ended and job.finishes_at <= now:
                job.ended = True
                ended.append(job)
        return ended
