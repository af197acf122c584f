# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator that generates a video: its arguments. :mod:`.generation` has the implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_provider_vidgen.links.video_links import LandedFileLink, VendorConsoleLink, VideosLink
from airflow_provider_vidgen.mapped_instances import NamesMappedInstances

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_vidgen.decision import OnClear, OnUnknown
    from airflow_provider_vidgen.generation import Generation
    from airflow_provider_vidgen.landing import Verify


class VideoGenerationOperator(NamesMappedInstances, BaseOperator):
    """
    Generate one video.

    The job is submitted once: the intent is recorded before the paid call, and a retry re-attaches to the
    same job instead of paying for another. :mod:`airflow_provider_vidgen.decision` has the table of all
    cases.

    XCom ``return_value`` holds vendor, model, task_id, state, result_urls, thumbnail_url, duration_seconds,
    created_at, completed_at, expires_at, cost and files. ``result_urls`` and ``task_id`` are also pushed
    under keys of their own, the latter as soon as the vendor has accepted the job, and ``progress`` while it
    renders.

    :param prompt: what the video shows. (templated)
    :param model: the vendor's model id; ``None`` takes the connection's. (templated)
    :param duration: whole seconds, as a number or as text like "6"; the model limits the values. (templated)
    :param aspect_ratio: ``"16:9"``; the same spelling for every vendor. (templated)
    :param resolution: ``"480p"``, ``"720p"`` or ``"1080p"``; the same spelling for every vendor. (templated)
    :param image_urls: reference images in order, each an https URL or a full data URL. (templated)
    :param continue_from: ``{"task_id": ..., "index": ...}``, an image job to continue from; Apixo.
        (templated)
    :param style: the vendor's name of a style; Apixo. (templated)
    :param routing: ``auto``, ``value`` or ``official``; Apixo. (templated)
    :param extra: the vendor's own fields, sent unchanged. (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``. (templated)
    :param deferrable: wait on the triggerer instead of holding a worker; default from
        ``[operators] default_deferrable``.
    :param poll_interval: seconds between checks; ``None`` takes the vendor's schedule.
    :param timeout: seconds from submission until this try stops waiting; the job stays attached. Before the
        submission the try waits up to the same time for capacity at the vendor, rescheduled.
    :param use_callback: the vendor sends a POST to the connection's ``callback_base_url`` when the job ends.
        Status checks continue, so a lost callback does no harm.
    :param output_path: the target of the files, as :class:`airflow.sdk.ObjectStoragePath` takes it; the
        fields ``{vendor}``, ``{model}``, ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled
        in, and a path ending in ``/`` is a folder. (templated)
    :param sidecar: write ``{name}.json`` next to each landed file: the request, the job, times, cost, and the
        file's properties. Text is the folder for these files instead, with the fields of ``output_path`` and
        ``/`` at its end. (templated)
    :param sidecar_prompt: include the prompt, the images and ``extra`` in the sidecar.
    :param verify: probe each landed file where PyAV is installed (extra ``verify``). The task fails, with
        the file landed, if it cannot be played; if it differs from the request, ``True`` warns, and
        ``"fail"`` fails the task as well.
    :param poster: store an image next to each landed file: the vendor's thumbnail, or if there is none the
        first frame, where PyAV is installed. An error is only logged.
    :param upload_args: the store's own arguments for each file, such as ``{"StorageClass": "GLACIER_IR"}`` on
        S3: encryption, access, headers, metadata; docs/landing.md has the names. (templated)
    :param on_unknown_submit: what to do if the outcome of a paid call is unknown: ``"fail"`` reports it and
        never submits again by itself, ``"resubmit"`` accepts the risk of paying twice.
    :param on_clear: what a clear does after the video was delivered: ``"reuse"`` returns the same video while
        its file or its link exists, ``"regenerate"`` submits a new, paid job.
    :param cancel_on_kill: when the deferred task is marked failed or successful, cancel the job if its vendor
        supports that. None of the four does.
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
    operator_extra_links = (VideosLink(), LandedFileLink(in_tab=True), VendorConsoleLink())

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
        self._result: Mapping[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Submit the job, or re-attach to the one an earlier try submitted, and wait for it.

        :raises AirflowFailException: content, input, funds, API key, or a submission of unknown outcome:
            another automatic try would fail again, or pay again.
        :raises AirflowException: another try may succeed; it re-attaches to the same job if there is one.
        """
        return self._keep_for_lineage(self._generation(context).run())

    def execute_complete(
        self,
        context: Context,
        event: Any,
        job: Mapping[str, str] | None = None,
        submitted_at: str = "",
        deadline: str = "",
    ) -> dict[str, Any]:
        """Continue after the trigger's event, see :meth:`.Generation.complete`."""
        return self._keep_for_lineage(self._generation(context).complete(event, job, submitted_at, deadline))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return inputs, outputs and job for Airflow's OpenLineage provider; also of a try that failed."""
        # Lazy: the provider is optional.
        from airflow_provider_vidgen.openlineage_events import generation_lineage

        return generation_lineage(self, self._result)

    def _keep_for_lineage(self, result: dict[str, Any]) -> dict[str, Any]:
        # Without the links: OpenLineage can be configured to send all attributes of an operator.
        self._result = {name: result[name] for name in result if name not in ("result_urls", "thumbnail_url")}
        return result

    def on_kill(self) -> None:
        """
        Log that the job continues.

        A clear of a running task kills it as well, and its next try re-attaches to the job; the worker cannot
        distinguish a clear from a kill, so it never cancels the job.
        """
        self.log.warning(
            "The task was killed. A submitted job continues at the vendor and may be billed. "
            "A clear of the task checks the same job."
        )

    def _generation(self, context: Context) -> Generation:
        # The one lazy import: parsing a Dag loads no HTTP client.
        from airflow_provider_vidgen.generation import Generation

        return Generation(self, context)
