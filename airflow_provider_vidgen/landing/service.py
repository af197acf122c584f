# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The landing service: land all files of a job in parallel."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from functools import partial
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_provider_vidgen import airflow_internals, lineage
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    LandingError,
    LinkUnavailable,
    Problem,
    StorageError,
    UnsafeLink,
    VidgenError,
)
from airflow_provider_vidgen.http import result_links
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing import preflight, sidecar, storage
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.file_landing import (
    Destination,
    Destinations,
    FileLanding,
    LandingContext,
)
from airflow_provider_vidgen.landing.links import JobLinks, Refresh
from airflow_provider_vidgen.landing.options import LandingOptions, Verify
from airflow_provider_vidgen.landing.paths import target_for
from airflow_provider_vidgen.landing.sidecar import VideoMetadata
from airflow_provider_vidgen.landing.storage_errors import describe
from airflow_provider_vidgen.landing.upload_options import upload_args_problems
from airflow_provider_vidgen.models import VideoJob

_log = logging.getLogger(__name__)

_MAX_CONCURRENT = 3
#: More than the concurrent downloads, because a file that waits for its link to become live lets others run.
_MAX_THREADS = 16
#: Longest time, in seconds, that a stopped task waits until its downloads have removed their part files.
_STOP_TIMEOUT = 5.0


