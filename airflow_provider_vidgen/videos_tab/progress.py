# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The XCom ``progress`` of a video: what its trigger last reported. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_vidgen.models import JobState
from airflow_provider_vidgen.videos_tab.wording import number, parse_time


@dataclass(frozen=True, kw_only=True)
class ReportedProgress:
    """
    What a trigger last reported.

    :param percent: 0 to 100; ``None`` if the vendor reports none.
    :param is_queued: the vendor has not started the job.
    :param has_ended: the vendor has ended the job, and the task is about to resume.
    :param not_answering_since: the vendor has not answered since then.
    :param next_check_at: when the trigger asks again; known while the vendor does not answer.
    """

    percent: float | None = None
    is_queued: bool = False
    has_ended: bool = False
    not_answering_since: datetime | None = None
    next_check_at: datetime | None = None

    @classmethod
    def from_json(cls, value: Any) -> ReportedProgress:
        """Parse the XCom, see :func:`.build_progress`; values of another type are dropped."""
        if not isinstance(value, Mapping):
            return cls()
        percent = number(value.get("percent"))
        state = value.get("state")
        return cls(
            percent=None if percent is None else min(percent, 100.0),
            is_queued=state == JobState.QUEUED,
            has_ended=state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED),
            not_answering_since=parse_time(value.get("not_answering_since")),
            next_check_at=parse_time(value.get("next_check_at")),
        )
