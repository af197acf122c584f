# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator that makes a video: submit once, wait without a worker, hand on the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.operators.waiting import WaitsForJob

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_vidgen.capacity import Capacity
    from airflow_provider_vidgen.errors import JobLost, JobNotFound, Problem
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.landing import Landing, Verify
    from airflow_provider_vidgen.ledger import Ledger, OnClear, OnUnknown, Phase, Record
    from airflow_provider_vidgen.models import JobStatus, VideoJob, VideoRequest
    from airflow_provider_vidgen.submission import Attached, Attempt


#: What the record keeps of a landed file.
_KEPT = ("path", "bytes", "sha256", "content_type", "poster")


class VideoGenerationOperator(WaitsForJob, BaseOperator):
    """
    Make one video.

    The job is submitted once: what was submitted is recorded before the paid call goes out, and a retry asks
    about that job instead of paying for another. See :mod:`airflow_provider_vidgen.ledger` for every case.

    XCom ``return_value`` holds vendor, model, task_id, state, result_urls, thumbnail_url, duration_seconds,
    created_at, completed_at, expires_at, cost and files; ``result_urls`` and ``task_id`` stand under keys of
    their own, too, the latter as soon as the vendor has accepted the job, and ``progress`` while it renders.

    :param prompt: what the video shows. (templated)
    :param model: the vendor's model id; ``None`` takes the connection's. (templated)
    :param duration: whole seconds, as a number or as text like "6"; the model decides which. (templated)
    :param aspect_ratio: ``"16:9"``; one spelling for every vendor. (templated)
    :param resolution: ``"480p"``, ``"720p"`` or ``"1080p"``; one spelling for every vendor. (templated)
    :param image_urls: reference images in order, each an https URL or a full data URL. (templated)
    :param continue_from: ``{"task_id": ..., "index": ...}``, an image job to go on from; Apixo. (templated)
    :param style: the vendor's name of a style; Apixo. (templated)
    :param routing: ``auto``, ``value`` or ``official``; Apixo. (templated)
    :param extra: the vendor's own fields, passed untouched. (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``. (templated)
    :param deferrable: wait on the triggerer instead of holding a worker; default from
        ``[operators] default_deferrable``.
    :param poll_interval: seconds between checks; ``None`` follows the vendor's advice.
    :param timeout: seconds from submission until this try stops waiting; the job stays attached. Before that
        the try waits up to the same time for capacity at the vendor, rescheduled.
    :param use_callback: have the vendor POST to the connection's ``callback_base_url`` at the end of the job.
        Checks go on all the same, so a lost callback costs nothing.
    :param output_path: land the files here, as :class:`airflow.sdk.ObjectStoragePath` takes it; ``{vendor}``,
        ``{model}``, ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled in, and a path
        ending in ``/`` is a folder. (templated)
    :param sidecar: put ``{name}.json`` beside each landed file: what was asked for, of which job, when, at
        what cost, and what the file is. Text is the folder where they go instead, with the fields of
        ``output_path`` and ``/`` at its end. (templated)
    :param sidecar_prompt: with the prompt, the images and ``extra``.
    :param verify: look into each landed file where PyAV is installed (extra ``verify``): the task fails, with
        the file in its place, if it does not play; if it is not what was asked for, ``True`` warns, and
        ``"fail"`` fails, too.
    :param poster: put a picture beside each landed file: the vendor's thumbnail, or where there is none the
        first frame, if PyAV is installed. Trouble with it is a warning.
    :param upload_args: the store's own arguments for each file, such as ``{"StorageClass": "GLACIER_IR"}`` on
        S3: encryption, access, headers, metadata; docs/landing.md has the names. (templated)
    :param on_unknown_submit: when the fate of a paid call is not known: ``"fail"`` reports it and never
        submits by itself, ``"resubmit"`` accepts the risk of paying twice.
    :param on_clear: what a clear does once the video was delivered: ``"reuse"`` returns the same video while
        its file or its link exists, ``"regenerate"`` submits a new, paid job.
    :param cancel_on_kill: when somebody marks the deferred task as failed or successful, cancel the job where
        its vendor can. None of the four can.
    """

    template_fields: Sequence[str] = (
        "prompt",
        "model",
        "duration",
        "aspect_ratio",
        "resolution",
        "image_urls",
        "continue_from",
        "style",
        "routing",
        "extra",
        "vidgen_conn_id",
        "output_path",
        "sidecar",
        "upload_args",
    )
    ui_color = "#e8e0f7"

    def __init__(
        self,
        *,
        prompt: str,
        model: str | None = None,
        duration: int | None = None,
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        image_urls: list[str] | None = None,
        continue_from: Mapping[str, Any] | None = None,
        style: str | None = None,
        routing: str | None = None,
        extra: Mapping[str, Any] | None = None,
        vidgen_conn_id: str = "vidgen_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = 1800,
        use_callback: bool = False,
        output_path: str | None = None,
        sidecar: bool | str = True,
        sidecar_prompt: bool = True,
        verify: Verify = True,
        poster: bool = True,
        upload_args: Mapping[str, Any] | None = None,
        on_unknown_submit: OnUnknown = "fail",
        on_clear: OnClear = "reuse",
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_unknown_submit not in ("fail", "resubmit"):
            raise ValueError(f"on_unknown_submit={on_unknown_submit!r}: must be 'fail' or 'resubmit'")
        if on_clear not in ("reuse", "regenerate"):
            raise ValueError(f"on_clear={on_clear!r}: must be 'reuse' or 'regenerate'")
        if verify not in (True, False, "fail"):
            raise ValueError(f"verify={verify!r}: must be True, False or 'fail'")
        if timeout <= 0:
            raise ValueError(f"timeout={timeout!r}: must be a number of seconds above 0")
        if poll_interval is not None and poll_interval <= 0:
            raise ValueError(f"poll_interval={poll_interval!r}: must be above 0, or None")
        self.prompt = prompt
        self.model = model
        self.duration = duration
        self.aspect_ratio = aspect_ratio
        self.resolution = resolution
        self.image_urls = image_urls
        self.continue_from = continue_from
        self.style = style
        self.routing = routing
        self.extra = extra
        self.vidgen_conn_id = vidgen_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.use_callback = use_callback
        self.output_path = output_path
        self.sidecar = sidecar
        self.sidecar_prompt = sidecar_prompt
        self.verify = verify
        self.poster = poster
        self.upload_args = upload_args
        self.on_unknown_submit = on_unknown_submit
        self.on_clear = on_clear
        self.cancel_on_kill = cancel_on_kill

    def execute(self, context: Context) -> Any:
        """
        Submit the job, or find the one an earlier try submitted, and wait for it.

        :raises AirflowFailException: content, input, funds, key, or a submission of unknown outcome: another
            automatic try would fail again, or pay again.
        :raises AirflowException: another try may help; it asks about the same job where there is one.
        """
        from airflow_provider_vidgen.capacity import Capacity
        from airflow_provider_vidgen.errors import SubmitError

        with as_airflow_errors(self.prompt):
            hook = self.hook
            request = self._request(hook)
            self._check(context, hook, request)
            limit = hook.settings.concurrency_limit
            capacity = Capacity(context, limit=limit, timeout=self.timeout, log=self.log)
            try:
                attached = self._attach(context, hook, request, capacity)
            except SubmitError as error:
                capacity.after_refusal(error)
                raise
            job, status = attached.job, attached.status
            if attached.files and status is not None:
                return self._hand_over(context, job, status, attached.files)
            if status is None and self.deferrable:
                status = self.look(hook, job)
            if status is not None and (status.has_video or status.failure):
                return self.settle(context, hook, job, status)
            if self.deferrable:
                self.wait_deferred(job, submitted_at=attached.submitted_at, deadline=attached.deadline)
            return self.wait_blocking(
                context, hook, job, submitted_at=attached.submitted_at, deadline=attached.deadline
            )

    def _request(self, hook: VideoGenHook) -> VideoRequest:
        from airflow_provider_vidgen.errors import InvalidConnection, Problem
        from airflow_provider_vidgen.models import VideoRequest

        settings = hook.settings
        if self.use_callback and not settings.callback_base_url:
            raise InvalidConnection(
                f"The connection {self.vidgen_conn_id!r} cannot be used with use_callback",
                [
                    Problem(
                        field="callback_base_url",
                        value="empty",
                        constraint="must be a link vendors can reach",
                    )
                ],
            )
        return VideoRequest(
            prompt=self.prompt,
            model=self.model or settings.model,
            duration=self.duration,
            aspect_ratio=self.aspect_ratio,
            resolution=self.resolution,
            image_urls=self.image_urls,
            continue_from=self.continue_from,
            style=self.style,
            routing=self.routing,
            callback_url=settings.callback_base_url if self.use_callback else None,
            extra=self.extra,
        )

    def _attach(
        self, context: Context, hook: VideoGenHook, request: VideoRequest, capacity: Capacity
    ) -> Attached:
        attempt = self._attempt(
            context, hook, before_paying=lambda: self._before_paying(context, hook, capacity)
        )
        attached = attempt.attach(request)
        self.log.info("The job is %s", attached.job)
        context["ti"].xcom_push(key="task_id", value=attached.job.task_id)
        return attached

    def _attempt(self, context: Context, hook: VideoGenHook, **options: Any) -> Attempt:
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.submission import Attempt

        return Attempt(
            hook.client,
            self._ledger(context),
            timeout=self.timeout,
            on_unknown=self.on_unknown_submit,
            on_clear=self.on_clear,
            now=utcnow,
            warn=lambda sentence: self.log.warning("%s", sentence),
            still_there=lambda files: bool(files) and self._landing(hook).files_exist(files),
            link_lives=lambda links: self._landing(hook).links_are_live(links),
            **options,
        )

    def _check(self, context: Context, hook: VideoGenHook, request: VideoRequest) -> None:
        """
        Judge the request, and log what is doubtful about it.

        :raises InvalidRequest: with everything that is wrong, with the place for the files as well.
        """
        from airflow_provider_vidgen.errors import InvalidRequest, StorageUnreachable

        try:
            for doubt in hook.check(request):
                self.log.warning("%s", doubt)
        except InvalidRequest as error:
            problems = list(error.problems)
            with suppress(StorageUnreachable):
                problems += self._problems_here(context, hook)
            raise InvalidRequest(error.summary, problems) from None

    def _before_paying(self, context: Context, hook: VideoGenHook, capacity: Capacity) -> None:
        from airflow_provider_vidgen.errors import InvalidRequest

        if problems := self._problems_here(context, hook):
            raise InvalidRequest("The video could not be made or landed from here", problems)
        capacity.before_submit()

    def _problems_here(self, context: Context, hook: VideoGenHook) -> list[Problem]:
        """
        Look at what the request itself does not tell: the way to the vendor, and the files' way and place.

        :raises StorageUnreachable: nobody knows about the place, and nothing else is wrong.
        """
        from airflow_provider_vidgen.airflow_internals import unmapped_argument
        from airflow_provider_vidgen.errors import StorageUnreachable

        problems = hook.egress_problems()
        if self.output_path is not None:
            written = unmapped_argument(context, "output_path")
            try:
                problems += self._landing(hook).target_problems(self.output_path, template=written)
            except StorageUnreachable:
                if not problems:
                    raise
        return list(dict.fromkeys(problems))

    def finish(
        self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus
    ) -> dict[str, Any]:
        """Land the files if asked to, and hand on the result."""
        files = self._land(context, hook, job, status) if self.output_path else []
        return self._hand_over(context, job, status, files)

    def _land(
        self, context: Context, hook: VideoGenHook, job: VideoJob, status: JobStatus
    ) -> list[dict[str, Any]]:
        from airflow_provider_vidgen.errors import LinkUnavailable, NotAVideo, ResultExpired
        from airflow_provider_vidgen.landing import VideoMetadata
        from airflow_provider_vidgen.ledger import Phase
        from airflow_provider_vidgen.xcom import build_result

        assert self.output_path is not None
        record = self._ledger(context).read()
        expires_at = _links_die_at(record, job, status)
        try:
            return self._landing(hook).land(
                status.result_urls,
                self.output_path,
                job=job,
                map_index=context["ti"].map_index,
                metadata=VideoMetadata(
                    request=self._request(hook),
                    result=build_result(job, status),
                    fingerprint=record.fingerprint if record is not None else "",
                    secrets=(hook.settings.api_key,),
                ),
                # A synchronous endpoint may name no job that could be asked about.
                refresh=(lambda: hook.get_status(job).result_urls) if job.task_id else None,
                expires_at=expires_at,
            )
        except (LinkUnavailable, NotAVideo):
            self._note_expiry(context, job, expires_at)
            raise
        except ResultExpired:
            # Nobody can fetch this video any more; only a person's clear may pay for another.
            self._note(context, job, Phase.LOST)
            raise

    def no_link(self, context: Context, job: VideoJob, status: JobStatus) -> None:
        """
        Record that a finished job has no link, and once the time of its links has passed, that it is lost.

        :raises ResultExpired: the vendor gives no link any more.
        """
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.errors import ResultExpired
        from airflow_provider_vidgen.ledger import Phase

        expires_at = _links_die_at(self._ledger(context).read(), job, status)
        if expires_at is None or utcnow() < expires_at:
            self._note_expiry(context, job, expires_at)
            return
        self._note(context, job, Phase.LOST)
        raise ResultExpired("The vendor gives no link, and the time of the job's links has passed", job=job)

    def _note_expiry(self, context: Context, job: VideoJob, expires_at: datetime | None) -> None:
        """Keep when the links die, as it was first told."""
        from airflow_provider_vidgen.ledger import Phase

        if expires_at is not None:
            self._note(context, job, Phase.SUBMITTED, expires_at=expires_at.isoformat())

    def _hand_over(
        self, context: Context, job: VideoJob, status: JobStatus, files: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Push the result, and record that the job has been delivered."""
        from airflow_provider_vidgen.airflow_internals import clears_state_on_success
        from airflow_provider_vidgen.ledger import Phase
        from airflow_provider_vidgen.xcom import build_result

        context["ti"].xcom_push(key="result_urls", value=list(status.result_urls))
        landed = tuple({name: file[name] for name in _KEPT if name in file} for file in files)
        kept: dict[str, Any] = {"files": landed}
        if status.expires_at is not None:
            kept["expires_at"] = status.expires_at.isoformat()
        try:
            self._note(context, job, Phase.DELIVERED, **kept)
        except Exception as error:
            # The video is there. Unrecorded, a later clear asks about this one instead of paying for another.
            self.log.warning("The delivery could not be recorded (%s)", type(error).__name__)
        if clears_state_on_success():
            self.log.warning(
                "[state_store] clear_on_success deletes the record of this video once the task has "
                "succeeded; after that a clear of the task submits a new, paid job"
            )
        return build_result(job, status, files)

    def ended_without_video(self, context: Context, job: VideoJob, status: JobStatus) -> None:
        """Record that the next try may submit afresh."""
        from airflow_provider_vidgen.ledger import Phase

        self._note(context, job, Phase.FAILED)

    def lost(self, context: Context, job: VideoJob, error: JobNotFound | JobLost) -> None:
        """Record that only a person's clear may submit afresh."""
        from airflow_provider_vidgen.ledger import Phase

        record = self._ledger(context).read()
        if record is not None:
            self._attempt(context, self.hook).check_account(record, error)
        self._note(context, job, Phase.LOST)

    def resume_point(self, context: Context) -> tuple[VideoJob, datetime, datetime]:
        """
        Return the job to wait for, from the ledger.

        :raises LedgerUnreadable: it holds no job.
        """
        from airflow_provider_vidgen.clock import from_iso
        from airflow_provider_vidgen.errors import LedgerUnreadable

        record = self._ledger(context).read()
        if record is None or not record.task_id:
            raise LedgerUnreadable("The task was woken, and its record has no job to go on with")
        submitted_at = from_iso(record.submitted_at)
        return record.job, submitted_at, submitted_at + timedelta(seconds=self.timeout)

    def _ledger(self, context: Context) -> Ledger:
        from airflow_provider_vidgen.airflow_internals import max_tries
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.ledger import Ledger
        from airflow_provider_vidgen.state_store import NonExpiringStateStore

        store = NonExpiringStateStore(context["task_state_store"], context["ti"].id)
        return Ledger(store, max_tries=max_tries(context), now=utcnow)

    def _note(self, context: Context, job: VideoJob, phase: Phase, **changes: Any) -> None:
        ledger = self._ledger(context)
        record = ledger.read()
        # A record that has moved on to another job is not about this one any more.
        if record is not None and record.task_id == job.task_id:
            if record.expires_at:
                # A vendor that tells no time of its own would give the links a new life at each look.
                changes.pop("expires_at", None)
            ledger.moved(record, phase, **changes)

    def _landing(self, hook: VideoGenHook) -> Landing:
        from airflow_provider_vidgen.landing import Landing

        return Landing(
            hook.settings,
            sidecar=self.sidecar,
            sidecar_prompt=self.sidecar_prompt,
            verify=self.verify,
            poster=self.poster,
            upload_args=self.upload_args,
        )


def _links_die_at(record: Record | None, job: VideoJob, status: JobStatus) -> datetime | None:
    """Return when a job's links die: as it was first recorded, else as the vendor tells now."""
    from airflow_provider_vidgen.clock import from_iso

    if record is not None and record.task_id == job.task_id and record.expires_at:
        return from_iso(record.expires_at)
    return status.expires_at
