# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Every result of a job into its place, with retries, in parallel, and none of them more than once."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    LandingError,
    LinkUnavailable,
    NotPlayable,
    Problem,
    StorageError,
    StorageUnreachable,
    TargetExists,
    UnsafeLink,
    VideoMismatch,
    VidgenError,
)
from airflow_provider_vidgen.http.download_sockets import OpenSockets
from airflow_provider_vidgen.landing import places, posters, probing, sidecar
from airflow_provider_vidgen.landing.described import (
    Described,
    args_for_sidecar,
    problems_with_upload_args,
    protocol_of,
)
from airflow_provider_vidgen.landing.fetching import Fetching
from airflow_provider_vidgen.landing.kinds import Kind
from airflow_provider_vidgen.landing.names import target_for
from airflow_provider_vidgen.landing.places import place_at
from airflow_provider_vidgen.landing.playing import can_play, told_of
from airflow_provider_vidgen.landing.progress import Progress
from airflow_provider_vidgen.landing.results import Refresh, Results, pull_all
from airflow_provider_vidgen.landing.sidecar import About, Known
from airflow_provider_vidgen.landing.storage_errors import in_storage, storage_errors
from airflow_provider_vidgen.landing.storing import Sink, compared, whole_or_absent
from airflow_provider_vidgen.landing.target import problems_with, problems_with_sidecars
from airflow_provider_vidgen.models import VideoJob

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

_AT_ONCE = 3
#: Most of them wait for a link that is not live yet.
_THREADS = 16
#: Seconds for which a task that is being stopped waits for its downloads to take back what they have begun.
_FAREWELL = 5.0
_SIDECAR = "application/json"
_NEEDS_PYAV = "needs PyAV: pip install airflow-provider-vidgen[verify]"

#: ``True`` warns, ``"fail"`` fails.
Verify = bool | Literal["fail"]


@dataclass(frozen=True)
class _Destination:
    """
    Where a file lands.

    :param sidecar: where its sidecar goes; ``None`` if that place cannot be used.
    """

    file: ObjectStoragePath
    sidecar: ObjectStoragePath | None


#: Of one file, by what kind of film it turns out to be.
_Destinations = Mapping[Kind, _Destination]


