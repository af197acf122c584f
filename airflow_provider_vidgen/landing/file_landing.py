# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Land one file of a job: recognise an existing one or download it, then its sidecar, probe and poster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import NotPlayable, TargetExists, VideoMismatch
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing import posters, sidecar
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.download import FileDownload, ProgressLog
from airflow_provider_vidgen.landing.links import JobLinks, download_with_retries
from airflow_provider_vidgen.landing.options import LandingOptions
from airflow_provider_vidgen.landing.probe import NOT_PLAYABLE, probe_and_compare
from airflow_provider_vidgen.landing.pyav import NEEDS_PYAV, is_pyav_installed, loggable
from airflow_provider_vidgen.landing.sidecar import SidecarMatch, VideoMetadata
from airflow_provider_vidgen.landing.storage import exists, has_content
from airflow_provider_vidgen.landing.storage_errors import as_storage_error, sink_errors_as_storage_errors
from airflow_provider_vidgen.landing.upload_options import UploadOptions, sidecar_upload_args
from airflow_provider_vidgen.landing.writers import Sink, atomic_writer, compare_with_existing
from airflow_provider_vidgen.models import VideoJob

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """
    Where a file lands.

    :param sidecar: the path of its sidecar; ``None`` if that cannot be used.
    """

    file: ObjectStoragePath
    sidecar: ObjectStoragePath | None


#: The destinations of one file, which depend on its container format.
Destinations = Mapping[ContainerFormat, Destination]


@dataclass(frozen=True, kw_only=True)
class LandingContext:
    """
    What all files of one landing share.

    :param sockets: registers each connection, so that another thread can shut it down.
    :param wait: waits for this many seconds, and raises if the landing is stopped.
    :param check_stopped: raises if the landing is stopped.
    :param now: the clock.
    """

    settings: ConnectionSettings
    options: LandingOptions
    job: VideoJob | None
    links: JobLinks
    metadata: VideoMetadata
    sockets: OpenSockets
    wait: Callable[[float], None]
    check_stopped: Callable[[], None]
    now: Callable[[], datetime]

    def object_metadata(self) -> dict[str, str]:
        """Return what a store keeps with each object of the job."""
        job = self.job
        return {"vendor": job.vendor, "model": job.model, "jobid": job.task_id} if job else {}


@dataclass(frozen=True)
class _LandedFile:
    """
    A file under its final name.

    :param sidecar: the content of its sidecar, if the file was recognised by it.
    """

    destination: Destination
    content_type: str
    bytes: int
    sha256: str
    already_existed: bool
    sidecar: dict[str, Any] | None = None

    @property
    def path(self) -> ObjectStoragePath:
        return self.destination.file

    @classmethod
    def from_sidecar(cls, destination: Destination, content: dict[str, Any]) -> _LandedFile:
        file = content["file"]
        return cls(destination, str(file.get("content_type")), file["bytes"], file["sha256"], True, content)


