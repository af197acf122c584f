# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Where results lie: signed links that die, ranges, and downloads that go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.answers import Answer
from airflow_provider_vidgen.simulator.films import film_of, thumbnail_of
from airflow_provider_vidgen.simulator.misbehaving import misbehave
from airflow_provider_vidgen.simulator.world import World

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_GONE: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
_NOT_YET: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
_GONE_HTML: Final = b"<!DOCTYPE html><html><body>This link has expired.</body></html>"


class Cdn:
    """The store of results of all vendors.

    :param world: the state of the simulator.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Give a video or its thumbnail, if its link is good and alive.

        :param request: the request.
        """
        vendor, task_id = request.match_info["vendor"], request.match_info["task_id"]
        fault = self._world.faults.match(vendor, "download", task_id)
        answer = await self._answer(request, task_id)
        if answer.status in (200, 206) and fault is not None:
            if fault.kind not in ("range_ignored", "range_416"):
                return await misbehave(request, fault, answer)
            whole = await self._whole(request)
            answer = whole if fault.kind == "range_ignored" else _refused_range(len(whole.payload))
        return answer.response()

    async def image(self, request: web.Request) -> web.StreamResponse:
        """Give an uploaded image back.

        :param request: the request.
        """
        upload = self._world.uploads.get(request.match_info["name"])
        if upload is None:
            raise web.HTTPNotFound
        return Answer(upload.content, content_type=upload.content_type).response()

    async def _answer(self, request: web.Request, task_id: str) -> Answer:
        expires = request.query.get("exp", "")
        job = self._world.jobs.get(task_id)
        good = self._world.sign(request.path, expires)
        if job is None or request.query.get("sig") != good:
            return Answer(_GONE, status=403, content_type="application/xml")
        if self._world.clock.now() >= float(expires):
            dead = self._world.options.dead_link
            if dead == "html200":
                return Answer(_GONE_HTML, content_type="text/html")
            return Answer(_GONE, status=int(dead), content_type="application/xml")
        if self._world.clock.now() < job.finishes + job.script.link_late:
            return Answer(_NOT_YET, status=404, content_type="application/xml")
        return _ranged(request, await self._whole(request))

    async def _whole(self, request: web.Request) -> Answer:
        job, name = self._world.jobs.get(request.match_info["task_id"]), request.match_info["name"]
        assert job is not None
        films = [
            thumbnail_of(job),
            *(film_of(job, number) for number in range(1, (job.script.results or 1) + 1)),
        ]
        film = next((film for film in films if film.name == name), None)
        if film is None:
            # Its script was changed after the link was given.
            return Answer(_NOT_YET, status=404, content_type="application/xml")
        # A client that goes away must not take the film with it: others will ask for it.
        content = await asyncio.shield(self._world.films.start(film))
        tag = hashlib.sha256(content).hexdigest()[:32]
        headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        return Answer(content, headers=headers, content_type=film.content_type)


def _ranged(request: web.Request, whole: Answer) -> Answer:
    """Cut out what is asked for; an If-Range that no longer fits gets the whole."""
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if whole.status != 200 or asked is None or asked.groups() == ("", ""):
        return whole
    if request.headers.get("If-Range", whole.headers["ETag"]) != whole.headers["ETag"]:
        return whole
    content = whole.payload
    first, last = asked.groups()
    if first:
        start, stop = int(first), min(int(last or len(content)), len(content) - 1) + 1
    else:
        start, stop = max(0, len(content) - int(last)), len(content)
    if start >= stop:
        return _refused_range(len(content))
    headers = {**whole.headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return Answer(content[start:stop], status=206, headers=headers, content_type=whole.content_type)


def _refused_range(length: int) -> Answer:
    return Answer(b"", status=416, headers={"Content-Range": f"bytes */{length}"})
