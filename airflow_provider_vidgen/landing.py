# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A result link in, a verified object in storage out.

An object under its final name is whole: the bytes go to a place nobody looks at, and only when length and
container have been checked are they moved there. Landing has retries of its own and never makes a new video.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    InvalidRequest,
    JobNotFound,
    LandingError,
    NotAVideo,
    Problem,
    ResultExpired,
    TargetExists,
)
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.transport.settings import ConnectionSettings

if TYPE_CHECKING:
    import requests
    from airflow.sdk import ObjectStoragePath

_CHUNK = 1024 * 1024
_LARGEST = 8 * 1024**3
_ATTEMPTS = 4
_HEAD = 8
_FIELDS = ("vendor", "model", "task_id", "index", "ext", "map_index")

#: Gives the job's links anew, or an empty sequence if they cannot be had.
Refresh = Callable[[], Sequence[str]]


class Landing:
    """
    Land the results of jobs of one account.

    :param settings: whose result links these are; says whether private addresses may be fetched from.
    :param overwrite: replace another file that is already there.
    :param sleep: waits for so many seconds between attempts.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        overwrite: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._overwrite = overwrite
        self._sleep = sleep

    def land(
        self,
        links: Sequence[str],
        output_path: str,
        *,
        job: VideoJob | None = None,
        map_index: int | None = -1,
        refresh: Refresh | None = None,
    ) -> list[dict[str, Any]]:
        """
        Land every link of a job.

        :param output_path: see :func:`target_for`.
        :param refresh: asks the vendor for the links again, when one of them is dead.
        :return: for each file path, bytes, sha256, content_type and the job's task_id.
        :raises LandingError: a file could not be landed; those before it stay.
        """
        import tenacity

        links = list(links)

        def once(index: int, target: ObjectStoragePath) -> dict[str, Any]:
            return self._land_one(links[index], target, job)

        def renew(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if refresh is not None and isinstance(error, ResultExpired | NotAVideo):
                with suppress(JobNotFound):  # then the link that is dead is the last word
                    fresh = list(refresh())
                    if len(fresh) == len(links):
                        links[:] = fresh

        manifests = []
        for index in range(len(links)):
            target = self.target(
                target_for(
                    output_path, job=job, index=index, of=len(links), map_index=map_index, link=links[index]
                )
            )
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception(lambda error: _may_go_again(error, refresh is not None)),
                wait=tenacity.wait_exponential_jitter(initial=1, max=20, jitter=1),
                stop=_Budget(),
                before_sleep=renew,
                sleep=self._sleep,
                reraise=True,
            )
            try:
                manifests.append(retrying(once, index, target))
            except LandingError as error:
                error.job = error.job or job
                raise
        return manifests

    def target(self, path: str) -> ObjectStoragePath:
        """Return the place in storage."""
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(path)

    def check_target(self, output_path: str) -> None:
        """
        Look at the target before anything is paid.

        :raises InvalidRequest: no storage of that kind is installed, or the path is fixed, occupied, and may
            not be overwritten.
        """
        try:
            storage = self.target(output_path).fs
        except (ValueError, ImportError) as error:
            why = f"no storage of this kind is installed ({type(error).__name__})"
            raise _unusable(output_path, why) from None
        if self._overwrite or output_path.endswith("/") or "{" in output_path:
            return
        target = self.target(output_path)
        if storage.exists(target.path):
            raise _unusable(output_path, "must be free: there is already a file")

    def _land_one(self, link: str, target: ObjectStoragePath, job: VideoJob | None) -> dict[str, Any]:
        from airflow_provider_vidgen.transport.download import open_link

        with open_link(link, self._settings) as response:
            stream = _Verified(response)
            if target.exists() and not self._overwrite:
                _compare(stream, target)
            else:
                with _whole_or_absent(target) as sink:
                    for chunk in stream:
                        sink.write(chunk)
        return {
            "path": str(target),
            "bytes": stream.bytes,
            "sha256": stream.sha256.hexdigest(),
            "content_type": "video/mp4",
            "task_id": job.task_id if job else None,
        }


def _unusable(output_path: str, why: str) -> InvalidRequest:
    problem = Problem(field="output_path", value=redact(output_path), allowed=why)
    return InvalidRequest("The video could not be landed", [problem])


def target_for(
    output_path: str,
    *,
    job: VideoJob | None,
    index: int,
    of: int,
    map_index: int | None,
    link: str = "",
) -> str:
    """
    Return the path of one file of a job.

    ``{vendor}``, ``{model}``, ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled in. A path
    ending in ``/`` is a folder, in which files are named after their job. Several files of one job get
    different names.

    :param output_path: a URL or path as :class:`airflow.sdk.ObjectStoragePath` takes it.
    :param index: of the file among ``of`` files.
    :param link: names the file where there is no job id, the same at each try.
    """
    if output_path.endswith("/"):
        output_path += "{task_id}-{index}.{ext}"
    elif of > 1 and "{index}" not in output_path:
        stem, dot, ext = output_path.rpartition(".")
        output_path = f"{stem}-{{index}}{dot}{ext}" if dot and "/" not in ext else f"{output_path}-{{index}}"
    values = {
        "vendor": job.vendor if job else "unknown",
        "model": job.model if job else "unknown",
        "task_id": (job.task_id if job else "") or hashlib.sha256(link.encode()).hexdigest()[:32],
        "index": str(index),
        "ext": "mp4",
        "map_index": str(map_index),
    }
    return re.sub(
        r"\{(" + "|".join(_FIELDS) + r")\}",
        lambda field: re.sub(r"[^\w.-]+", "_", values[field[1]]).lstrip("."),
        output_path,
    )


class _Verified:
    """The bytes of a reply, counted, hashed, and checked to be a whole MP4 of the announced length."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        import requests

        headers = self._response.headers
        # Of an encoded body the length announced is another one; that it is whole, its decoder has seen.
        encoded = headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
        announced = "" if encoded else headers.get("Content-Length", "")
        try:
            for chunk in _with_whole_head(self._response.iter_content(_CHUNK)):
                if not self.bytes:
                    _check_container(chunk)
                self.bytes += len(chunk)
                if self.bytes > _LARGEST:
                    raise NotAVideo(f"The file is larger than {_LARGEST} bytes")
                self.sha256.update(chunk)
                yield chunk
        except requests.RequestException as error:
            raise DownloadFailed(f"The download broke off ({type(error).__name__})") from None
        if not self.bytes:
            raise NotAVideo("The link gave an empty file")
        if announced.isdigit() and int(announced) != self.bytes:
            raise DownloadFailed(f"The download ended after {self.bytes} of {announced} bytes")