class Landing:
    """
    Land the results of jobs of one account.

    :param settings: whose result links these are; says whether private addresses may be fetched from.
    :param overwrite: replace another file that is already there.
    :param sidecar: put a ``.json`` beside each file that says what it is; text is the folder for it instead.
    :param sidecar_prompt: with the prompt, images and extra fields.
    :param verify: look into each file where PyAV is installed: ``True`` warns of what was not asked for,
        ``"fail"`` makes it an error, once the file is there.
    :param poster: put a picture beside each file.
    :param upload_args: the store's own arguments for the files; see :mod:`.described`.
    :param sleep: waits for so many seconds between attempts.
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
        self._overwrite = overwrite
        self._sidecar = sidecar
        self._sidecar_prompt = sidecar_prompt
        self._verify = verify
        self._poster = poster
        self._upload_args = upload_args or {}
        self._stop = threading.Event()
        self._connections = OpenSockets()
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

        A link that gives no video is tried for about five minutes. The extension of each file is that of its
        container, which its first bytes tell.

        :param output_path: see :func:`target_for`.
        :param refresh: asks the vendor for the links again, when one of them is dead.
        :param about: for the sidecar, and what to hold the file against.
        :param expires_at: when the links die; ``None`` if that is not known.
        :return: for each file path, bytes, sha256, content_type, the job's task_id, whether it was there
            already, its sidecar, poster, probe and mismatches.
        :raises LandingError: a file could not be landed; the others have been, as far as they could.
            :class:`ResultExpired` only when ``expires_at`` has passed.
        :raises StatusError: a link is dead, and the vendor cannot be asked for another just now.
        """
        work = Results(links, job, refresh, about or About(), expires_at)
        # Here, because a connection of Airflow's is better not looked up by several threads.
        destinations = []
        for index, link in enumerate(links):
            name = partial(
                target_for, output_path, job=job, index=index, of=len(links), map_index=map_index, link=link
            )
            paths = {kind: name(ext=kind.ext) for kind in Kind}
            destinations.append(self._destinations(paths, job, index, map_index))
        protocol = destinations[0][Kind.MP4].file.protocol
        if problems := list(problems_with_upload_args(self._upload_args, protocol)):
            raise StorageError(
                "The upload_args cannot be used",
                job=job,
                vendor_message="; ".join(map(str, problems)),
                next_step="Correct them and clear the task: it lands this video, no new one is made.",
            )
        if len(destinations) == 1:
            return [self._land_one(work, 0, destinations[0])]
        return self._land_several(work, destinations)

    def _destinations(
        self, paths: Mapping[Kind, str], job: VideoJob | None, index: int, map_index: int | None
    ) -> _Destinations:
        """Return where a file may land, and have its storage connected."""
        known: dict[str, _Destination] = {}
        for path in paths.values():
            if path not in known:
                file = place_at(path)
                _ = file.fs
                known[path] = _Destination(file, self._sidecar_of(file, job, index, map_index))
        return {kind: known[path] for kind, path in paths.items()}

    def _sidecar_of(
        self, file: ObjectStoragePath, job: VideoJob | None, index: int, map_index: int | None
    ) -> ObjectStoragePath | None:
        """Return where the sidecar of a file is; ``None`` if that place cannot be used."""
        folder = self._sidecar if isinstance(self._sidecar, str) else None
        try:
            place = sidecar.place_for(file, folder, job=job, index=index, map_index=map_index)
            _ = place.fs
        except Exception as error:  # the video is to land all the same
            _log.warning("The sidecar of %s has no place: %s", file, places.told(error))
            return None
        return place

    def target_problems(self, output_path: str, *, written: object = None) -> list[Problem]:
        """
        Look at the way to the target before anything is paid: from the store of results, and into storage.

        :param written: what all mapped tasks of a run were given for it, before rendering.
        :return: why nothing could land there, or only the first of the mapped tasks.
        :raises StorageUnreachable: nobody knows.
        """
        from airflow_provider_vidgen.http.download import download_problems

        found = download_problems(self._settings)
        if self._verify == "fail" and not can_play():
            found.append(Problem(field="verify", value="'fail'", constraint=_NEEDS_PYAV))
        protocol = protocol_of(output_path)
        wrong_args = list(problems_with_upload_args(self._upload_args, protocol))
        found += wrong_args
        args = {} if wrong_args else self._upload_args
        sidecar_args = args_for_sidecar(args, protocol, protocol_of(self._sidecar))
        video = Described(content_type=Kind.MP4.content_type, upload_args=args)
        described = Described(content_type=_SIDECAR, upload_args=sidecar_args)
        # The look at the storage fills the path in from it.
        vendor, model = self._settings.vendor.name, self._settings.model or "model"
        job = VideoJob(vendor=vendor, base_url="", model=model, task_id="vidgen-try")
        looks: tuple[Callable[[], list[Problem]], ...] = (
            lambda: problems_with(
                output_path, written=written, overwrite=self._overwrite, described=video, job=job
            ),
            lambda: problems_with_sidecars(self._sidecar, described=described, job=job),
        )
        unknown: StorageUnreachable | None = None
        for look in looks:
            try:
                found += look()
            except StorageUnreachable as error:
                unknown = error
        if unknown is not None and not found:
            raise unknown
        return found

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
        from airflow_provider_vidgen.http.download import open_link

        for link in links:
            try:
                with open_link(link, self._settings) as reply:
                    kind = reply.headers.get("Content-Type", "").strip().lower()
            except (LinkUnavailable, UnsafeLink):
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

    def _land_several(self, work: Results, destinations: Sequence[_Destinations]) -> list[dict[str, Any]]:
        futures: list[Future[dict[str, Any]]] = []
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vidgen-landing")
        try:
            for index, of_file in enumerate(destinations):
                run = contextvars.copy_context().run
                futures.append(pool.submit(run, self._land_one, work, index, of_file))
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

    def _land_one(self, work: Results, index: int, destinations: _Destinations) -> dict[str, Any]:
        try:
            with self._slots:
                self._stop_here()
                landed = self._found(work, index, destinations) or self._fetched(work, index, destinations)
                manifest = self._completed(work, index, landed)
        except LandingError as error:
            error.job = error.job or work.job
            raise
        except VidgenError:
            raise
        except Exception as error:
            _log.error(
                "Landing %s ended by an unforeseen error (%s). The video was paid for. A retry downloads "
                "again; no new video is made.",
                f"a file of {work.job}" if work.job else "a file",
                type(error).__name__,
            )
            raise
        self._judge(manifest, work)
        return manifest

    def _judge(self, manifest: Mapping[str, Any], work: Results) -> None:
        """Warn of a landed file that is not what was asked for, or fail."""
        path, odd = manifest["path"], manifest["mismatches"]
        if probing.DOES_NOT_PLAY in odd:
            raise NotPlayable(f"{path} does not play", job=work.job)
        if odd and self._verify == "fail":
            raise VideoMismatch(f"{path} is not what was asked for: {'; '.join(odd)}", job=work.job)
        if odd:
            _log.warning("%s is not what was asked for: %s", path, "; ".join(odd))

    def _found(self, work: Results, index: int, destinations: _Destinations) -> _Landed | None:
        """Return a file that is there already, if its sidecar tells it is the one wanted."""
        if work.job is None or not work.job.task_id:
            return None
        different = {str(each.file): each for each in destinations.values()}
        several = len(different) > 1
        for path, each in different.items():
            with storage_errors(each.file):
                there = each.sidecar is not None and places.exists(each.file)
                told = sidecar.read(each.sidecar, path) if there and each.sidecar else None
                if told is None:
                    continue
                known = sidecar.recognise(each.file, told, work.job, index, work.about.fingerprint)
            if known is Known.SAME:
                _log.info("%s is there already, whole, and of the same job: left alone", path)
                return _Landed.of_sidecar(each, told)
            # Of several names, the one of this film is known only when it comes.
            if known is Known.OTHER and not several and not self._overwrite:
                raise TargetExists(f"The file at {path} is {known.value}")
        return None

    def _fetched(self, work: Results, index: int, destinations: _Destinations) -> _Landed:
        already_there = False
        progress = Progress(f"file {index}")

        def watch(done: int, total: int) -> None:
            self._stop_here()
            progress(done, total)

        @contextmanager
        def open_sink(kind: Kind) -> Iterator[Sink]:
            nonlocal already_there, progress
            file = destinations[kind].file
            progress = Progress(file.name)
            with storage_errors(file):
                already_there = places.exists(file) and not self._overwrite
            described = Described(
                content_type=kind.content_type,
                metadata=_metadata(work.job),
                upload_args=self._upload_args,
            )
            place = (
                compared(file, now=self._now)
                if already_there
                else whole_or_absent(file, overwrite=self._overwrite, described=described, now=self._now)
            )
            with in_storage(file, place) as sink:
                yield sink
                # A connection that was cut may look like one at its end.
                self._stop_here()
                sink.add_metadata("sha256", fetching.sha256.hexdigest())

        fetching = Fetching(self._settings, open_sink, watch, self._connections)
        try:
            with fetching:
                pull_all(work, index, fetching, wait=self._wait, now=self._now)
        except TargetExists:
            # Of another job, or the same bytes: this very file, if the storage's answer to it was lost.
            assert fetching.kind is not None
            file = destinations[fetching.kind].file
            with storage_errors(file):
                if already_there or not places.has_content(file, fetching.sha256.hexdigest()):
                    raise
            already_there = True
        assert fetching.kind is not None
        destination, sha256 = destinations[fetching.kind], fetching.sha256.hexdigest()
        file = destination.file
        if already_there:
            _log.info("%s is there already, with the same bytes: left alone", file)
        else:
            _log.info("Landed %s: %d bytes, sha256 %s", file, fetching.bytes, sha256)
        if PurePosixPath(file.name).suffix.lower() not in (f".{fetching.kind.ext}", ""):
            _log.warning("%s is %s in spite of its name", file, fetching.kind.content_type)
        return _Landed(destination, fetching.kind.content_type, fetching.bytes, sha256, already_there)

    def _completed(self, work: Results, index: int, landed: _Landed) -> dict[str, Any]:
        """
        Put beside a landed file what belongs there, and look into it.

        The sidecar comes first: with it a later try knows the file again, whatever becomes of the rest.
        """
        manifest: dict[str, Any] = {
            "path": str(landed.file),
            "bytes": landed.bytes,
            "sha256": landed.sha256,
            "content_type": landed.content_type,
            "task_id": work.job.task_id if work.job else None,
            "already_there": landed.already_there,
            "sidecar": str(landed.destination.sidecar) if landed.told else None,
            "poster": None,
            "probe": None,
            "mismatches": [],
        }
        if landed.told is None:
            self._write_sidecar(manifest, landed, work, index)
        before = dict(manifest)
        self._look_into(manifest, landed.file, work)
        self._add_poster(manifest, landed, work, index)
        if manifest != before:
            self._write_sidecar(manifest, landed, work, index)
        return manifest

    def _write_sidecar(self, manifest: dict[str, Any], landed: _Landed, work: Results, index: int) -> None:
        place = landed.destination.sidecar
        if not self._sidecar or place is None:
            return
        if landed.told is None:
            content = sidecar.build(
                manifest,
                name=landed.file.name,
                job=work.job,
                index=index,
                about=work.about,
                prompt=self._sidecar_prompt,
                landed_at=self._now().isoformat(timespec="seconds"),
            )
        elif landed.told.get("poster") == manifest["poster"]:
            return
        else:
            # Of an earlier landing, which may have known more of the request.
            content = {**landed.told, "poster": manifest["poster"]}
        args = args_for_sidecar(self._upload_args, landed.file.protocol, place.protocol)
        described = Described(content_type=_SIDECAR, metadata=_metadata(work.job), upload_args=args)
        written = sidecar.write(place, content, overwrite=self._overwrite, described=described)
        manifest["sidecar"] = manifest["sidecar"] or written

    def _add_poster(self, manifest: dict[str, Any], landed: _Landed, work: Results, index: int) -> None:
        """Find the poster of a landed file, or put one beside it. Whatever happens, the file has landed."""
        try:
            told = (landed.told or {}).get("poster")
            manifest["poster"] = told and posters.kept(landed.file, told)
            if self._poster and manifest["poster"] is None:
                # The vendor gives one for a job, and does not say of which file.
                link = work.about.result.get("thumbnail_url") if index == 0 else None
                content = posters.picture_of(
                    landed.file,
                    link,
                    self._settings,
                    connections=self._connections,
                    wait=self._wait,
                    go_on=self._stop_here,
                    now=self._now,
                )
                if content:
                    manifest["poster"] = posters.write(
                        landed.file,
                        content,
                        overwrite=self._overwrite,
                        metadata=_metadata(work.job),
                        upload_args=self._upload_args,
                    )
        except Exception as error:
            _log.warning("%s has no poster (%s)", landed.file, told_of(error))

    def _look_into(self, manifest: dict[str, Any], target: ObjectStoragePath, work: Results) -> None:
        if not self._verify:
            return
        if can_play():
            manifest.update(probing.look_into(target, self._asked(work)))
        elif self._verify == "fail":
            manifest["mismatches"] = [f"it could not be looked into, which {_NEEDS_PYAV}"]

    def _asked(self, work: Results) -> dict[str, Any]:
        """Return what the video can be held against."""
        asked, request = work.about.asked(), work.about.request
        if request is not None and not self._settings.vendor.honours_aspect_ratio(request):
            del asked["aspect_ratio"]
        return asked