class Landing:
    """
    Lands the results of one account's jobs.

    :param settings: of the connection whose result links these are.
    :param overwrite: replace an existing file that differs.
    :param sidecar: write a ``.json`` sidecar next to each file; text is the folder for it instead.
    :param sidecar_prompt: include the prompt, images and extra fields in it.
    :param verify: probe each file where PyAV is installed: ``True`` warns of differences from the request,
        ``"fail"`` makes them an error, once the file has landed.
    :param poster: store a poster next to each file.
    :param upload_args: the user's arguments for the store; see :mod:`.upload_options`.
    :param sleep: waits for this many seconds between attempts.
    :param now: the clock.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        overwrite: bool = False,
        sidecar: bool | str = True,
        sidecar_prompt: bool = True,
        verify: Verify = True,
        poster: bool = False,
        upload_args: Mapping[str, Any] | None = None,
        sleep: Callable[[float], None] | None = None,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._settings = settings
        self._options = LandingOptions(
            overwrite=overwrite,
            sidecar=sidecar,
            sidecar_prompt=sidecar_prompt,
            verify=verify,
            poster=poster,
            upload_args=upload_args or {},
        )
        self._stopped = threading.Event()
        self._sockets = OpenSockets()
        self._slots = threading.Semaphore(_MAX_CONCURRENT)
        self._sleep = sleep or self._sleep_until_stopped
        self._now = now

    def land(
        self,
        links: Sequence[str],
        output_path: str,
        *,
        job: VideoJob | None = None,
        map_index: int | None = -1,
        refresh: Refresh | None = None,
        metadata: VideoMetadata | None = None,
        expires_at: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """
        Land every link of a job, up to three at a time.

        A link that returns no video is retried for about five minutes. The extension of each file is that of
        its container format, which its first bytes show.

        :param output_path: see :func:`target_for`.
        :param refresh: requests fresh links from the vendor when one is dead.
        :param metadata: for the sidecar, and to compare the file with.
        :param expires_at: when the links expire; ``None`` if that is not known.
        :return: for each file path, bytes, sha256, content_type, the job's task_id, already_existed, sidecar,
            poster, probe and mismatches.
        :raises LandingError: a file could not be landed; the others have been, as far as possible.
            :class:`ResultExpired` only when ``expires_at`` has passed.
        :raises StatusError: a link is dead, and a fresh one could not be requested from the vendor.
        """
        # Before the threads start, because they should not look up Airflow connections.
        destinations = []
        for index, link in enumerate(links):
            path_for = partial(
                target_for, output_path, job=job, index=index, of=len(links), map_index=map_index, link=link
            )
            paths = {format: path_for(ext=format.ext) for format in ContainerFormat}
            destinations.append(self._destinations(paths, job, index, map_index))
        self._check_upload_args(destinations[0][ContainerFormat.MP4].file.protocol, job)
        context = LandingContext(
            settings=self._settings,
            options=self._options,
            job=job,
            links=JobLinks(links, job, refresh, expires_at),
            metadata=metadata or VideoMetadata(),
            sockets=self._sockets,
            wait=self._wait,
            check_stopped=self._check_stopped,
            now=self._now,
        )
        files = [FileLanding(context, index, paths) for index, paths in enumerate(destinations)]
        if len(files) == 1:
            manifests = [self._land_file(files[0], job)]
        else:
            manifests = self._land_in_parallel(files, job)
        self._report_lineage(destinations, manifests, context.metadata)
        return manifests

    def target_problems(self, output_path: str, *, template: object = None) -> list[Problem]:
        """
        Check, before anything is paid, whether files could be downloaded here and stored at the path.

        :param template: the argument of all mapped tasks of a run, before rendering.
        :return: everything that would prevent the files of this task, or of other mapped tasks, from landing.
        :raises StorageUnreachable: a storage did not answer, and nothing else is wrong.
        """
        return preflight.target_problems(
            output_path, template=template, settings=self._settings, options=self._options
        )

    def files_exist(self, manifests: Sequence[Mapping[str, Any]]) -> bool:
        """
        Whether all files of an earlier landing still exist with their size and checksum; reads each of them.

        :raises StorageUnreachable: a storage did not answer.
        """
        return storage.files_exist(manifests)

    def links_are_live(self, links: Sequence[str]) -> bool:
        """
        Whether each link returns a file, and not an error page; nothing is downloaded.

        :raises DownloadFailed: a server did not answer.
        """
        for link in links:
            try:
                with result_links.open_link(link, self._settings) as response:
                    content_type = response.headers.get("Content-Type", "").strip().lower()
            except (LinkUnavailable, UnsafeLink):
                return False
            if content_type.startswith(("text/", "application/json", "application/xml")):
                return False
        return bool(links)

    def _destinations(
        self, paths: Mapping[ContainerFormat, str], job: VideoJob | None, index: int, map_index: int | None
    ) -> Destinations:
        """Return the destinations of a file, with their storage connected."""
        by_path: dict[str, Destination] = {}
        for path in paths.values():
            if path not in by_path:
                file = storage.storage_path(path)
                _ = file.fs
                by_path[path] = Destination(file, self._sidecar_path(file, job, index, map_index))
        return {format: by_path[path] for format, path in paths.items()}

    def _sidecar_path(
        self, file: ObjectStoragePath, job: VideoJob | None, index: int, map_index: int | None
    ) -> ObjectStoragePath | None:
        """Return the path of a file's sidecar; ``None`` if that cannot be used."""
        folder = self._options.sidecar if isinstance(self._options.sidecar, str) else None
        try:
            path = sidecar.sidecar_path(file, folder, job=job, index=index, map_index=map_index)
            _ = path.fs
        except Exception as error:  # the video lands all the same
            _log.warning("The sidecar of %s cannot be written: %s", file, describe(error))
            return None
        return path

    def _check_upload_args(self, protocol: str, job: VideoJob | None) -> None:
        if problems := list(upload_args_problems(self._options.upload_args, protocol)):
            raise StorageError(
                "The upload_args cannot be used",
                job=job,
                vendor_message="; ".join(map(str, problems)),
                next_step="Correct them and clear the task: it lands this video, no new one is made.",
            )

    def _land_in_parallel(self, files: Sequence[FileLanding], job: VideoJob | None) -> list[dict[str, Any]]:
        futures: list[Future[dict[str, Any]]] = []
        pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="vidgen-landing")
        try:
            for file in files:
                run = contextvars.copy_context().run
                futures.append(pool.submit(run, self._land_file, file, job))
            wait(futures)
        except BaseException:  # the task is being stopped, so the threads must end and clean up
            self._stopped.set()
            self._sockets.shut_down_all()
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if not future.cancelled()], _STOP_TIMEOUT)
            raise
        pool.shutdown()
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise _combined(errors)
        return [future.result() for future in futures]

    def _land_file(self, file: FileLanding, job: VideoJob | None) -> dict[str, Any]:
        try:
            with self._slots:
                self._check_stopped()
                manifest = file.land()
        except LandingError as error:
            if error.job is not None or job is None:
                raise
            # The modules below do not know the job.
            raise error.replaced(job=job) from error.__cause__
        except VidgenError:
            raise
        except Exception as error:
            _log.error(
                "Landing %s failed with an unexpected %s. The video was paid for. A retry downloads again; "
                "no new video is made.",
                f"a file of {job}" if job else "a file",
                type(error).__name__,
            )
            raise
        file.verify(manifest)
        return manifest

    @staticmethod
    def _report_lineage(
        destinations: Sequence[Destinations], manifests: Sequence[Mapping[str, Any]], metadata: VideoMetadata
    ) -> None:
        """Report the landed files, and the images that they were made from, to Airflow's hook lineage."""
        reporter = next(iter(destinations[0].values())).file
        images = metadata.request.image_urls if metadata.request is not None else None
        try:
            server = storage.server_of(reporter)
            airflow_internals.add_hook_lineage(
                reporter,
                inputs=lineage.image_links(images),
                outputs=[lineage.stored_uri(manifest["path"], server) for manifest in manifests],
            )
        except Exception as error:  # the files have landed all the same
            _log.warning(
                "The lineage of landed files cannot be recorded (%s); the files are not affected",
                type(error).__name__,
            )

    def _wait(self, seconds: float) -> None:
        """Wait between two attempts of a file, and let others land meanwhile."""
        self._slots.release()
        try:
            self._sleep(seconds)
        finally:
            self._slots.acquire()
        self._check_stopped()

    def _sleep_until_stopped(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(BaseException):
    """The task is being stopped; ends the thread without being handled as an error."""


def _combined(errors: list[BaseException]) -> BaseException:
    """Return the error whose next step applies: a retryable one, if there is any."""
    errors.sort(key=lambda error: isinstance(error, VidgenError) and error.fatal)
    first, *others = errors
    summaries = [
        error.summary if isinstance(error, VidgenError) else type(error).__name__ for error in others
    ]
    for summary in summaries:
        _log.error("Another file of the same job could not be landed either: %s", summary)
    if not isinstance(first, VidgenError) or not summaries:
        return first
    return first.replaced(summary="; and another file: ".join([first.summary, *summaries]))
