# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The routes of the player: the bytes of a video, and its poster.

A request names a task instance and the number of a file, never a path. What is played, in this order: a
short-lived signed link of the store; the file, streamed through the API server; the vendor's link while it
lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from airflow_provider_vidgen import airflow_core_access, airflow_core_videos
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.video_status import VideoStatus
from airflow_provider_vidgen.videos_tab import paths
from airflow_provider_vidgen.videos_tab.media_files import (
    MediaError,
    OpenedFile,
    content_disposition,
    open_poster,
    open_video,
    sign,
)
from airflow_provider_vidgen.videos_tab.range_response import RangeResponse
from airflow_provider_vidgen.videos_tab.videos import expiry

#: Seconds that a store may take to open a file.
_TIMEOUT = 30.0
#: A store that hangs must not take the threads in which Airflow's other routes run.
_MAX_THREADS = 20
_MAX_POSTER = 8 * 1024**2
#: A poster does not change under its name, except when its video is made anew.
_POSTER_CACHE = "private, max-age=300"
_VIDEO_CACHE = "private, no-cache"

T = TypeVar("T")


def media_router() -> APIRouter:
    """Return the routes; all of them need read access to the Dag."""
    router = APIRouter(dependencies=airflow_core_access.dependencies(edit=False))
    limiter = anyio.CapacityLimiter(_MAX_THREADS)

    async def in_thread(function: Callable[..., T], *args: Any) -> T:
        with anyio.move_on_after(_TIMEOUT):
            # The thread goes on; nobody waits for it.
            return await anyio.to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)
        raise MediaError(
            HTTPStatus.GATEWAY_TIMEOUT, f"The storage has not answered within {_TIMEOUT:.0f} s. Try again."
        )

    @router.api_route(f"/{paths.FILE}", methods=["GET", "HEAD"])
    async def video_file(
        request: Request,
        dag_id: str = Query(min_length=1),
        run_id: str = Query(min_length=1),
        task_id: str = Query(min_length=1),
        map_index: int = Query(-1, ge=-1, le=paths.MAX_MAP_INDEX),
        number: int = Query(0, ge=0, le=1000),
        download: bool = False,
        stream: bool = False,
    ) -> Response:
        """Play a video, or save it; ``stream`` keeps a browser that cannot reach the store from it."""
        status = await in_thread(_status, dag_id, run_id, task_id, map_index)
        link = _live_link(status, number)
        path = _value_of_file(status, number, "path")
        if not path:
            if link is None:
                raise _nothing_to_play(status, number)
            return _redirect(link)
        try:
            opened = await in_thread(open_video, path)
        except MediaError:
            if link is None or download:
                raise
            return _redirect(link)
        try:
            signed = None if stream else await in_thread(sign_if_possible, opened, download)
        except BaseException:
            opened.file.close()
            raise
        if signed is not None:
            await in_thread(opened.file.close)
            return _redirect(signed)
        return RangeResponse(
            opened.file,
            size=opened.size,
            content_type=opened.content_type,
            etag=opened.etag,
            headers={
                "Content-Disposition": content_disposition(opened.name, download=download),
                "Cache-Control": _VIDEO_CACHE,
            },
            limiter=limiter,
        )

    @router.api_route(f"/{paths.POSTER}", methods=["GET", "HEAD"])
    async def poster(
        dag_id: str = Query(min_length=1),
        run_id: str = Query(min_length=1),
        task_id: str = Query(min_length=1),
        map_index: int = Query(-1, ge=-1, le=paths.MAX_MAP_INDEX),
        number: int = Query(0, ge=0, le=1000),
    ) -> Response:
        """Show a poster; it is small, so it is always sent from here."""
        status = await in_thread(_status, dag_id, run_id, task_id, map_index)
        path = _value_of_file(status, number, "poster")
        if not path:
            raise MediaError(HTTPStatus.NOT_FOUND, "This video has no poster.")
        content, content_type = await in_thread(_read_poster, path)
        headers = {"Cache-Control": _POSTER_CACHE, "Content-Disposition": "inline"}
        return Response(content, media_type=content_type, headers=headers)

    return router


def sign_if_possible(opened: OpenedFile, download: bool) -> str | None:
    """Return a signed link, see :func:`.sign`."""
    return sign(opened, download=download)


def _status(dag_id: str, run_id: str, task_id: str, map_index: int) -> VideoStatus:
    """Return what a task instance reported; no database session stays open while a file is sent."""
    status = VideoStatus.from_json(airflow_core_videos.reported_video(dag_id, run_id, task_id, map_index))
    if status is None:
        raise MediaError(HTTPStatus.NOT_FOUND, "This task has reported no video; it may have been cleared.")
    return status


def _value_of_file(status: VideoStatus, number: int, name: str) -> str:
    """Return a path in the report of a task, empty if there is none."""
    if number >= len(status.files):
        return ""
    manifest: Mapping[str, Any] = status.files[number]
    value = manifest.get(name)
    return value if isinstance(value, str) else ""


def _live_link(status: VideoStatus, number: int) -> str | None:
    """Return the vendor's link of a file, unless it is known to have expired."""
    if number >= len(status.result_urls):
        return None
    link, expires_at = status.result_urls[number], expiry(status)
    return link if paths.is_web_link(link) and (expires_at is None or expires_at > utcnow()) else None


def _nothing_to_play(status: VideoStatus, number: int) -> MediaError:
    expires_at = expiry(status)
    if number < len(status.result_urls) and expires_at is not None and expires_at <= utcnow():
        return MediaError(
            HTTPStatus.GONE,
            f"The vendor's link expired at {expires_at:%Y-%m-%d %H:%M} UTC, and no file was landed. "
            "An output_path keeps the next ones.",
        )
    return MediaError(HTTPStatus.NOT_FOUND, "This task has no such video: neither a file nor a link.")


def _redirect(url: str) -> Response:
    return RedirectResponse(url, status_code=307, headers={"Cache-Control": "private, no-store"})


def _read_poster(path: str) -> tuple[bytes, str]:
    opened = open_poster(path)
    try:
        if opened.size > _MAX_POSTER:
            raise MediaError(HTTPStatus.FORBIDDEN, f"The poster is larger than {_MAX_POSTER // 1024**2} MiB.")
        opened.file.seek(0)
        return opened.file.read(_MAX_POSTER), opened.content_type
    finally:
        opened.file.close()
