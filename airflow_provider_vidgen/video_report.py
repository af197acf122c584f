# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Report the state of a task's video to the Videos tab, as the XCom ``video``.

Nothing depends on it: if it cannot be set, that is logged, and the task goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow_provider_vidgen import clock
from airflow_provider_vidgen.capacity import WaitingForCapacity
from airflow_provider_vidgen.errors import (
    JobLost,
    ResultExpired,
    SubmitOutcomeUnknown,
    TaskRef,
    VidgenError,
)
from airflow_provider_vidgen.models import Cost, JobStatus, VideoJob
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.video_status import VIDEO_KEY, VideoState, VideoStatus

_log = logging.getLogger(__name__)

#: Characters of a text that are kept.
_MAX_TEXT = 5000
_FILE_FIELDS = ("path", "bytes", "content_type", "poster")
_STATES: dict[type[VidgenError], VideoState] = {
    SubmitOutcomeUnknown: VideoState.UNKNOWN,
    JobLost: VideoState.LOST,
    ResultExpired: VideoState.LOST,
}


class VideoReport:
    """
    The reports of one try.

    :param ti: the task instance.
    :param request: the requested values by field of :class:`.VideoStatus`; others than text and numbers are
        left out, as a task may have been given any value.
    """

    def __init__(self, ti: Any, request: Mapping[str, Any]) -> None:
        self._ti = ti
        self._values: dict[str, Any] = {
            name: _number(value) if name == "duration" else _text(value) for name, value in request.items()
        }

    def set_vendor(self, vendor: Vendor, estimate: Cost | None) -> None:
        """
        Add the vendor, once the connection has been read.

        :param estimate: the cost of the request by the vendor's documented prices.
        """
        self._values |= {
            "vendor": vendor.name,
            "vendor_name": vendor.label,
            "console_url": vendor.console_url,
            "cost": estimate and estimate.to_dict(),
        }

    def set_job(self, job: VideoJob, submitted_at: datetime) -> None:
        """Add the job, once there is one."""
        self._values |= {"vendor": job.vendor, "model": job.model, "job_id": job.task_id}
        self._values["submitted_at"] = submitted_at.isoformat()

    def rendering(self) -> None:
        """Report that the job runs."""
        self._push(VideoState.RENDERING, since=self._values["submitted_at"])

    def finished(self, result: Mapping[str, Any], status: JobStatus | None = None) -> None:
        """
        Report the result.

        :param result: see :func:`.build_result`.
        :param status: the job's last status.
        """
        now = clock.utcnow().isoformat()
        files = _displayed(result["files"])
        finished_at = result.get("completed_at") or ""
        self._push(
            VideoState.LANDED if files else VideoState.MADE,
            since=finished_at or now,
            finished_at=finished_at,
            job_id=result["task_id"],
            cost=result.get("cost"),
            result_urls=tuple(result.get("result_urls") or ()),
            expires_at=result.get("expires_at") or "",
            expires_basis=status.expires_basis if status is not None else "",
            duration_seconds=result.get("duration_seconds"),
            files=files,
        )

    def downloaded(self, files: Sequence[Mapping[str, Any]], video: Mapping[str, Any] | None) -> None:
        """
        Report files that a task of its own has landed.

        :param files: manifests, see :mod:`.landing`.
        :param video: the result of the generation, if it was given; the task may have been given any values.
        """
        texts = {name: _text((video or {}).get(name)) for name in ("vendor", "model")}
        self._push(
            VideoState.LANDED,
            since=clock.utcnow().isoformat(),
            job_id=_text((video or {}).get("task_id")),
            duration_seconds=_number((video or {}).get("duration_seconds")),
            files=_displayed(files),
            **texts,
        )

    @contextmanager
    def errors(self, task: TaskRef | None = None) -> Iterator[None]:
        """
        Report an error that ends the try, or the wait for capacity, and raise it again.

        :param task: fills in the commands of the next step.
        """
        try:
            yield
        except WaitingForCapacity as wait:
            self._waiting(wait)
            raise
        except VidgenError as error:
            self._failed(error, task)
            raise

    def _waiting(self, wait: WaitingForCapacity) -> None:
        self._push(
            VideoState.WAITING,
            since=wait.queued_at,
            ahead=wait.ahead,
            limit=wait.limit,
            reason=wait.reason,
            next_check_at=wait.reschedule_date.isoformat(),
        )

    def _failed(self, error: VidgenError, task: TaskRef | None) -> None:
        job = {"job_id": error.job.task_id} if error.job is not None and error.job.task_id else {}
        self._push(
            next((state for kind, state in _STATES.items() if isinstance(error, kind)), VideoState.FAILED),
            since=clock.utcnow().isoformat(),
            error=type(error).__name__,
            summary=_text(error.full_summary),
            billing=str(error.billing),
            next_step=error.next_step_for(task),
            code=_text(error.vendor_code),
            **job,
        )

    def _push(self, state: VideoState, **values: Any) -> None:
        try:
            status = VideoStatus(state=state, **{**self._values, **values})
            self._ti.xcom_push(key=VIDEO_KEY, value=status.to_json())
        except Exception as error:
            _log.warning(
                "The Videos tab cannot show that the video is %s (%s); nothing else is affected",
                state,
                type(error).__name__,
            )


def _displayed(files: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({name: file[name] for name in _FILE_FIELDS if file.get(name) is not None} for file in files)


def _text(value: Any) -> str:
    return str(value)[:_MAX_TEXT] if isinstance(value, str | int | float) else ""


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