class FileLanding:
    """
    Lands one file.

    :param index: of the file among those of the job.
    """

    def __init__(self, context: LandingContext, index: int, destinations: Destinations) -> None:
        self._context = context
        self._options = context.options
        self._index = index
        self._destinations = destinations

    def land(self) -> dict[str, Any]:
        """
        Land the file, and return its manifest.

        :raises LandingError: it could not be landed.
        :raises StatusError: the link is dead, and a fresh one could not be requested from the vendor.
        """
        return self._complete(self._find_existing() or self._download())

    def verify(self, manifest: Mapping[str, Any]) -> None:
        """
        Warn of a landed file that differs from the request, or raise.

        :raises NotPlayable: it cannot be played.
        :raises VideoMismatch: it differs, and ``verify="fail"`` is set.
        """
        path, mismatches = manifest["path"], manifest["mismatches"]
        if NOT_PLAYABLE in mismatches:
            raise NotPlayable(f"{path} has landed, but cannot be played", job=self._context.job)
        if not mismatches:
            return
        summary = f"{path} has landed, but differs from the request: {'; '.join(mismatches)}"
        if self._options.verify == "fail":
            raise VideoMismatch(summary, job=self._context.job)
        _log.warning("%s", summary)

    def _find_existing(self) -> _LandedFile | None:
        """Return an existing file, if its sidecar shows that it is the one to land."""
        job = self._context.job
        if job is None or not job.task_id:
            return None
        by_path = {str(destination.file): destination for destination in self._destinations.values()}
        for path, destination in by_path.items():
            if destination.sidecar is None:
                continue
            with as_storage_error(destination.file):
                content = sidecar.read(destination.sidecar, path) if exists(destination.file) else None
                if content is None:
                    continue
                fingerprint = self._context.metadata.fingerprint
                match = sidecar.match_existing(destination.file, content, job, self._index, fingerprint)
            if match is SidecarMatch.SAME:
                _log.info("%s already exists, complete and of the same job: not downloaded again", path)
                return _LandedFile.from_sidecar(destination, content)
            # Where the path depends on the container format, only the download shows which one it is.
            if match is SidecarMatch.DIFFERENT and len(by_path) == 1 and not self._options.overwrite:
                raise TargetExists(f"{path} already exists, with the video of another job or request")
        return None

    def _download(self) -> _LandedFile:
        already_existed = False
        progress_log = ProgressLog(f"file {self._index}")

        def on_progress(received: int, total: int) -> None:
            self._context.check_stopped()
            progress_log(received, total)

        @contextmanager
        def open_sink(format: ContainerFormat) -> Iterator[Sink]:
            nonlocal already_existed, progress_log
            file = self._destinations[format].file
            progress_log = ProgressLog(file.name)
            with as_storage_error(file):
                already_existed = exists(file) and not self._options.overwrite
            if already_existed:
                opened = compare_with_existing(file, now=self._context.now)
            else:
                options = UploadOptions(
                    content_type=format.content_type,
                    metadata=self._context.object_metadata(),
                    upload_args=self._options.upload_args,
                )
                opened = atomic_writer(
                    file, overwrite=self._options.overwrite, options=options, now=self._context.now
                )
            with sink_errors_as_storage_errors(file, opened) as sink:
                yield sink
                # A connection that was shut down may look like a complete download.
                self._context.check_stopped()
                sink.add_metadata("sha256", download.sha256.hexdigest())

        download = FileDownload(self._context.settings, open_sink, on_progress, self._context.sockets)
        try:
            with download:
                download_with_retries(
                    self._context.links,
                    self._index,
                    download,
                    wait=self._context.wait,
                    now=self._context.now,
                )
        except TargetExists:
            # Written meanwhile, perhaps by this very task: the storage may have lost its response.
            assert download.format is not None
            file = self._destinations[download.format].file
            with as_storage_error(file):
                if already_existed or not has_content(file, download.sha256.hexdigest()):
                    raise
            already_existed = True
        assert download.format is not None
        destination, sha256 = self._destinations[download.format], download.sha256.hexdigest()
        file, content_type = destination.file, download.format.content_type
        if already_existed:
            _log.info("%s already exists with the same bytes: left unchanged", file)
        else:
            metrics.landed(self._context.settings.vendor.name, self._context.job, download.bytes)
            _log.info("Landed %s: %d bytes, sha256 %s", file, download.bytes, sha256)
        if PurePosixPath(file.name).suffix.lower() not in (f".{download.format.ext}", ""):
            _log.warning("%s is %s, which does not match its extension", file, content_type)
        return _LandedFile(destination, content_type, download.bytes, sha256, already_existed)

    def _complete(self, landed: _LandedFile) -> dict[str, Any]:
        """
        Write the sidecar and the poster of a landed file, probe it, and return its manifest.

        The sidecar comes first: by it a later try recognises the file, even if the rest is interrupted.
        """
        job = self._context.job
        manifest: dict[str, Any] = {
            "path": str(landed.path),
            "bytes": landed.bytes,
            "sha256": landed.sha256,
            "content_type": landed.content_type,
            "task_id": job.task_id if job else None,
            "already_existed": landed.already_existed,
            "sidecar": str(landed.destination.sidecar) if landed.sidecar else None,
            "poster": None,
            "probe": None,
            "mismatches": [],
        }
        if landed.sidecar is None:
            self._write_sidecar(manifest, landed)
        before = dict(manifest)
        self._probe(manifest, landed.path)
        self._add_poster(manifest, landed)
        if manifest != before:
            self._write_sidecar(manifest, landed)
        return manifest

    def _write_sidecar(self, manifest: dict[str, Any], landed: _LandedFile) -> None:
        path = landed.destination.sidecar
        if not self._options.sidecar or path is None:
            return
        if landed.sidecar is None:
            content = sidecar.build(
                manifest,
                name=landed.path.name,
                job=self._context.job,
                index=self._index,
                metadata=self._context.metadata,
                include_prompt=self._options.sidecar_prompt,
                landed_at=self._context.now().isoformat(timespec="seconds"),
            )
        elif landed.sidecar.get("poster") == manifest["poster"]:
            return
        else:
            # The earlier sidecar may hold more of the request.
            content = {**landed.sidecar, "poster": manifest["poster"]}
        options = UploadOptions(
            content_type=sidecar.CONTENT_TYPE,
            metadata=self._context.object_metadata(),
            upload_args=sidecar_upload_args(self._options.upload_args, landed.path.protocol, path.protocol),
        )
        written = sidecar.write(path, content, overwrite=self._options.overwrite, options=options)
        manifest["sidecar"] = manifest["sidecar"] or written

    def _add_poster(self, manifest: dict[str, Any], landed: _LandedFile) -> None:
        """Find or create the poster of a landed file; an error here never fails the landing."""
        try:
            recorded = (landed.sidecar or {}).get("poster")
            manifest["poster"] = recorded and posters.find_existing(landed.path, recorded)
            if self._options.poster and manifest["poster"] is None:
                # A job has one thumbnail, and the vendor does not state of which file.
                link = self._context.metadata.result.get("thumbnail_url") if self._index == 0 else None
                content = posters.get_poster(
                    landed.path,
                    link,
                    self._context.settings,
                    sockets=self._context.sockets,
                    wait=self._context.wait,
                    check_stopped=self._context.check_stopped,
                    now=self._context.now,
                )
                if content:
                    manifest["poster"] = posters.write(
                        landed.path,
                        content,
                        overwrite=self._options.overwrite,
                        metadata=self._context.object_metadata(),
                        upload_args=self._options.upload_args,
                    )
        except Exception as error:
            _log.warning("%s has landed without a poster (%s)", landed.path, loggable(error))

    def _probe(self, manifest: dict[str, Any], target: ObjectStoragePath) -> None:
        if not self._options.verify:
            return
        if is_pyav_installed():
            manifest.update(probe_and_compare(target, self._requested_properties()))
        elif self._options.verify == "fail":
            manifest["mismatches"] = [f"it could not be probed, which {NEEDS_PYAV}"]

    def _requested_properties(self) -> dict[str, Any]:
        """Return what the probe is compared with, without a ratio that the vendor does not honour."""
        metadata = self._context.metadata
        requested = metadata.requested_properties()
        if metadata.request is not None and not self._context.settings.vendor.honours_aspect_ratio(
            metadata.request
        ):
            del requested["aspect_ratio"]
        return requested
