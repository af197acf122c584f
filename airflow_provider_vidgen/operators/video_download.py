# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator that downloads finished videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.clock import from_iso
from airflow_provider_vidgen.errors import InvalidRequest, Problem
from airflow_provider_vidgen.links.video_links import LandedFileLink, VideosLink, keep_link_targets
from airflow_provider_vidgen.mapped_instances import NamesMappedInstances
from airflow_provider_vidgen.models import VideoJob

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_vidgen.landing import Verify


class VideoDownloadOperator(NamesMappedInstances, BaseOperator):
    """
    Land finished videos in storage: each file appears under its final name complete, or not at all.

    Downloads are retried on their own; a retry of this task never makes a new video.

    :param url: a result link, or a list of them, such as ``generate.output["result_urls"]``. (templated)
    :param video: the result of a generation, such as ``generate.output``. Better than ``url``: a dead link is
        refreshed from the vendor, and files can be named after the job. (templated)
    :param output_path: as :class:`airflow.sdk.ObjectStoragePath` takes it; ``{vendor}``, ``{model}``,
        ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled in, and a path ending in ``/``
        is a folder. (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``, the one that made the video. (templated)
    :param overwrite: replace an existing file. Without it the same video is left unchanged, and the task
        fails if the file is another one.
    :param sidecar: write ``{name}.json`` next to each file: its properties, job and cost; text is the
        folder for it instead, with the fields of ``output_path``, ending in ``/``. (templated)
    :param verify: probe each file where PyAV is installed (extra ``verify``): the task fails, with the file
        landed, if it cannot be played; if its duration is not the one the vendor reported, ``True`` warns and
        ``"fail"`` fails the task, too.
    :param poster: store an image next to each file: the ``thumbnail_url`` of ``video``, or if there is none
        the first frame, where PyAV is installed. An error is only logged.
    :param upload_args: the store's own arguments for each file, such as ``{"StorageClass": "GLACIER_IR"}`` on
        S3: encryption, access, headers, metadata; docs/landing.md has the names. (templated)
    :return: for each file path, bytes, sha256, content_type, the task_id of its job, already_existed,
        sidecar, poster, probe and mismatches.
    """

    template_fields: Sequence[str] = (
        "url",
        "video",
        "output_path",
        "sidecar",
        "upload_args",
        "vidgen_conn_id",
    )
    ui_color = "#dff0e4"
    operator_extra_links = (VideosLink(), LandedFileLink())

    def __init__(
        self,
        *,
        output_path: str,
        url: str | list[str] | None = None,
        video: Mapping[str, Any] | None = None,
        vidgen_conn_id: str = "vidgen_default",
        overwrite: bool = False,
        sidecar: bool | str = True,
        verify: Verify = True,
        poster: bool = True,
        upload_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (url is None) == (video is None):
            raise ValueError("exactly one of url and video must be given")
        if verify not in (True, False, "fail"):
            raise ValueError(f"verify={verify!r}: must be True, False or 'fail'")
        self.url = url
        self.video = video
        self.output_path = output_path
        self.vidgen_conn_id = vidgen_conn_id
        self.overwrite = overwrite
        self.sidecar = sidecar
        self.verify = verify
        self.poster = poster
        self.upload_args = upload_args
        self._files: Sequence[Mapping[str, Any]] = ()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Download every link.

        :raises AirflowFailException: a link must not be fetched, has expired, or another file has its path.
        :raises AirflowException: another try may succeed.
        """
        files = self._land(context)
        keep_link_targets(self, files=files)
        return files

    def _land(self, context: Context) -> list[dict[str, Any]]:
        # Here, because these import the vendors and requests, which parsing a Dag does not need.
        from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
        from airflow_provider_vidgen.landing import Landing, VideoMetadata
        from airflow_provider_vidgen.video_report import VideoReport

        report = VideoReport(context["ti"], {})
        with as_airflow_errors(operator=self), report.errors():
            hook = VideoGenHook(self.vidgen_conn_id)
            landing = Landing(
                hook.settings,
                overwrite=self.overwrite,
                sidecar=self.sidecar,
                verify=self.verify,
                poster=self.poster,
                upload_args=self.upload_args,
            )
            map_index = context["ti"].map_index
            links = self._links()
            if self.video is None:
                files = landing.land(links, self.output_path, map_index=map_index)
            else:
                job = VideoJob.from_dict({"base_url": hook.settings.base_url, **self.video})
                files = landing.land(
                    links,
                    self.output_path,
                    job=job,
                    map_index=map_index,
                    metadata=VideoMetadata(result=self.video),
                    expires_at=self._expires_at(),
                    refresh=(lambda: hook.get_status(job).result_urls) if job.task_id else None,
                )
            self._files = files
            report.downloaded(files, self.video)
            return files

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return inputs and outputs for Airflow's OpenLineage provider; also of a try that failed."""
        # Lazy: the provider is optional.
        from airflow_provider_vidgen.openlineage_events import download_lineage

        return download_lineage(self.video, self._files)

    def _expires_at(self) -> datetime | None:
        """Return when the links of ``video`` expire, if that is known."""
        try:
            return from_iso((self.video or {})["expires_at"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def _links(self) -> list[str]:
        """Return the links; a template or another task may have rendered values of any type."""
        links: Any
        if self.video is None:
            field, links = "url", [self.url] if isinstance(self.url, str) else self.url
            constraint = (
                "must be a link or a list of links; the task that returns them may have returned none"
            )
        else:
            is_result = isinstance(self.video, Mapping) and {"vendor", "model", "task_id"} <= set(self.video)
            field, links = "video", self.video.get("result_urls") if is_result else None
            constraint = "must be the result of a generation, with its result_urls"
        is_list = isinstance(links, Iterable) and not isinstance(links, str | Mapping)
        found: list[str] = list(links) if is_list else []
        if not found or not all(isinstance(link, str) for link in found):
            value_type = type(getattr(self, field)).__name__
            raise InvalidRequest(
                "There is nothing to download",
                [Problem(field=field, value=value_type, constraint=constraint)],
            )
        return found
