# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is asked and what comes back, in one vocabulary for every vendor. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

#: Digits of ASCII, and no more of them than any video has seconds.
_WHOLE = re.compile(r"[0-9]{1,6}")


class JobState(StrEnum):
    """Where a job stands at its vendor."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the vendor will not change this state any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """
    One video as the user asked for it, before any vendor's dialect.

    Fields hold what the user wrote: a vendor's ``problems`` judges types and ranges. The one exception is a
    ``duration`` in text, as files and templates give it: a whole number is taken for what it says.

    :param prompt: what the video shows.
    :param model: the vendor's model id.
    :param duration: length in whole seconds, also as text; ``None`` leaves it to the vendor.
    :param aspect_ratio: ``"16:9"``, the same spelling for every vendor.
    :param resolution: ``"480p"``, ``"720p"`` or ``"1080p"``, the same spelling for every vendor.
    :param image_urls: reference images in order, each an https URL or a full data URL.
    :param continue_from: ``{"task_id": str, "index": int}``, an image job to start from.
    :param style: the vendor's name of a style.
    :param routing: the vendor's name of a routing strategy.
    :param callback_url: where the vendor is to report the end of the job.
    :param extra: the vendor's own fields, passed untouched.
    """

    prompt: Any = field(repr=False)
    model: Any = None
    duration: Any = None
    aspect_ratio: Any = None
    resolution: Any = None
    image_urls: Any = field(default=None, repr=False)
    continue_from: Any = None
    style: Any = None
    routing: Any = None
    callback_url: Any = field(default=None, repr=False)
    extra: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.duration, str) and _WHOLE.fullmatch(self.duration.strip()):
            object.__setattr__(self, "duration", int(self.duration))


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """
    The handle of a job: all that is needed to ask about it again, and nothing secret.

    The model belongs to it because one vendor (Apixo) has it in the path of the status call.
    """

    vendor: str
    base_url: str
    model: str
    task_id: str

    def to_dict(self) -> dict[str, str]:
        """Return the handle as JSON values, the form that trigger kwargs and the ledger keep."""
        return {
            "vendor": self.vendor,
            "base_url": self.base_url,
            "model": self.model,
            "task_id": self.task_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VideoJob:
        """Read back what :meth:`to_dict` wrote; unknown keys of later versions are left aside."""
        return cls(**{name: str(data[name]) for name in ("vendor", "base_url", "model", "task_id")})

    def __str__(self) -> str:
        return f"{self.vendor} job {self.task_id}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """
    What a job cost.

    :param amount: in ``currency``.
    :param currency: an ISO code, or ``"credits"``.
    :param basis: ``reported`` by the vendor with the job, or ``estimated`` from its price list.
    """

    amount: float
    currency: str
    basis: Literal["reported", "estimated"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """
    Why a job ended without a video.

    :param category: our word for it, see :class:`FailureCategory`.
    :param code: the vendor's own code, empty where it gave none.
    :param message: the vendor's own words, empty where it gave none.
    """

    category: FailureCategory
    code: str = ""
    message: str = ""


class FailureCategory(StrEnum):
    """Why a job failed, as far as the vendor's words tell."""

    CONTENT_POLICY = "content_policy"
    INVALID_INPUT = "invalid_input"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    VENDOR_TIMEOUT = "vendor_timeout"
    CAPACITY = "capacity"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """
    One look at a job.

    :param state: our word for the state.
    :param raw_state: the vendor's word.
    :param state_is_known: whether the vendor's word is known; an unknown one counts as running.
    :param progress: percent from 0 to 100, or ``None``; decoration, never proof of anything.
    :param result_urls: usable links, in order; only ever filled on success.
    :param expires_at: when the links die, UTC.
    :param expires_basis: ``reported`` with the job, ``documented`` by the vendor, or ``unknown``.
    :param created_at: when the vendor took the job, UTC.
    :param completed_at: when the job ended, UTC.
    :param duration_seconds: length of the video, where the vendor tells.
    """

    state: JobState
    raw_state: str
    state_is_known: bool = True
    progress: float | None = None
    result_urls: tuple[str, ...] = field(default=(), repr=False)
    thumbnail_url: str | None = field(default=None, repr=False)
    created_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    expires_basis: Literal["reported", "documented", "unknown"] = "unknown"
    duration_seconds: float | None = None
    cost: Cost | None = None
    failure: Failure | None = field(default=None, repr=False)

    @property
    def has_video(self) -> bool:
        """Whether the job succeeded and left a usable link: the vendor's word alone is not enough."""
        return self.state is JobState.SUCCEEDED and bool(self.result_urls)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """
    What an accepted submission brought.

    :param job: the handle. A synchronous endpoint that names no id has an empty ``task_id``.
    :param status: the state at acceptance; for a synchronous endpoint the finished result.
    """

    job: VideoJob
    status: JobStatus
