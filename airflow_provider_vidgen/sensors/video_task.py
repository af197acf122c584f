# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor that waits for a job submitted elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from airflow_provider_vidgen import clock
from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.errors import (
    ContentRejected,
    DeadlineExceeded,
    FundsExhausted,
    GenerationFailed,
    InputRejected,
    InvalidRequest,
    JobConnectionMismatch,
    JobLost,
    JobNotFound,
    Problem,
    StatusUnavailable,
    VidgenError,
    generation_failed,
)
from airflow_provider_vidgen.links.video_links import VendorConsoleLink, VideosLink, keep_link_targets
from airflow_provider_vidgen.mapped_instances import NamesMappedInstances
from airflow_provider_vidgen.models import JobStatus, VideoJob
from airflow_provider_vidgen.polling import NOT_FOUND_CHECKS, NOT_FOUND_GRACE
from airflow_provider_vidgen.xcom import build_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.job_wait import JobWait
    from airflow_provider_vidgen.video_report import VideoReport

_log = logging.getLogger(__name__)

#: The key in the task state store under which "no such job" replies are counted.
_NOT_FOUND_KEY = "vidgen_not_found"
#: Errors that end a sensor for good: the job has ended, or the sensor's timeout has passed.
_EXCEPTIONS: dict[type[VidgenError], type[AirflowException]] = {
    DeadlineExceeded: AirflowSensorTimeout,
    GenerationFailed: AirflowFailException,
}
_NEXT_STEPS: dict[type[VidgenError], str] = {
    DeadlineExceeded: "The job continues without this sensor: clear it to wait for the same job again.",
    JobConnectionMismatch: "Correct the sensor's connection or its job_id; clearing it checks again.",
    JobLost: (
        "Check the job's id, the connection and the model. This sensor submits nothing: "
        "clearing it checks the same id again."
    ),
    GenerationFailed: "This sensor submits nothing: submit a new job where this one was submitted.",
    ContentRejected: (
        "The same content would be rejected again. This sensor submits nothing: "
        "submit a job with other content where this one was submitted."
    ),
    InputRejected: (
        "The same inputs would fail again. This sensor submits nothing: "
        "submit a job with other inputs where this one was submitted."
    ),
    FundsExhausted: (
        "Top up the account at the vendor. This sensor submits nothing: "
        "submit a new job where this one was submitted."
    ),
}


