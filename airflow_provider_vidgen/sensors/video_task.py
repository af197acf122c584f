# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor that waits for a job submitted elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
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

from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.errors import (
    ContentRejected,
    DeadlineExceeded,
    FundsExhausted,
    GenerationFailed,
    InputRejected,
    JobConnectionMismatch,
    JobLost,
    JobNotFound,
    StatusUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.operators.waiting import WaitsForJob
from airflow_provider_vidgen.polling import NOT_FOUND_CHECKS, NOT_FOUND_GRACE

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.models import JobStatus, VideoJob

#: Where the task state store holds how often the vendor has not known the job.
_UNKNOWN = "vidgen_unknown"
#: What fails here for good: nobody goes on waiting for a job that has ended, or past the end of the waiting.
_KINDS: dict[type[VidgenError], type[AirflowException]] = {
    DeadlineExceeded: AirflowSensorTimeout,
    GenerationFailed: AirflowFailException,
}
_NEXT_STEPS: dict[type[VidgenError], str] = {
    DeadlineExceeded: "The job goes on without this sensor: clear it to wait for the same job again.",
    JobConnectionMismatch: "Correct the sensor's connection or its job_id; clearing it asks again.",
    JobLost: (
        "Check the job's id, the connection and the model. This sensor submits nothing: "
        "clearing it asks about the same id again."
    ),
    GenerationFailed: "This sensor submits nothing: have the job submitted anew where it came from.",
    ContentRejected: (
        "The same content would be rejected again. This sensor submits nothing: "
        "have the job submitted with other content where it came from."
    ),
    InputRejected: (
        "The same inputs would fail again. This sensor submits nothing: "
        "have the job submitted with other inputs where it came from."
    ),
    FundsExhausted: (
        "Top up the account at the vendor. This sensor submits nothing: "
        "have the job submitted anew where it came from."
    ),
}


class VideoTaskSensor(WaitsForJob, BaseSensorOperator):
    """
    Wait for a job that something else submitted: another Dag, a script, a person in the vendor's console.

    It never submits. XCom is what :class:`.VideoGenerationOperator` gives: ``return_value``, ``result_urls``,
    ``task_id``, and ``progress`` while deferred. A job that ended without a video fails the sensor for good,
    and so does one that the vendor has not known three times in more than a minute.

    :param job_id: the vendor's id of the job. (templated)
    :param model: the model it was submitted with; Apixo cannot be asked without. ``None`` takes the
        connection's. (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``. (templated)
    :param deferrable: wait on the triggerer; default from ``[operators] default_deferrable``.
    :param poll_interval: seconds between checks while deferred; ``None`` follows the vendor's advice. Where
        it is not deferrable it checks every ``poke_interval`` seconds, as all sensors do.
    """

    template_fields: Sequence[str] = ("job_id", "model", "vidgen_conn_id")
    ui_color = "#e0ebf7"

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
        """Wait for the job: within Airflow's own loop, which a deferrable sensor leaves at its first poke."""
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            self._say_why(skip)
            raise

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """
        Look at the job; a failed check is not a failed job.

        A deferrable sensor leaves the worker from here, so that what Airflow's loop makes of errors
        (``soft_fail``, ``never_fail``, ``silent_fail``) holds for both.

        :raises AirflowFailException: the job failed, is lost, or the key is refused.
        :raises AirflowException: another try may help.
        """
        with self.as_airflow_errors():
            hook = self.hook
            job = self._job(hook)
            status = self._look(context, hook, job)
            if status is not None and (status.has_video or status.failure):
                return PokeReturnValue(is_done=True, xcom_value=self.settle(context, hook, job, status))
            if self.deferrable:
                context["ti"].xcom_push(key="task_id", value=job.task_id)
                started = _started(context)
                self.wait_deferred(
                    job, submitted_at=started, deadline=started + timedelta(seconds=self.timeout)
                )
            if status is not None:
                self.log.info("%s is %s (%s)", job, status.state, status.raw_state)
            return False

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, and skip the task for the same reasons as a poke does."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skip:
            self._say_why(skip)
            raise
        except AirflowTaskTimeout:
            # Airflow's own sensors skip for this one when they poke, and not when they resume.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException("Skipping as the task has timed out.") from None
            raise

    def as_airflow_errors(self) -> AbstractContextManager[None]:
        """Turn errors into Airflow's, in the words of one that submits nothing."""
        return as_airflow_errors(kinds=_KINDS, next_steps=_NEXT_STEPS)

    def finish(
        self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus
    ) -> dict[str, Any]:
        """Hand on the result."""
        from airflow_provider_vidgen.xcom import build_result

        context["ti"].xcom_push(key="task_id", value=job.task_id)
        context["ti"].xcom_push(key="result_urls", value=list(status.result_urls))
        return build_result(job, status)

    def resume_point(self, context: Context) -> tuple[VideoJob, datetime, datetime]:
        """Return the job to wait for, from the sensor's own arguments."""
        started = _started(context)
        return self._job(self.hook), started, started + timedelta(seconds=self.timeout)

    def _say_why(self, skip: AirflowSkipException) -> None:
        """Airflow's log of a skipped sensor does not tell what it would have failed with."""
        if skip.__cause__ is not None:
            self.log.warning("Skipped instead of failing: %s", skip.__cause__)

    def _look(self, context: Context, hook: VideoGenHook, job: VideoJob) -> JobStatus | None:
        """
        Ask about the job once.

        :return: ``None`` if the vendor cannot tell now.
        :raises JobLost: it has not known the job for a while. Of a deferred one, the trigger tells.
        """
        # While it pokes, each poke may be a process of its own.
        unknown = None if self.deferrable else _UnknownAnswers(context, self.log)
        try:
            status = hook.get_status(job)
        except (JobNotFound, StatusUnavailable) as error:
            # Without the vendor's words, which may repeat the prompt.
            self.log.warning("%s: %s", job, error.summary)
            if unknown and isinstance(error, JobNotFound) and unknown.one_more_is_too_many():
                raise JobLost(
                    "The vendor does not know the job", job=job, vendor_code=error.vendor_code
                ) from None
            return None
        if unknown:
            unknown.forget()
        return status

    def _job(self, hook: VideoGenHook) -> VideoJob:
        from airflow_provider_vidgen.errors import InvalidRequest, Problem
        from airflow_provider_vidgen.models import VideoJob

        settings = hook.settings
        model = self.model or settings.model or next(iter(settings.vendor.models))
        if not isinstance(self.job_id, str) or not self.job_id.strip():
            problem = Problem(
                field="job_id", value=repr(self.job_id), constraint="must be the vendor's job id"
            )
            raise InvalidRequest("The sensor has nothing to wait for", [problem])
        return VideoJob(
            vendor=settings.vendor.name, base_url=settings.base_url, model=model, task_id=self.job_id.strip()
        )


class _UnknownAnswers:
    """
    How often in a row the vendor has not known the job: as patient as :class:`.Watch`.

    Kept in the task state store. Where that fails nothing is counted, and the sensor's ``timeout`` ends it.

    :param context: the task's.
    :param log: the task's.
    """

    def __init__(self, context: Context, log: Any) -> None:
        self._context = context
        self._log = log

    def one_more_is_too_many(self) -> bool:
        """Count one more, and return whether the job counts as lost."""
        from airflow_provider_vidgen.clock import from_iso, utcnow

        now, this_try = utcnow(), self._context["ti"].try_number
        try:
            store: Any = self._context["task_state_store"]
            counted = store.get(_UNKNOWN)
            if not counted or counted["try"] != this_try:
                counted = {"try": this_try, "since": now.isoformat(), "answers": 0}
            counted["answers"] += 1
            store.set(_UNKNOWN, counted)
            long_enough = now >= from_iso(counted["since"]) + NOT_FOUND_GRACE
            return bool(counted["answers"] >= NOT_FOUND_CHECKS and long_enough)
        except Exception as error:
            self._log.warning("That the job is not known could not be counted (%s)", type(error).__name__)
            return False

    def forget(self) -> None:
        """Begin anew: the vendor knows the job."""
        try:
            store: Any = self._context["task_state_store"]
            if store.get(_UNKNOWN):
                store.delete(_UNKNOWN)
        except Exception as error:
            self._log.warning("That the job is known could not be noted (%s)", type(error).__name__)


def _started(context: Context) -> datetime:
    """Return when this try began: the deadline of a sensor counts from there."""
    started = context["ti"].start_date
    assert started is not None  # a running task has begun
    return started
