# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
One try of a :class:`.VideoGenerationOperator` on a worker, from the request to the result.

:meth:`Generation.run` starts a try, :meth:`Generation.complete` continues it after a deferral.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen import airflow_internals, clock, metrics
from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.capacity import CapacityQueue
from airflow_provider_vidgen.decision import Action
from airflow_provider_vidgen.errors import (
    InvalidConnection,
    InvalidRequest,
    JobLost,
    LedgerUnreadable,
    LinkUnavailable,
    NotAVideo,
    Problem,
    ResultExpired,
    ResultMissing,
    StorageUnreachable,
    SubmitError,
    TaskRef,
    generation_failed,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.job_wait import JobWait
from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.ledger import Ledger, Phase, Record
from airflow_provider_vidgen.links.video_links import keep_link_targets
from airflow_provider_vidgen.models import Cost, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.state_store import NonExpiringStateStore
from airflow_provider_vidgen.submission import ActiveJob, Submitter
from airflow_provider_vidgen.video_report import VideoReport
from airflow_provider_vidgen.xcom import build_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator

_log = logging.getLogger(__name__)

#: The fields of a landed file's manifest that the ledger keeps.
_RECORDED_FILE_FIELDS = ("path", "bytes", "sha256", "content_type", "poster")
#: The arguments that the Videos tab shows.
_REPORTED_ARGUMENTS = ("prompt", "model", "duration", "aspect_ratio", "resolution")


class Generation:
    """
    One try of a generation task.

    :param operator: the task's arguments, rendered.
    :param context: the task's.
    """

    def __init__(self, operator: VideoGenerationOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._ti: Any = context["ti"]
        self._task = TaskRef(
            dag_id=self._ti.dag_id,
            run_id=self._ti.run_id,
            task_id=self._ti.task_id,
            map_index=self._ti.map_index,
        )
        self._hook = VideoGenHook(operator.vidgen_conn_id)
        self._report = VideoReport(self._ti, {name: getattr(operator, name) for name in _REPORTED_ARGUMENTS})
        self._metrics = metrics.TryMetrics(model=operator.model)
        self._ledger = Ledger(
            NonExpiringStateStore(context["task_state_store"], self._ti.id),
            max_tries=airflow_internals.max_tries(context),
            now=clock.utcnow,
        )

    def run(self) -> dict[str, Any]:
        """
        Submit the job, or re-attach to the one an earlier try submitted, and wait for it.

        :return: the XCom result, see :func:`.build_result`.
        :raises TaskDeferred: the trigger waits for the job.
        :raises WaitingForCapacity: the vendor has no capacity.
        :raises AirflowException: see :class:`as_airflow_errors`.
        """
        with self._reported_errors():
            self._identify_vendor()
            request = self._validate()
            resolution = self._submitter.resolve(request)
            queue = self._capacity_queue()
            if resolution.action is Action.SUBMIT:
                self._check_environment()
                queue.wait_for_slot()
            try:
                job = self._submitter.perform(resolution, request)
            except SubmitError as error:
                queue.wait_after(error)
                raise
            self._report.set_job(job.job, job.submitted_at)
            self._ti.xcom_push(key="task_id", value=job.job.task_id)
            return self._deliver_or_wait(job)

    def complete(
        self, event: Any, job: Mapping[str, str] | None, submitted_at: str, deadline: str
    ) -> dict[str, Any]:
        """
        Continue after the trigger's event.

        :param job: with ``submitted_at`` and ``deadline`` (ISO 8601, UTC), the arguments of the deferral.
            ``dag.test()`` passes only the event; then they are read from the ledger.
        :return: the XCom result.
        :raises TaskDeferred: the job is still running.
        :raises AirflowException: see :class:`as_airflow_errors`.
        """
        with self._reported_errors():
            self._identify_vendor()
            if job is None:
                wait = self._wait_from_ledger()
            else:
                wait = JobWait.resumed(self._hook, job, submitted_at, deadline, **self._wait_options)
            self._report.set_job(wait.job, wait.submitted_at)
            with self._recording_lost_jobs():
                status = wait.after_event(event)
            if status is None:
                wait.defer(self._operator)
            return self._deliver(wait.job, status)

    def _identify_vendor(self) -> None:
        """Read the connection, and name its vendor, with its price, in reports, metrics and links."""
        settings = self._hook.settings
        self._report.set_vendor(settings.vendor, estimate=self._estimate())
        self._metrics.set_connection(settings.vendor.name, settings.model)
        keep_link_targets(self._operator, settings.vendor)

    # --- before the submission --------------------------------------------------------------------------

    def _validate(self) -> VideoRequest:
        """
        Build and validate the request, and log the warnings.

        :raises InvalidRequest: with all problems, including those of the environment and the target.
        """
        if self._operator.use_callback and not self._hook.settings.callback_base_url:
            constraint = "must be a URL that the vendor can reach"
            raise InvalidConnection(
                f"The connection {self._operator.vidgen_conn_id!r} cannot be used with use_callback",
                [Problem(field="callback_base_url", value="empty", constraint=constraint)],
            )
        request = self._request()
        try:
            for warning in self._hook.validate(request):
                _log.warning("%s", warning)
        except InvalidRequest as error:
            problems = list(error.problems)
            with suppress(StorageUnreachable):
                problems += self._environment_problems()
            raise InvalidRequest(error.summary, problems) from None
        return request

    def _request(self) -> VideoRequest:
        operator, settings = self._operator, self._hook.settings
        return VideoRequest(
            prompt=operator.prompt,
            model=operator.model or settings.model,
            duration=operator.duration,
            aspect_ratio=operator.aspect_ratio,
            resolution=operator.resolution,
            image_urls=operator.image_urls,
            continue_from=operator.continue_from,
            style=operator.style,
            routing=operator.routing,
            callback_url=settings.callback_base_url if operator.use_callback else None,
            extra=operator.extra,
        )

    def _check_environment(self) -> None:
        """
        Check before payment that the video can be requested, downloaded and stored from this worker.

        :raises InvalidRequest: with all problems.
        :raises StorageUnreachable: the target could not be checked.
        """
        if problems := self._environment_problems():
            raise InvalidRequest("The video could not be made or landed from this worker", problems)

    def _environment_problems(self) -> list[Problem]:
        """
        Return the problems of the network and of the target.

        :raises StorageUnreachable: the target could not be checked, and there is no other problem.
        """
        problems = self._hook.egress_problems()
        if self._operator.output_path is not None:
            unmapped = airflow_internals.unmapped_argument(self._context, "output_path")
            try:
                problems += self._landing.target_problems(self._operator.output_path, template=unmapped)
            except StorageUnreachable:
                if not problems:
                    raise
        return list(dict.fromkeys(problems))

    # --- waiting ----------------------------------------------------------------------------------------

    def _deliver_or_wait(self, job: ActiveJob) -> dict[str, Any]:
        if job.files and job.status is not None:
            return self._hand_over(job.job, job.status, job.files)
        wait = self._wait(job.job, job.submitted_at, job.deadline)
        status = job.status
        if status is None and self._operator.deferrable:
            status = wait.poll_once()
        if status is None or not (status.has_video or status.failure):
            self._report.rendering()
            if self._operator.deferrable:
                wait.defer(self._operator)
            with self._recording_lost_jobs():
                status = wait.until_ended(self._ti)
        return self._deliver(job.job, status)

    def _wait(self, job: VideoJob, submitted_at: datetime, deadline: datetime) -> JobWait:
        return JobWait(
            self._hook,
            job,
            submitted_at=submitted_at,
            deadline=deadline,
            **self._wait_options,
        )

    @property
    def _wait_options(self) -> dict[str, Any]:
        operator = self._operator
        return {"poll_interval": operator.poll_interval, "cancel_on_kill": operator.cancel_on_kill}

    def _wait_from_ledger(self) -> JobWait:
        record = self._ledger.read()
        if record is None or not record.task_id:
            raise LedgerUnreadable("The task was resumed, and its ledger has no job to wait for")
        submitted_at = clock.from_iso(record.submitted_at)
        return self._wait(record.job, submitted_at, submitted_at + timedelta(seconds=self._operator.timeout))

    @contextmanager
    def _recording_lost_jobs(self) -> Iterator[None]:
        """
        Record that a job or its result is lost; after that only a clear may submit.

        :raises AccountChanged: the vendor does not know the job, but the API key has changed since.
        :raises ResultExpired: there is no link, and the links have expired.
        """
        try:
            yield
        except JobLost as error:
            record = self._ledger.read()
            if record is not None:
                self._submitter.check_account(record, error)
            self._record(error.job, Phase.LOST)
            raise
        except ResultMissing as error:
            expires_at = _first_reported_expiry(self._ledger.read(), error.job, error.links_expire_at)
            if expires_at is None or clock.utcnow() < expires_at:
                self._record_expiry(error.job, expires_at)
                raise
            self._record(error.job, Phase.LOST)
            raise ResultExpired(
                f"The vendor gives no link, and the job's links expired at {_short(expires_at)}",
                job=error.job,
            ) from None

    # --- delivery ---------------------------------------------------------------------------------------

    def _deliver(self, job: VideoJob, status: JobStatus) -> dict[str, Any]:
        """
        Land the files of a finished job if ``output_path`` is set, and hand over the result.

        :raises GenerationFailed: the vendor ended the job without a video.
        """
        if status.failure is not None:
            self._record(job, Phase.FAILED)
            metrics.failed_job(job, status)
            raise generation_failed(status.failure, job=job)
        files = self._land(job, status, self._operator.output_path) if self._operator.output_path else []
        return self._hand_over(job, status, files)

    def _land(self, job: VideoJob, status: JobStatus, output_path: str) -> list[dict[str, Any]]:
        record = self._ledger.read()
        expires_at = _first_reported_expiry(record, job, status.expires_at)
        try:
            return self._landing.land(
                status.result_urls,
                output_path,
                job=job,
                map_index=self._ti.map_index,
                metadata=VideoMetadata(
                    request=self._request(),
                    result=build_result(job, status, estimate=self._estimate()),
                    fingerprint=record.fingerprint if record is not None else "",
                    secrets=(self._hook.settings.api_key,),
                ),
                # A synchronous endpoint may return no job id, so the job cannot be checked.
                refresh=(lambda: self._hook.get_status(job).result_urls) if job.task_id else None,
                expires_at=expires_at,
            )
        except (LinkUnavailable, NotAVideo):
            self._record_expiry(job, expires_at)
            raise
        except ResultExpired:
            # The video can no longer be downloaded; only a clear may pay for another one.
            self._record(job, Phase.LOST)
            raise

    def _hand_over(
        self, job: VideoJob, status: JobStatus, files: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Push the result to XCom, and record the delivery."""
        keep_link_targets(self._operator, self._hook.settings.vendor, files)
        self._ti.xcom_push(key="result_urls", value=list(status.result_urls))
        recorded = tuple(
            {name: file[name] for name in _RECORDED_FILE_FIELDS if name in file} for file in files
        )
        estimate = self._estimate()
        changes: dict[str, Any] = {"files": recorded}
        if status.expires_at is not None:
            changes["expires_at"] = status.expires_at.isoformat()
        try:
            before = self._record(job, Phase.DELIVERED, **changes)
            if before is not None and before.phase is not Phase.DELIVERED:
                submitted_at = clock.from_iso(before.submitted_at)
                metrics.delivered(job, status, submitted_at=submitted_at, estimate=estimate)
        except Exception as error:
            # The video exists. Without the record, a later clear checks this job and pays for no other.
            _log.warning(
                "The delivery could not be recorded (%s); a later clear checks %s again",
                type(error).__name__,
                job,
            )
        if airflow_internals.clears_state_on_success():
            _log.warning(
                "[state_store] clear_on_success deletes the record of this video once the task has "
                "succeeded; after that a clear of the task submits a new, paid job"
            )
        result = build_result(job, status, files, estimate=estimate)
        self._report.finished(result, status)
        return result

    def _estimate(self) -> Cost | None:
        return self._hook.estimate(self._request())

    # --- the ledger -------------------------------------------------------------------------------------

    def _record(self, job: VideoJob | None, phase: Phase, **changes: Any) -> Record | None:
        """Record a phase of the job, and return the record before; ``None`` if it is of another job."""
        record = self._ledger.read()
        if record is None or job is None or record.task_id != job.task_id:
            return None  # the ledger has moved on to another job
        if record.expires_at:  # where the vendor reports none, each check computes a later one
            changes.pop("expires_at", None)
        self._ledger.transition(record, phase, **changes)
        return record

    def _record_expiry(self, job: VideoJob | None, expires_at: datetime | None) -> None:
        """Keep the expiry time of the links, as first reported."""
        if expires_at is not None:
            self._record(job, Phase.SUBMITTED, expires_at=expires_at.isoformat())

    # --- collaborators ----------------------------------------------------------------------------------

    @contextmanager
    def _reported_errors(self) -> Iterator[None]:
        """Show in the Videos tab why the try ends without a video, and convert errors to Airflow's."""
        with (
            as_airflow_errors(operator=self._operator, task=self._task, prompt=self._operator.prompt),
            self._report.errors(self._task),
            self._metrics.errors(),
        ):
            yield

    def _capacity_queue(self) -> CapacityQueue:
        limit = self._hook.settings.concurrency_limit
        return CapacityQueue(self._context, limit=limit, timeout=self._operator.timeout)

    @property
    def _submitter(self) -> Submitter:
        return Submitter(
            self._hook.client,
            self._ledger,
            self._landing,
            task=self._task,
            timeout=self._operator.timeout,
            on_unknown=self._operator.on_unknown_submit,
            on_clear=self._operator.on_clear,
            now=clock.utcnow,
        )

    @property
    def _landing(self) -> Landing:
        operator = self._operator
        return Landing(
            self._hook.settings,
            sidecar=operator.sidecar,
            sidecar_prompt=operator.sidecar_prompt,
            verify=operator.verify,
            poster=operator.poster,
            upload_args=operator.upload_args,
        )


def _first_reported_expiry(
    record: Record | None, job: VideoJob | None, reported: datetime | None
) -> datetime | None:
    """Return when a job's links expire: as first recorded, else as reported now."""
    if record is not None and job is not None and record.task_id == job.task_id and record.expires_at:
        return clock.from_iso(record.expires_at)
    return reported


def _short(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
