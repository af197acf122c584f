# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The XCom contract: the values that tasks push while a job runs and when it has finished. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_vidgen.models import Cost, JobStatus, VideoJob
from airflow_provider_vidgen.polling import Progress


def build_result(
    job: VideoJob,
    status: JobStatus,
    files: Sequence[Mapping[str, Any]] = (),
    *,
    estimate: Cost | None = None,
) -> dict[str, Any]:
    """
    Return the ``return_value`` of a finished generation: JSON values only, times as ISO 8601 in UTC.

    :param files: manifests of landed files, see :mod:`.landing`.
    :param estimate: the cost by documented prices, for a vendor that reports none.
    """
    cost = status.cost or estimate
    return {
        "vendor": job.vendor,
        "model": job.model,
        "task_id": job.task_id,
        "state": str(status.state),
        "result_urls": list(status.result_urls),
        "thumbnail_url": status.thumbnail_url,
        "duration_seconds": status.duration_seconds,
        "created_at": _iso(status.created_at),
        "completed_at": _iso(status.completed_at),
        "expires_at": _iso(status.expires_at),
        "cost": cost and cost.to_dict(),
        "files": [dict(file) for file in files],
    }


def build_progress(progress: Progress) -> dict[str, Any]:
    """
    Return the value of the XCom ``progress``, pushed while a job runs.

    ``state`` and ``percent``; while the vendor does not answer also ``not_answering_since`` and
    ``next_check_at``.
    """
    status = progress.status
    value = {
        "state": None if status is None else str(status.state),
        "percent": None if status is None else status.progress,
    }
    if progress.not_answering_since is not None:
        value["not_answering_since"] = _iso(progress.not_answering_since)
        value["next_check_at"] = _iso(progress.next_check_at)
    return value


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