@dataclass(frozen=True)
class _Landed:
    """
    A file in its place.

    :param told: what its sidecar said of it, if that was asked.
    """

    destination: _Destination
    content_type: str
    bytes: int
    sha256: str
    already_there: bool
    told: dict[str, Any] | None = None

    @property
    def file(self) -> ObjectStoragePath:
        return self.destination.file

    @classmethod
    def of_sidecar(cls, destination: _Destination, told: dict[str, Any]) -> _Landed:
        file = told["file"]
        return cls(destination, str(file.get("content_type")), file["bytes"], file["sha256"], True, told)


def _metadata(job: VideoJob | None) -> dict[str, str]:
    """Return what a store keeps with each object of a job."""
    return {"vendor": job.vendor, "model": job.model, "jobid": job.task_id} if job else {}


class _Stopped(BaseException):
    """Another thread has ended the landing, which is nobody's error."""


def _of_all(errors: list[BaseException]) -> BaseException:
    """Return the error that says what can still be done: another try, if any file may land by it."""
    errors.sort(key=lambda error: isinstance(error, VidgenError) and error.fatal)
    first, *others = errors
    for error in others:
        told = error.summary if isinstance(error, VidgenError) else type(error).__name__
        _log.error("Another file of the same job could not be landed either: %s", told)
        if isinstance(first, VidgenError):
            first.summary += f"; and another file: {told}"
    return first