class VideoTaskSensor(NamesMappedInstances, BaseSensorOperator):
    """
    Wait for a job that was submitted elsewhere: by another Dag, a script, or in the vendor's console.

    It never submits. XCom is that of :class:`.VideoGenerationOperator`: ``return_value``, ``result_urls``,
    ``task_id``, and ``progress`` while deferred. A job that ended without a video fails the sensor for good,
    and so does one that the vendor has not known three times in more than a minute.

    :param job_id: the vendor's id of the job. (templated)
    :param model: the model of the job; Apixo's status request needs it. ``None`` takes the connection's.
        (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``. (templated)
    :param deferrable: wait on the triggerer; default from ``[operators] default_deferrable``.
    :param poll_interval: seconds between checks while deferred; ``None`` takes the vendor's schedule. A
        sensor that is not deferrable checks every ``poke_interval`` seconds, as all sensors do.
    """

    template_fields: Sequence[str] = ("job_id", "model", "vidgen_conn_id")
    ui_color = "#e0ebf7"
    operator_extra_links = (VideosLink(), VendorConsoleLink())

    def __init__(
        self,
        *,
        job_id: str,
        model: str | None = None,
        vidgen_conn_id: str = "vidgen_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.model = model
        self.vidgen_conn_id = vidgen_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> Any:
        """Run Airflow's own sensor loop, which a deferrable sensor leaves at its first poke."""
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            _log_skip(skip)
            raise

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """
        Check the job once; a failed check is not a failed job.

        A deferrable sensor defers from here, so that Airflow's own handling of errors (``soft_fail``,
        ``never_fail``, ``silent_fail``) applies to both modes.

        :raises AirflowFailException: the job failed, is lost, or the API key is refused.
        :raises AirflowException: another try may succeed.
        """
        report = self._report(context)
        with self._airflow_errors(), report.errors():
            wait = self._wait(context)
            report.set_job(wait.job, wait.submitted_at)
            # The trigger counts "no such job" replies itself.
            counter = None if self.deferrable else _NotFoundCounter(context)
            status = self._check(wait.job, counter)
            if status is not None and (status.has_video or status.failure):
                result = self._finish(context, wait.job, status)
                report.finished(result, status)
                return PokeReturnValue(is_done=True, xcom_value=result)
            report.rendering()
            if self.deferrable:
                context["ti"].xcom_push(key="task_id", value=wait.job.task_id)
                wait.defer(self)
            if status is not None:
                _log.info("%s is %s (%s)", wait.job, status.state, status.raw_state)
            return False

    def execute_complete(
        self,
        context: Context,
        event: Any,
        job: Mapping[str, str] | None = None,
        submitted_at: str = "",
        deadline: str = "",
    ) -> dict[str, Any]:
        """
        Continue after the trigger's event.

        :param job: with ``submitted_at`` and ``deadline`` (ISO 8601, UTC), the arguments of the deferral.
            ``dag.test()`` passes only the event; then the sensor's own arguments are used.
        """
        # Lazy, as in _wait.
        from airflow_provider_vidgen.job_wait import JobWait

        report = self._report(context)
        with self._airflow_errors(), report.errors():
            if job is None:
                wait = self._wait(context)
            else:
                hook = self._hook
                keep_link_targets(self, hook.settings.vendor)
                options: dict[str, Any] = {"poll_interval": self.poll_interval, "cancel_on_kill": False}
                wait = JobWait.resumed(hook, job, submitted_at, deadline, **options)
            report.set_job(wait.job, wait.submitted_at)
            status = wait.after_event(event)
            if status is None:
                wait.defer(self)
            result = self._finish(context, wait.job, status)
            report.finished(result, status)
            return result

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral, with the same handling of skips and timeouts as a poke."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skip:
            _log_skip(skip)
            raise
        except AirflowTaskTimeout:
            # Airflow's own sensors skip on this timeout when they poke, but not when they resume.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException("Skipping as the task has timed out.") from None
            raise

    def on_kill(self) -> None:
        """Log that the job, which was submitted elsewhere, is not cancelled."""
        self.log.warning(
            "The sensor was killed. The job continues at the vendor. A clear of the sensor checks it again."
        )

    def _check(self, job: VideoJob, counter: _NotFoundCounter | None) -> JobStatus | None:
        """
        Check the job once.

        :param counter: counts "no such job" replies over the pokes, each of which may be a process of its
            own.
        :return: ``None`` if the check failed.
        :raises JobLost: the vendor has not known the job for a while.
        """
        try:
            status = self._hook.get_status(job)
        except (JobNotFound, StatusUnavailable) as error:
            # Without the vendor's message, which may repeat the prompt.
            _log.warning("%s: %s", job, error.summary)
            if counter and isinstance(error, JobNotFound) and counter.is_exhausted():
                raise JobLost(
                    "The vendor does not know the job", job=job, vendor_code=error.vendor_code
                ) from None
            return None
        if counter:
            counter.reset()
        return status

    def _finish(self, context: Context, job: VideoJob, status: JobStatus) -> dict[str, Any]:
        """
        Hand over the result.

        :raises GenerationFailed: the vendor ended the job without a video.
        """
        if status.failure is not None:
            raise generation_failed(status.failure, job=job)
        context["ti"].xcom_push(key="task_id", value=job.task_id)
        context["ti"].xcom_push(key="result_urls", value=list(status.result_urls))
        return build_result(job, status)

    def _wait(self, context: Context) -> JobWait:
        # Lazy: job_wait imports the trigger, which parsing a Dag does not need.
        from airflow_provider_vidgen.job_wait import JobWait

        started = _start_of_try(context)
        hook = self._hook
        keep_link_targets(self, hook.settings.vendor)
        return JobWait(
            hook,
            self._job(hook),
            submitted_at=started,
            deadline=started + timedelta(seconds=self.timeout),
            poll_interval=self.poll_interval,
            # The job was submitted elsewhere.
            cancel_on_kill=False,
        )

    def _report(self, context: Context) -> VideoReport:
        # Lazy, as in _wait: it imports the vendors.
        from airflow_provider_vidgen.video_report import VideoReport

        return VideoReport(context["ti"], {"model": self.model})

    @property
    def _hook(self) -> VideoGenHook:
        # Lazy: the hook imports the vendors and the client, which parsing a Dag does not need.
        from airflow_provider_vidgen.hooks.video_gen import VideoGenHook

        return VideoGenHook(self.vidgen_conn_id)

    def _job(self, hook: VideoGenHook) -> VideoJob:
        settings = hook.settings
        model = self.model or settings.model or next(iter(settings.vendor.models), "")
        if not isinstance(self.job_id, str) or not self.job_id.strip():
            problem = Problem(
                field="job_id", value=repr(self.job_id), constraint="must be the vendor's job id"
            )
            raise InvalidRequest("The sensor has no job to wait for", [problem])
        return VideoJob(
            vendor=settings.vendor.name, base_url=settings.base_url, model=model, task_id=self.job_id.strip()
        )

    def _airflow_errors(self) -> as_airflow_errors:
        return as_airflow_errors(operator=self, exceptions=_EXCEPTIONS, next_steps=_NEXT_STEPS)


class _NotFoundCounter:
    """
    Counts "no such job" replies in a row, with the same limits as :class:`.JobPoller`.

    The count is kept in the task state store. If that fails nothing is counted, and the sensor's ``timeout``
    ends the wait.

    :param context: the task's.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._try_number = context["ti"].try_number

    def is_exhausted(self) -> bool:
        """Count one reply, and return whether the job counts as lost."""
        now = clock.utcnow()
        try:
            store: Any = self._context["task_state_store"]
            count = store.get(_NOT_FOUND_KEY)
            if not count or count["try_number"] != self._try_number:
                count = {"try_number": self._try_number, "first_at": now.isoformat(), "answers": 0}
            count["answers"] += 1
            store.set(_NOT_FOUND_KEY, count)
            long_enough = now >= clock.from_iso(count["first_at"]) + NOT_FOUND_GRACE
            return bool(count["answers"] >= NOT_FOUND_CHECKS and long_enough)
        except Exception as error:
            _log.warning("The 'no such job' reply could not be counted (%s)", type(error).__name__)
            return False

    def reset(self) -> None:
        """Start again: the vendor knows the job."""
        try:
            store: Any = self._context["task_state_store"]
            if store.get(_NOT_FOUND_KEY):
                store.delete(_NOT_FOUND_KEY)
        except Exception as error:
            _log.warning("The count of 'no such job' replies could not be reset (%s)", type(error).__name__)


def _log_skip(skip: AirflowSkipException) -> None:
    """Log the error that the sensor skips on, which Airflow's own log leaves out."""
    if skip.__cause__ is not None:
        _log.warning("Skipped instead of failing: %s", skip.__cause__)


def _start_of_try(context: Context) -> datetime:
    """Return when this try began, from which the sensor's deadline is counted."""
    started = context["ti"].start_date
    assert started is not None  # a running task has a start date
    return started
