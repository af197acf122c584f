# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The metrics, and the functions that send them through Airflow's own: StatsD, Datadog or OpenTelemetry.

As Airflow does, each metric is sent with tags, and if ``[metrics] legacy_names_on`` is set a second time with
the values of the tags in its name, for a StatsD without tags. docs/metrics.md lists the names.

Metrics never disturb a task: an error is logged once, and then no more are sent by this process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException

from airflow_provider_vidgen import airflow_internals, clock
from airflow_provider_vidgen.errors import SubmitOutcomeUnknown, VidgenError
from airflow_provider_vidgen.models import Cost, JobStatus, VideoJob

_log = logging.getLogger(__name__)

_PREFIX = "vidgen"
#: Characters that no backend takes as a separator. Airflow drops tags with a comma or an equals sign.
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")
_MAX_VALUE = 64
_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """
    One metric.

    :param name: without prefix.
    :param kind: a timer is sent in milliseconds.
    :param tags: in the order of their values in the name with values.
    :param description: for the documentation.
    """

    name: str
    kind: Literal["counter", "timer"]
    tags: tuple[str, ...] = ("vendor", "model")
    description: str

    @property
    def full_name(self) -> str:
        """The name with the prefix."""
        return f"{_PREFIX}.{self.name}"

    def name_with_values(self, tags: Mapping[str, str]) -> str:
        """Return the name for a StatsD without tags; as Airflow's, with ``__`` for a dot in a value."""
        return ".".join([self.full_name, *(tags[tag].replace(".", "__") for tag in self.tags)])


SUBMITTED = Metric(
    name="submitted",
    kind="counter",
    description="Paid requests that the vendor accepted. A re-attach is not counted.",
)
UNKNOWN = Metric(
    name="unknown",
    kind="counter",
    description="Paid requests whose outcome is unknown: a job may exist and may be billed.",
)
SUCCEEDED = Metric(
    name="succeeded",
    kind="counter",
    description="Videos that a generation task delivered. One that is delivered again is not counted.",
)
FAILED = Metric(
    name="failed",
    kind="counter",
    tags=("vendor", "model", "reason"),
    description="Tries of generation tasks that ended with an error, by its class. A retry may still "
    "succeed. An unknown outcome is counted only as `vidgen.unknown`.",
)
CAPACITY_WAIT = Metric(
    name="capacity_wait",
    kind="timer",
    description="Each time that a task goes to wait for capacity: the time until it checks again. Seconds "
    "waited per second are the number of waiting tasks.",
)
FINISH_DURATION = Metric(
    name="finish_duration",
    kind="timer",
    description="From the submission of a delivered video to the end of its job, as the vendor reports it.",
)
NOTICE_DELAY = Metric(
    name="notice_delay",
    kind="timer",
    description="From the end of a job, as the vendor reports it, to the status check that finds its video.",
)
BYTES_LANDED = Metric(
    name="bytes_landed",
    kind="counter",
    description="Bytes written to storage. A file that exists already is not counted.",
)
RATE_LIMITED = Metric(
    name="rate_limited",
    kind="counter",
    tags=("vendor", "request"),
    description="Answers 429, by request: `submit`, `status` or `download`.",
)
COST_MICROS = Metric(
    name="cost_micros",
    kind="counter",
    tags=("vendor", "model", "currency", "basis"),
    description="Cost of delivered videos, in millionths of the currency: `reported` by the vendor, or "
    "`estimated`. Of a failed job only what the vendor reports.",
)
METRICS = (
    SUBMITTED,
    UNKNOWN,
    SUCCEEDED,
    FAILED,
    CAPACITY_WAIT,
    FINISH_DURATION,
    NOTICE_DELAY,
    BYTES_LANDED,
    RATE_LIMITED,
    COST_MICROS,
)

#: Set by the first error: a backend that fails may also block.
_stopped = False


def prepare() -> None:
    """Prepare the backend. In a triggerer, call it in a thread before the first metric is sent."""
    try:
        airflow_internals.prepare_metrics()
    except Exception as error:
        _stop(error)


def submitted(job: VideoJob) -> None:
    """Count an accepted job."""
    _count(SUBMITTED, 1, vendor=job.vendor, model=job.model)


def unknown(vendor: str, model: object) -> None:
    """Count a paid request whose outcome is unknown."""
    _count(UNKNOWN, 1, vendor=vendor, model=model)


