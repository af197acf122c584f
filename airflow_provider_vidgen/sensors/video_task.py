# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The sensor that waits for a job submitted elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_vidgen.operators.failing import airflow_errors
from airflow_provider_vidgen.operators.waiting import WaitsForJob

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.models import JobStatus, VideoJob


class VideoTaskSensor(WaitsForJob, BaseSensorOperator):
    """
    Wait for a job that something else submitted: another Dag, a script, a person in the vendor's console.

    It never submits. XCom is what :class:`.VideoGenerationOperator` gives: ``return_value``, ``result_urls``,
    ``task_id``, and ``progress`` while deferred.

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
        """
        Wait for the job.

        :raises AirflowFailException: the job is lost, its content was rejected, or the key is refused.
        :raises AirflowException: the job failed, or another try may help.
        """
        if not self.deferrable:
            return super().execute(context)
        with airflow_errors():
            hook = self.hook
            job = self._job(hook)
            context["ti"].xcom_push(key="task_id", value=job.task_id)
            status = self.look(hook, job)
            if status is not None and (status.has_video or status.failure):
                return self.settle(context, hook, job, status)
            started = _started(context)
            self.wait_deferred(job, submitted_at=started, deadline=started + timedelta(seconds=self.timeout))

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look at the job once; a failed check is not a failed job."""
        with airflow_errors():
            hook = self.hook
            job = self._job(hook)
            status = self.look(hook, job)
            if status is None:
                return False
            if status.has_video or status.failure:
                return PokeReturnValue(is_done=True, xcom_value=self.settle(context, hook, job, status))
            self.log.info("%s is %s (%s)", job, status.state, status.raw_state)
            return False

    def finish(
        self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus
    ) -> dict[str, Any]:
        """Hand on the result."""
        from airflow_provider_vidgen.results import build_result

        context["ti"].xcom_push(key="task_id", value=job.task_id)
        context["ti"].xcom_push(key="result_urls", value=list(status.result_urls))
        return build_result(job, status)

    def resume_point(self, context: Context) -> tuple[VideoJob, datetime, datetime]:
        """Return the job to wait for, from the sensor's own arguments."""
        started = _started(context)
        return self._job(self.hook), started, started + timedelta(seconds=self.timeout)

    def _job(self, hook: VideoGenHook) -> VideoJob:
        from airflow_provider_vidgen.errors import InvalidRequest, Problem
        from airflow_provider_vidgen.models import VideoJob

        settings = hook.settings
        model = self.model or settings.model or next(iter(settings.vendor.models))
        if not isinstance(self.job_id, str) or not self.job_id.strip():
            problem = Problem(field="job_id", value=repr(self.job_id), allowed="must be the vendor's job id")
            raise InvalidRequest("The sensor has nothing to wait for", [problem])
        return VideoJob(
            vendor=settings.vendor.name, base_url=settings.base_url, model=model, task_id=self.job_id.strip()
        )


def _started(context: Context) -> datetime:
    """Return when this try began: the deadline of a sensor counts from there."""
    started = context["ti"].start_date
    assert started is not None  # a running task has begun
    return started
