# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Jobs: what was ordered, when it ends, and what a look at it shows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_provider_vidgen.simulator.clock import to_microsecond
from airflow_provider_vidgen.simulator.scripts import Script

# A stuck job looks like one that is nearly done: that is what makes people wait for it.
STUCK_AT: Final = 0.9
_FALL_BACK: Final = 30


@dataclass(frozen=True)
class Order:
    """A valid request, in one spelling for all vendors."""

    model: str
    prompt: str
    seconds: int
    aspect_ratio: str
    resolution: str
    request: Mapping[str, Any]
    images: tuple[str, ...] = ()
    callback_url: str | None = None
    script: Script | None = None


@dataclass
class Job:
    """An accepted order."""

    vendor: str
    task_id: str
    order: Order
    owner: str
    created: float
    seconds: float
    script: Script
    polls: int = 0
    polls_done: int = 0
    links: tuple[str, ...] = ()
    thumbnail: str | None = None
    link_expires: float = 0.0
    closed: bool = field(default=False)

    @property
    def finishes(self) -> float:
        """Virtual time of the end; infinity for a stuck job."""
        return float("inf") if self.script.stuck else to_microsecond(self.created + self.seconds)

    def fraction(self, now: float) -> float:
        """Say how far the job is, from 0 to 1.

        :param now: virtual time.
        """
        if now >= self.finishes:
            return 1.0
        share = (now - self.created) / self.seconds if self.seconds else 1.0
        return min(share, STUCK_AT if self.script.stuck else 1.0)

    def state(self, now: float) -> str:
        """Say ``waiting``, or how the job ended.

        :param now: virtual time.
        """
        return self.script.outcome if now >= self.finishes else "waiting"

    def progress(self, now: float) -> int:
        """Say the percentage that this look shows.

        :param now: virtual time.
        """
        percent = int(self.fraction(now) * 100)
        if self.script.backwards and percent < 100 and self.polls % 2 == 0:
            return max(0, percent - _FALL_BACK)
        return percent

    def own_word(self, now: float) -> str | None:
        """Give the scripted state word when it is time to say it.

        :param now: virtual time.
        """
        return self.script.word if 0.5 <= self.fraction(now) < 1 else None

    def as_json(self, now: float) -> dict[str, Any]:
        """Give the job as the control API shows it.

        :param now: virtual time.
        """
        return {
            "vendor": self.vendor,
            "task_id": self.task_id,
            "model": self.order.model,
            "state": self.state(now),
            "fraction": self.fraction(now),
            "created": self.created,
            "finishes": None if self.script.stuck else self.finishes,
            "polls": self.polls,
        }


@dataclass(frozen=True)
class Report:
    """What one look at a job shows, before a vendor puts it into its own words."""

    state: str
    fraction: float
    progress: int
    word: str | None
    urls: tuple[str, ...]
    thumbnail: str | None
    urls_expire: float
    created: float
    finished: float
    fail_code: str
    fail_message: str
    error_in_url: bool


class JobBook:
    """All jobs, and which of them ends next."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._ends: list[tuple[float, str]] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._jobs

    def get(self, task_id: str) -> Job | None:
        """Find a job.

        :param task_id: the vendor's id.
        """
        return self._jobs.get(task_id)

    def add(self, job: Job) -> None:
        """Take a job in, or take note that its end has moved.

        :param job: the job.
        """
        self._jobs[job.task_id] = job
        heapq.heappush(self._ends, (job.finishes, job.task_id))

    def unfinished(self, vendor: str, owner: str) -> list[Job]:
        """Give the jobs that count against the limit of concurrent jobs.

        :param vendor: at which vendor.
        :param owner: fingerprint of the key.
        """
        return [job for job in self if not job.closed and job.vendor == vendor and job.owner == owner]

    def pop_ended(self, now: float) -> list[Job]:
        """Give the jobs that have ended since the last call, each once.

        :param now: virtual time.
        """
        ended = []
        while self._ends and self._ends[0][0] <= now:
            _, task_id = heapq.heappop(self._ends)
            job = self._jobs[task_id]
            if not job.closed and job.finishes <= now:
                job.closed = True
                ended.append(job)
        return ended