def delivered(
    job: VideoJob, status: JobStatus, *, submitted_at: datetime, estimate: Cost | None = None
) -> None:
    """
    Count a video that is delivered for the first time, its cost, and the time it took.

    :param estimate: the cost by documented prices, for a vendor that reports none.
    """
    _count(SUCCEEDED, 1, vendor=job.vendor, model=job.model)
    cost(job, status.cost or estimate)
    if status.completed_at is not None:
        _time(FINISH_DURATION, status.completed_at - submitted_at, vendor=job.vendor, model=job.model)


def failed_job(job: VideoJob, status: JobStatus) -> None:
    """Count the cost of a job that ended without a video, if the vendor reports one."""
    if status.cost is not None and status.cost.basis == "reported":
        cost(job, status.cost)


def cost(job: VideoJob, amount: Cost | None) -> None:
    """Count the cost of a job, if it is known."""
    if amount is not None:
        micros = round(amount.amount * 1_000_000)
        tags = {"currency": amount.currency, "basis": amount.basis}
        _count(COST_MICROS, micros, vendor=job.vendor, model=job.model, **tags)


class TryMetrics:
    """
    The metrics of one try of a generation task that may not have a job yet.

    :param model: as requested; ``None`` takes the connection's.
    """

    def __init__(self, *, model: object) -> None:
        self._vendor = ""
        self._model = model

    def set_connection(self, vendor: str, model: object) -> None:
        """Set the vendor and the default model, once the connection has been read."""
        self._vendor, self._model = vendor, self._model or model

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Count an error that ends the try, or record a wait for capacity, and raise it again."""
        try:
            yield
        except AirflowRescheduleException as wait:
            _time(
                CAPACITY_WAIT, wait.reschedule_date - clock.utcnow(), vendor=self._vendor, model=self._model
            )
            raise
        except SubmitOutcomeUnknown:  # counted where the request was sent
            raise
        except VidgenError as error:
            reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
            self._failed(reason, error.job)
            raise
        except Exception as error:
            # Airflow's own exceptions end a try in other ways.
            if not isinstance(error, AirflowException):
                self._failed("unexpected_error", None)
            raise

    def _failed(self, reason: str, job: VideoJob | None) -> None:
        vendor, model = (job.vendor, job.model) if job else (self._vendor, self._model)
        _count(FAILED, 1, vendor=vendor, model=model, reason=reason)


def noticed(job: VideoJob, status: JobStatus, now: datetime) -> None:
    """Record the result of a status check, if it is the one that finds the video."""
    if status.has_video and status.completed_at is not None:
        _time(NOTICE_DELAY, now - status.completed_at, vendor=job.vendor, model=job.model)


def landed(vendor: str, job: VideoJob | None, size: int) -> None:
    """
    Count the bytes of a file.

    :param vendor: of the connection.
    :param job: ``None`` for a link without one.
    """
    _count(BYTES_LANDED, size, vendor=vendor, model=job and job.model)


def rate_limited(vendor: str, request: Literal["submit", "status", "download"]) -> None:
    """Count an answer 429."""
    _count(RATE_LIMITED, 1, vendor=vendor, request=request)


def _count(metric: Metric, amount: int, **tags: object) -> None:
    if not _stopped:
        try:
            backend, safe = airflow_internals.metrics_backend(), _safe(tags)
            if airflow_internals.exports_legacy_metrics():
                backend.incr(metric.name_with_values(safe), amount)
            backend.incr(metric.full_name, amount, tags=safe)
        except Exception as error:
            _stop(error)


def _time(metric: Metric, duration: timedelta, **tags: object) -> None:
    if not _stopped:
        try:
            backend, safe = airflow_internals.metrics_backend(), _safe(tags)
            # The vendor's clock may be ahead of ours.
            duration = timedelta(seconds=max(duration.total_seconds(), 0.0))
            if airflow_internals.exports_legacy_metrics():
                backend.timing(metric.name_with_values(safe), duration)
            backend.timing(metric.full_name, duration, tags=safe)
        except Exception as error:
            _stop(error)


def _safe(tags: Mapping[str, object]) -> dict[str, str]:
    """Return the tags with values that every backend takes."""
    return {name: _UNSAFE.sub("_", str(value or _UNKNOWN))[:_MAX_VALUE] for name, value in tags.items()}


def _stop(error: Exception) -> None:
    global _stopped
    _stopped = True
    _log.warning(
        "Metrics of videos cannot be sent (%s), and this process sends no more; tasks are not affected",
        type(error).__name__,
    )
