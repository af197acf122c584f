# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What the Videos tab shows of one task: the XCom ``video``, and the XCom ``progress``. No I/O.

A worker sets ``video`` when it starts to wait for capacity, when the job is submitted, and when its try ends.
A trigger sets ``progress`` while the job renders. Both are for display only; the ledger decides about money.
Airflow deletes XComs when a new try starts, so both describe the newest try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

#: The keys of the XComs.
VIDEO_KEY = "video"
PROGRESS_KEY = "progress"
VERSION = 1


class VideoState(StrEnum):
    """
    What a task last said about its video.

    ``made``: the vendor has the video and no file was asked for; ``landed``: its file is in storage;
    ``unknown``: the outcome of the paid call; ``lost``: the vendor no longer has the job or its links.
    """

    WAITING = "waiting"
    RENDERING = "rendering"
    MADE = "made"
    LANDED = "landed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class VideoStatus:
    """
    The XCom ``video``; times are ISO 8601, UTC, and empty text means that a value is not known.

    :param since: when ``state`` began.
    :param duration: seconds as requested.
    :param vendor_name: the vendor's name as people write it.
    :param submitted_at: when the vendor accepted the job.
    :param finished_at: when the vendor ended the job.
    :param ahead: number of instances of a mapped task that have to end first, while it waits for capacity.
    :param limit: number of jobs that the account runs at a time, while it waits for capacity.
    :param reason: why it waits for capacity.
    :param next_check_at: when the waiting task checks again.
    :param cost: ``amount``, ``currency`` and ``basis``, as in the result; an estimate has ``as_of``, the date
        of the price.
    :param result_urls: the vendor's links.
    :param expires_at: when the links expire.
    :param expires_basis: ``reported``, ``documented`` or ``unknown``.
    :param duration_seconds: length of the video.
    :param files: manifests of the landed files: path, bytes, content_type, poster.
    :param error: class name of the error that ended the try, see :mod:`.errors`.
    :param summary: of a failure, in one sentence.
    :param billing: what a failure means for the money, in one sentence.
    :param next_step: what to do about a failure.
    :param code: the vendor's code of the failure.
    :param console_url: where the vendor's console lists the jobs, where that is documented.
    """

    state: VideoState
    since: str
    prompt: str = ""
    vendor: str = ""
    vendor_name: str = ""
    model: str = ""
    duration: float | None = None
    aspect_ratio: str = ""
    resolution: str = ""
    job_id: str = ""
    submitted_at: str = ""
    finished_at: str = ""
    ahead: int | None = None
    limit: int | None = None
    reason: str = ""
    next_check_at: str = ""
    cost: Mapping[str, Any] | None = None
    result_urls: tuple[str, ...] = ()
    expires_at: str = ""
    expires_basis: str = ""
    duration_seconds: float | None = None
    files: tuple[Mapping[str, Any], ...] = ()
    error: str = ""
    summary: str = ""
    billing: str = ""
    next_step: str = ""
    code: str = ""
    console_url: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the value of the XCom: JSON values, without those that are not known."""
        values = {name: value for name, value in asdict(self).items() if value not in ("", None, ())}
        for name in ("result_urls", "files"):
            if name in values:
                values[name] = list(values[name])
        return {"v": VERSION, **values, "state": str(self.state)}

    @classmethod
    def from_json(cls, value: Any) -> VideoStatus | None:
        """
        Parse the value of the XCom; ``None`` if it is not one of this version.

        Anybody who may edit XComs can change it, so a field of another type is dropped.
        """
        if not isinstance(value, Mapping) or value.get("v") != VERSION:
            return None
        try:
            known: dict[str, Any] = {"state": VideoState(value["state"])}
        except (KeyError, TypeError, ValueError):
            return None
        for field in fields(cls):
            item = value.get(field.name)
            if field.name == "state" or not _IS_VALID[str(field.type)](item):
                continue
            known[field.name] = tuple(item) if isinstance(item, list) else item
        return cls(**{"since": "", **known})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


#: By the annotation of the field.
_IS_VALID: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "float | None": _is_number,
    "int | None": lambda value: type(value) is int,
    "Mapping[str, Any] | None": lambda value: isinstance(value, Mapping),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "tuple[Mapping[str, Any], ...]": lambda value: (
        isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
    ),
}
