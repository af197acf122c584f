# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Requests, jobs and their states, in one vocabulary for all vendors. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

#: ASCII digits; six are more seconds than any video has.
_DIGITS = re.compile(r"[0-9]{1,6}")


class JobState(StrEnum):
    """State of a job at its vendor."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """
    The user's request for one video, independent of the vendor.

    Fields hold the values as the user wrote them; a vendor's ``problems`` validates types and ranges. Only
    ``duration`` is converted: text that is a whole number, as from files and templates, becomes an integer.

    :param prompt: description of the video.
    :param model: the vendor's model id.
    :param duration: length in whole seconds, also as text; ``None`` means the vendor's default.
    :param aspect_ratio: ``"16:9"``, the same spelling for every vendor.
    :param resolution: ``"480p"``, ``"720p"`` or ``"1080p"``, the same spelling for every vendor.
    :param image_urls: reference images in order, each an https URL or a full data URL.
    :param continue_from: ``{"task_id": str, "index": int}``, the image job to start from.
    :param style: the vendor's style id.
    :param routing: the vendor's routing strategy.
    :param callback_url: the webhook that the vendor calls when the job ends.
    :param extra: vendor-specific fields, passed unchanged.
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
        if isinstance(self.duration, str) and _DIGITS.fullmatch(self.duration.strip()):
            object.__setattr__(self, "duration", int(self.duration))


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """
    The handle of a job: everything needed to poll it, and nothing secret.

    It includes the model because one vendor (Apixo) has it in the path of the status endpoint.
    """

    vendor: str
    base_url: str
    model: str
    task_id: str

    def to_dict(self) -> dict[str, str]:
        """Return the handle as JSON values, as trigger kwargs and the ledger store it."""
        return {
            "vendor": self.vendor,
            "base_url": self.base_url,
            "model": self.model,
            "task_id": self.task_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VideoJob:
        """Parse the result of :meth:`to_dict`; unknown keys of later versions are ignored."""
        return cls(**{name: str(data[name]) for name in ("vendor", "base_url", "model", "task_id")})

    def __str__(self) -> str:
        return f"{self.vendor} job {self.task_id}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """
    The cost of a job.

    :param amount: in ``currency``.
    :param currency: an ISO code, or ``"credits"``.
    :param basis: ``reported`` by the vendor with the job, or ``estimated`` from its documented prices.
    :param as_of: date of the price, of an estimate.
    """

    amount: float
    currency: str
    basis: Literal["reported", "estimated"]
    as_of: date | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: ``amount``, ``currency``, ``basis``, and for an estimate ``as_of``."""
        values: dict[str, Any] = {"amount": self.amount, "currency": self.currency, "basis": self.basis}
        if self.as_of is not None:
            values["as_of"] = self.as_of.isoformat()
        return values


def format_amount(amount: float) -> str:
    """Return an amount with two to four decimals."""
    text = f"{amount:.4f}"
    return text[:-2] if text.endswith("00") else text.rstrip("0")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """
    Why a job ended without a video.

    :param category: the reason in the common vocabulary, see :class:`FailureCategory`.
    :param code: the vendor's error code, may be empty.
    :param message: the vendor's error message, may be empty.
    """

    category: FailureCategory
    code: str = ""
    message: str = ""


class FailureCategory(StrEnum):
    """Why a job failed, as far as the vendor's code and message show."""

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
    The result of one status check.

    :param state: the state in the common vocabulary.
    :param raw_state: the vendor's own state.
    :param state_is_known: whether the vendor's state is known; an unknown one counts as running.
    :param progress: percent from 0 to 100, or ``None``; for display only.
    :param result_urls: usable links, in order; only filled on success.
    :param expires_at: when the links expire, UTC.
    :param expires_basis: ``reported`` with the job, ``documented`` by the vendor, or ``unknown``.
    :param created_at: when the vendor accepted the job, UTC.
    :param completed_at: when the job ended, UTC.
    :param duration_seconds: length of the video, if the vendor reports it.
    :param failure: set if the job ended without a video.
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
        """Whether the job succeeded and has a usable link; the state alone is not enough."""
        return self.state is JobState.SUCCEEDED and bool(self.result_urls)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """
    The result of an accepted submission.

    :param job: the handle; ``task_id`` is empty if a synchronous endpoint returns no id.
    :param status: the status at acceptance; for a synchronous endpoint the finished result.
    """

    job: VideoJob
    status: JobStatus
