# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Every result of a job into its place, with retries, in parallel, and none of them more than once."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.errors import (
    LandingError,
    LinkNotLive,
    Problem,
    StorageFailed,
    TargetExists,
    UnsafeLink,
    VideoMismatch,
    VidgenError,
)
from airflow_provider_vidgen.landing import places, probing, sidecar
from airflow_provider_vidgen.landing.fetching import Fetching
from airflow_provider_vidgen.landing.names import target_for
from airflow_provider_vidgen.landing.places import place_at
from airflow_provider_vidgen.landing.progress import Progress
from airflow_provider_vidgen.landing.results import Refresh, Results, pull_all
from airflow_provider_vidgen.landing.sidecar import About, Known
from airflow_provider_vidgen.landing.storing import compared, whole_or_absent
from airflow_provider_vidgen.landing.target import problems_with
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.transport.connections import OpenConnections
from airflow_provider_vidgen.transport.settings import ConnectionSettings

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

_AT_ONCE = 3
#: Most of them wait for a link that is not live yet.
_THREADS = 16
#: Seconds for which a task that is being stopped waits for its downloads to take back what they have begun.
_FAREWELL = 5.0
_NEEDS_PYAV = "needs PyAV: pip install airflow-provider-vidgen[verify]"

#: ``True`` warns, ``"fail"`` fails.
Verify = bool | Literal["fail"]


