# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The CDN of all vendors: signed links that expire, range requests, and download faults."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.media import thumbnail_of, videos_of
from airflow_provider_vidgen.simulator.responses import SimulatedResponse, send_faulty
from airflow_provider_vidgen.simulator.state import SimulatorState

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_ACCESS_DENIED: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
_NO_SUCH_KEY: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
_EXPIRED_HTML: Final = b"<!DOCTYPE html><html><body>This link has expired.</body></html>"


class Cdn:
    """Handlers of result files and uploaded images.

    :param state: the state of the simulator.
    """

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Serve a video or thumbnail whose link is valid and has not expired.

        :param request: the request.
        """
        vendor, task_id = request.match_info["vendor"], request.match_info["task_id"]
        fault = self._state.faults.match(vendor, "download", task_id)
        response = await self._response(request, task_id)
        if response.status in (200, 206) and fault is not None:
            if fault.kind not in ("range_ignored", "range_416"):
                return await send_faulty(request, fault, response)
            complete = await self._complete_file(request)
            response = (
                complete if fault.kind == "range_ignored" else _range_not_satisfiable(len(complete.payload))
            )
        return response.as_aiohttp()

    async def uploaded_image(self, request: web.Request) -> web.StreamResponse:
        """Serve an uploaded image.

        :param request: the request.
        """
        upload = self._state.uploads.get(request.match_info["name"])
        if upload is None:
            raise web.HTTPNotFound
        return SimulatedResponse(upload.content, content_type=upload.content_type).as_aiohttp()

    async def _response(self, request: web.Request, task_id: str) -> SimulatedResponse:
        state = self._state
        expires = request.query.get("exp", "")
        job = state.jobs.get(task_id)
        if job is None or request.query.get("sig") != state.link_signature(request.path, expires):
            return _xml_error(403, _ACCESS_DENIED)
        now = state.clock.now()
        if now >= float(expires):
            status = state.options.expired_link_response
            if status == "html200":
                return SimulatedResponse(_EXPIRED_HTML, content_type="text/html")
            return _xml_error(int(status), _ACCESS_DENIED)
        if now < job.finishes_at + job.script.link_delay:
            return _xml_error(404, _NO_SUCH_KEY)
        return _apply_range(request, await self._complete_file(request))

    async def _complete_file(self, request: web.Request) -> SimulatedResponse:
        job, name = self._state.jobs.get(request.match_info["task_id"]), request.match_info["name"]
        assert job is not None
        file = next((file for file in [thumbnail_of(job), *videos_of(job)] if file.name == name), None)
        if file is None:
            # The job's script was changed after the link was made.
            return _xml_error(404, _NO_SUCH_KEY)
        # A client that disconnects must not cancel the rendering, because other clients share its future.
        content = await asyncio.shield(self._state.media.prepare(file))
        etag = hashlib.sha256(content).hexdigest()[:32]
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        return SimulatedResponse(content, headers=headers, content_type=file.content_type)


def _apply_range(request: web.Request, complete: SimulatedResponse) -> SimulatedResponse:
    """Return the requested range; without a valid one, or if ``If-Range`` does not match, the whole file."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if complete.status != 200 or match is None or match.groups() == ("", ""):
        return complete
    if request.headers.get("If-Range", complete.headers["ETag"]) != complete.headers["ETag"]:
        return complete
    content = complete.payload
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last or len(content)), len(content) - 1) + 1
    else:
        start, stop = max(0, len(content) - int(last)), len(content)
    if start >= stop:
        return _range_not_satisfiable(len(content))
    headers = {**complete.headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return SimulatedResponse(
        content[start:stop], status=206, headers=headers, content_type=complete.content_type
    )


def _range_not_satisfiable(length: int) -> SimulatedResponse:
    return SimulatedResponse(b"", status=416, headers={"Content-Range": f"bytes */{length}"})


def _xml_error(status: int, body: bytes) -> SimulatedResponse:
    return SimulatedResponse(body, status=status, content_type="application/xml")
