# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The operator that downloads finished videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vidgen.airflow_errors import as_airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vidgen.landing import Verify


class VideoDownloadOperator(BaseOperator):
    """
    Land finished videos in storage: each file is whole under its final name, or absent.

    Downloads are retried on their own; a retry of this task never makes a new video.

    :param url: a result link, or a list of them, such as ``generate.output["result_urls"]``. (templated)
    :param video: what a generation returned, such as ``generate.output``. Better than ``url``: the vendor is
        asked for a fresh link where one is dead, and files can be named after the job. (templated)
    :param output_path: as :class:`airflow.sdk.ObjectStoragePath` takes it; ``{vendor}``, ``{model}``,
        ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled in, and a path ending in ``/``
        is a folder. (templated)
    :param vidgen_conn_id: Airflow connection of type ``vidgen``, the one that made the video. (templated)
    :param overwrite: replace a file that is already there. Without it the same video is left alone, and
        another one refused.
    :param sidecar: put ``{name}.json`` beside each file, which says what it is; text is the folder where
        they go instead, with the fields of ``output_path`` and ``/`` at its end. (templated)
    :param verify: look into each file where PyAV is installed (extra ``verify``): ``True`` warns if it does
        not play or lasts longer or shorter than the vendor said, ``"fail"`` fails the task then, with the
        file in its place.
    :param poster: put a picture beside each file: the ``thumbnail_url`` of ``video``, or where there is none
        the first frame, if PyAV is installed. Trouble with it is a warning.
    :param upload_args: the store's own arguments for each file, such as ``{"StorageClass": "GLACIER_IR"}`` on
        S3: encryption, access, headers, metadata; docs/landing.md has the names. (templated)
    :return: for each file path, bytes, sha256, content_type, the task_id of its job, already_there, sidecar,
        poster, probe and mismatches.
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
            raise ValueError("give either url or video")
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

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Download every link.

        :raises AirflowFailException: a link must not be fetched, its time has passed, or its place is taken.
        :raises AirflowException: another try may help.
        """
        from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
        from airflow_provider_vidgen.landing import About, Landing
        from airflow_provider_vidgen.models import VideoJob

        with as_airflow_errors():
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
                return landing.land(links, self.output_path, map_index=map_index)
            job = VideoJob.from_dict({"base_url": hook.settings.base_url, **self.video})
            return landing.land(
                links,
                self.output_path,
                job=job,
                map_index=map_index,
                about=About(result=self.video),
                expires_at=self._expires_at(),
                refresh=(lambda: hook.get_status(job).result_urls) if job.task_id else None,
            )

    def _expires_at(self) -> datetime | None:
        """Return when the links of ``video`` die, where that can be told."""
        from airflow_provider_vidgen.clock import from_iso

        try:
            return from_iso((self.video or {})["expires_at"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def _links(self) -> list[str]:
        """Return the links; what a template or another task left in their place may be anything."""
        from airflow_provider_vidgen.errors import InvalidRequest, Problem

        links: Any
        if self.video is None:
            field, links = "url", [self.url] if isinstance(self.url, str) else self.url
            constraint = "must be a link or a list of links; the task that makes them may have left none"
        else:
            known = isinstance(self.video, Mapping) and {"vendor", "model", "task_id"} <= set(self.video)
            field, links = "video", self.video.get("result_urls") if known else None
            constraint = "must be what a generation returned, with its result_urls"
        several = isinstance(links, Iterable) and not isinstance(links, str | Mapping)
        found: list[str] = list(links) if several else []
        if not found or not all(isinstance(link, str) for link in found):
            kind = type(getattr(self, field)).__name__
            raise InvalidRequest(
                "There is nothing to download", [Problem(field=field, value=kind, constraint=constraint)]
            )
        return found