class Landing:
    """
    Land the results of jobs of one account.

    :param settings: whose result links these are; says whether private addresses may be fetched from.
    :param overwrite: replace another file that is already there.
    :param sidecar: put a ``.json`` beside each file that says what it is.
    :param sidecar_prompt: with the prompt, images and extra fields.
    :param verify: look into each file where PyAV is installed: ``True`` warns of what was not asked for,
        ``"fail"`` makes it an error, once the file is there.
    :param sleep: waits for so many seconds between attempts.
    :param now: the clock.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        overwrite: bool = False,
        sidecar: bool = True,
        sidecar_prompt: bool = True,
        verify: Verify = True,
        sleep: Callable[[float], None] | None = None,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._settings = settings
        self._overwrite = overwrite
        self._sidecar = sidecar
        self._sidecar_prompt = sidecar_prompt
        self._verify = verify
        self._stop = threading.Event()
        self._connections = OpenConnections()
        self._slots = threading.Semaphore(_AT_ONCE)
        self._sleep = sleep or self._pause
        self._now = now

    def land(
        self,
        links: Sequence[str],
        output_path: str,
        *,
        job: VideoJob | None = None,
        map_index: int | None = -1,
        refresh: Refresh | None = None,
        about: About | None = None,
        expires_at: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """
        Land every link of a job, a few at a time.

        A link that gives no video is tried for about five minutes.

        :param output_path: see :func:`target_for`.
        :param refresh: asks the vendor for the links again, when one of them is dead.
        :param about: for the sidecar, and what to hold the file against.
        :param expires_at: when the links die; ``None`` if that is not known.
        :return: for each file path, bytes, sha256, content_type, the job's task_id, whether it was there
            already, its sidecar, probe and mismatches.
        :raises LandingError: a file could not be landed; the others have been, as far as they could.
            :class:`ResultExpired` only when ``expires_at`` has passed.
        :raises StatusError: a link is dead, and the vendor cannot be asked for another just now.
        """
        work = Results(links, job, refresh, about or About(), expires_at)
        # Here, because a connection of Airflow's is better not looked up by several threads.
        targets = [
            place_at(
                target_for(
                    output_path, job=job, index=index, of=len(links), map_index=map_index, link=links[index]
                )
            )
            for index in range(len(links))
        ]
        for target in targets:
            _ = target.fs
        if len(targets) == 1:
            return [self._land_one(work, 0, targets[0])]
        return self._land_several(work, targets)

    def target_problems(self, output_path: str, *, written: object = None) -> list[Problem]:
        """
        Look at the way to the target before anything is paid: from the store of results, and into storage.

        :param written: what all mapped tasks of a run were given for it, before rendering.
        :return: why nothing could land there, or only the first of the mapped tasks.
        :raises StorageUnreachable: nobody knows.
        """
        from airflow_provider_vidgen.transport.download import download_problems

        found = download_problems(self._settings)
        if self._verify == "fail" and not probing.can_probe():
            found.append(Problem(field="verify", value="'fail'", allowed=_NEEDS_PYAV))
        return found + problems_with(output_path, written=written, overwrite=self._overwrite)

    def still_there(self, files: Sequence[Mapping[str, Any]]) -> bool:
        """
        Whether all files of an earlier landing are in their places, whole; reads each of them.

        :param files: their manifests.
        :raises StorageUnreachable: nobody knows.
        """
        return places.hold(files)

    def link_lives(self, links: Sequence[str]) -> bool:
        """
        Whether each link gives a file, and no page about it; nothing is downloaded.

        :raises DownloadFailed: nobody knows.
        """
        from airflow_provider_vidgen.transport.download import open_link

        for link in links:
            try:
                with open_link(link, self._settings) as reply:
                    kind = reply.headers.get("Content-Type", "").strip().lower()
            except (LinkNotLive, UnsafeLink):
                return False
            if kind.startswith(("text/", "application/json", "application/xml")):
                return False
        return bool(links)

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _wait(self, seconds: float) -> None:
        """Wait between two tries of a file, while others may land."""
        self._slots.release()
        try:
            self._sleep(seconds)
        finally:
            self._slots.acquire()
        self._stop_here()

    def _stop_here(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _land_several(self, work: Results, targets: Sequence[ObjectStoragePath]) -> list[dict[str, Any]]:
        futures: list[Future[dict[str, Any]]] = []
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vidgen-landing")
        try:
            for index, target in enumerate(targets):
                run = contextvars.copy_context().run
                futures.append(pool.submit(run, self._land_one, work, index, target))
            wait(futures)
        except BaseException:  # the task is being stopped: so must the threads be, and leave nothing
            self._stop.set()
            self._connections.cut()
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if not future.cancelled()], _FAREWELL)
            raise
        pool.shutdown()
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise _of_all(errors)
        return [future.result() for future in futures]

    def _land_one(self, work: Results, index: int, target: ObjectStoragePath) -> dict[str, Any]:
        try:
            with self._slots:
                self._stop_here()
                manifest = self._found(work, index, target) or self._fetched(work, index, target)
        except (VidgenError, _Stopped) as error:
            if isinstance(error, LandingError):
                error.job = error.job or work.job
            raise
        except Exception as error:
            words = places.told(error)
            raise StorageFailed(f"{target} could not be stored", job=work.job, words=words) from error
        if manifest["mismatches"]:
            words = "; ".join(manifest["mismatches"])
            if self._verify == "fail":
                raise VideoMismatch(f"{target} is not what was asked for: {words}", job=work.job)
            if self._verify:
                _log.warning("%s is not what was asked for: %s", target, words)
        return manifest

    def _found(self, work: Results, index: int, target: ObjectStoragePath) -> dict[str, Any] | None:
        """Return the manifest of a file that is there already, if its sidecar tells it is the one wanted."""
        if work.job is None or not work.job.task_id or not places.exists(target):
            return None
        told = sidecar.read(target)
        known = (
            sidecar.recognise(target, told, work.job, index, work.about.fingerprint)
            if told
            else Known.NOTHING
        )
        if known is Known.OTHER and not self._overwrite:
            raise TargetExists(f"The file at {target} is {known.value}")
        if told is None or known is not Known.SAME:
            return None
        _log.info("%s is there already, whole, and of the same job: left alone", target)
        found = {"bytes": told["file"]["bytes"], "sha256": told["file"]["sha256"]}
        manifest = self._manifest(work, target, **found, already_there=True)
        self._look_into(manifest, target, work)
        manifest["sidecar"] = str(sidecar.place_beside(target))
        return manifest

    def _fetched(self, work: Results, index: int, target: ObjectStoragePath) -> dict[str, Any]:
        already_there = places.exists(target) and not self._overwrite
        progress = Progress(target.name)

        def watch(done: int, total: int) -> None:
            self._stop_here()
            progress(done, total)

        place = compared(target) if already_there else whole_or_absent(target, overwrite=self._overwrite)
        try:
            with place as sink:
                with Fetching(self._settings, sink, watch, self._connections) as fetching:
                    pull_all(work, index, fetching, wait=self._wait, now=self._now)
                # A connection that was cut may look like one at its end.
                self._stop_here()
            sha256 = fetching.sha256.hexdigest()
        except TargetExists:
            # Of another job, or the same bytes: this very file, if the storage's answer to it was lost.
            sha256 = fetching.sha256.hexdigest()
            if already_there or places.sha256_of(target) != sha256:
                raise
            already_there = True
        manifest = self._manifest(
            work, target, bytes=fetching.bytes, sha256=sha256, already_there=already_there
        )
        if already_there:
            _log.info("%s is there already, with the same bytes: left alone", target)
        else:
            _log.info("Landed %s: %d bytes, sha256 %s", target, fetching.bytes, sha256)
        self._look_into(manifest, target, work)
        if self._sidecar:
            content = sidecar.build(
                manifest,
                name=target.name,
                job=work.job,
                index=index,
                about=work.about,
                prompt=self._sidecar_prompt,
                landed_at=self._now().isoformat(timespec="seconds"),
            )
            manifest["sidecar"] = sidecar.write(target, content, overwrite=self._overwrite)
        return manifest

    def _manifest(self, work: Results, target: ObjectStoragePath, **found: Any) -> dict[str, Any]:
        return {
            "path": str(target),
            "bytes": found["bytes"],
            "sha256": found["sha256"],
            "content_type": "video/mp4",
            "task_id": work.job.task_id if work.job else None,
            "already_there": found["already_there"],
            "sidecar": None,
            "probe": None,
            "mismatches": [],
        }

    def _look_into(self, manifest: dict[str, Any], target: ObjectStoragePath, work: Results) -> None:
        if not self._verify:
            return
        if not probing.can_probe():
            if self._verify == "fail":
                manifest["mismatches"] = [f"it could not be looked into, which {_NEEDS_PYAV}"]
            return
        found = probing.probe(target)
        manifest["probe"] = found and found.to_dict()
        manifest["mismatches"] = probing.mismatches(found, work.about.asked())


class _Stopped(Exception):
    """Another thread has ended the landing."""


def _of_all(errors: list[BaseException]) -> BaseException:
    """Return the error that says what can still be done: another try, if any file may land by it."""
    errors.sort(key=lambda error: isinstance(error, VidgenError) and error.ends_retries)
    first, *others = errors
    for error in others:
        told = error.what if isinstance(error, VidgenError) else type(error).__name__
        _log.error("Another file of the same job could not be landed either: %s", told)
        if isinstance(first, VidgenError):
            first.what += f"; and another file: {told}"
    return first