def _with_whole_head(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Hold back the first bytes until there are enough of them to tell the container."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _HEAD:
            yield head
            break
    else:
        if head:
            yield head
    yield from chunks


def _check_container(head: bytes) -> None:
    if head[4:8] != b"ftyp":
        raise NotAVideo("What the link gave does not begin as an MP4 file does")


def _compare(stream: _Verified, target: ObjectStoragePath) -> None:
    """Read the link against the file that is there: the same bytes are the same video, landed before."""
    with target.open("rb") as there:  # type: ignore[no-untyped-call]
        same = all(there.read(len(chunk)) == chunk for chunk in stream) and not there.read(1)
    if not same:
        raise TargetExists(f"There is already another file at {target}")


@contextmanager
def _whole_or_absent(target: ObjectStoragePath) -> Iterator[IO[bytes]]:
    """Open the target for writing so that it appears under its name only if the block ends well."""
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

    target.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(target.fs, LocalFileSystem):
        with target.fs.transaction, target.open("wb") as sink:  # type: ignore[no-untyped-call]
            yield sink
        return
    # fsspec's own transaction moves the file from the temporary directory, which may be another disk.
    final = Path(target.path)
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def _may_go_again(error: BaseException, refreshable: bool) -> bool:
    return isinstance(error, DownloadFailed) or (refreshable and isinstance(error, ResultExpired | NotAVideo))


class _Budget:
    """When to give one file up: a download may break off a few times, a dead link is refreshed once."""

    def __init__(self) -> None:
        self._broken = 0
        self._renewed = False

    def __call__(self, state: Any) -> bool:
        if isinstance(state.outcome.exception(), DownloadFailed):
            self._broken += 1
            return self._broken >= _ATTEMPTS
        spent, self._renewed = self._renewed, True
        return spent
