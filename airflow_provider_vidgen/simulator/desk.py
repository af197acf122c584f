# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The counter of every vendor: key, limits, rules, acceptance, answer, and the faults around them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from email import message_from_bytes, policy
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.answers import Answer, Json
from airflow_provider_vidgen.simulator.billing import key_fingerprint, request_hash
from airflow_provider_vidgen.simulator.faults import PAID_ROUTES
from airflow_provider_vidgen.simulator.idempotency import HEADER, KeyConflict, Keyed, KeyMalformed
from airflow_provider_vidgen.simulator.jobs import Job
from airflow_provider_vidgen.simulator.limits import NO_FUNDS, bearer_key, is_good, retry_headers
from airflow_provider_vidgen.simulator.misbehaving import misbehave
from airflow_provider_vidgen.simulator.vendors.apimodels import P_VIDEO
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, Refusal, Vendor
from airflow_provider_vidgen.simulator.world import Upload, World

_IMAGES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
_LARGEST_UPLOAD: Final = 20 * 1024 * 1024
# What a fault before acceptance garbles: no job stands behind it.
_NOTHING: Final = Answer({"code": 200, "message": "success", "data": {}})
_UNKNOWN_WAIT: Final = 30.0


class Desk:
    """One route of one vendor.

    :param world: the state of the simulator.
    :param vendor: whose rules and words.
    :param endpoint: the route.
    """

    def __init__(self, world: World, vendor: Vendor, endpoint: Endpoint) -> None:
        self._world = world
        self._vendor = vendor
        self._route = endpoint.route
        works: dict[str, Callable[[web.Request, str], Awaitable[Answer]]] = {
            "create": self._create,
            "p-video": self._create_and_wait,
            "status": self._status,
            "models": self._models,
            "balance": self._balance,
            "upload": self._upload,
        }
        self._work = works[endpoint.route]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or fail to in the way a fault rule says.

        :param request: the request.
        """
        fault = self._world.faults.match(self._vendor.name, self._route, _named_job(request))
        if fault is not None and fault.when == "before" and self._route in PAID_ROUTES:
            return await misbehave(request, fault, _NOTHING)
        keyed: Keyed | None = None
        try:
            key = self._admit(request)
            replayed = await self._replayed(request, key)
            answer = replayed or await self._work(request, key)
            if replayed is None:
                keyed = await self._keyed(request, key)
        except Refusal as refusal:
            answer = self._vendor.refused(refusal, self._world.options, self._world.random)
        try:
            return answer.response() if fault is None else await misbehave(request, fault, answer)
        finally:
            if keyed is not None:
                keyed.answer = answer

    def _admit(self, request: web.Request) -> str:
        world, name = self._world, self._vendor.name
        key = bearer_key(request)
        if key is None or not is_good(key, world.options):
            raise self._vendor.bad_key()
        wait = world.rates.wait(name, key_fingerprint(key), world.clock.now(), world.options)
        if wait:
            raise self._too_much(wait)
        return key

    def _too_much(self, wait: float) -> Refusal:
        headers = retry_headers(wait, self._world.clock.now(), self._world.options)
        return Refusal(429, "Rate limit exceeded", headers=headers)

    async def _replayed(self, request: web.Request, key: str) -> Answer | None:
        if HEADER not in request.headers or not self._replays():
            return None
        hashed = request_hash(request.path, await request.read())
        try:
            return self._world.replays.earlier(key_fingerprint(key), request.headers[HEADER], hashed)
        except KeyMalformed:
            raise Refusal(400, "Idempotency-Key must be 1-191 visible ASCII characters") from None
        except KeyConflict:
            raise Refusal(409, "Idempotency-Key is in use for another request or still in flight") from None

    async def _keyed(self, request: web.Request, key: str) -> Keyed | None:
        if HEADER not in request.headers or not self._replays():
            return None
        hashed = request_hash(request.path, await request.read())
        return self._world.replays.begin(key_fingerprint(key), request.headers[HEADER], hashed)

    def _replays(self) -> bool:
        return self._vendor.replays_keys and self._route == "create"

    async def _create(self, request: web.Request, key: str) -> Answer:
        job = self._accept(request, await request.read(), request.match_info.get("model"), key)
        return Answer(self._vendor.created(job, self._world.options))

    async def _create_and_wait(self, request: web.Request, key: str) -> Answer:
        job = self._accept(request, await request.read(), P_VIDEO, key)
        await self._world.clock.wait_until(lambda: job.finishes)
        self._world.tick()
        report = self._world.look(job, counted=True)
        return Answer(self._vendor.status(job, report, self._world.options))

    def _accept(self, request: web.Request, raw: bytes, model: str | None, key: str) -> Job:
        world, vendor = self._world, self._vendor
        order = vendor.read(_json_object(raw), model)
        if key == NO_FUNDS:
            raise vendor.no_funds()
        owner = key_fingerprint(key)
        limits = world.options.concurrent_jobs
        allowed = limits.get(key, limits.get(vendor.name))
        working = world.jobs.unfinished(vendor.name, owner) if allowed is not None else []
        if allowed is not None and len(working) >= allowed:
            wait = min((job.finishes for job in working), default=0.0) - world.clock.now()
            raise self._too_much(wait if wait < float("inf") else _UNKNOWN_WAIT)
        return world.accept(vendor, order, owner, request_hash(request.path, raw))

    async def _status(self, request: web.Request, key: str) -> Answer:
        job = self._world.jobs.get(_named_job(request) or "")
        if job is None or not self._vendor.reads_job(job, request.match_info):
            raise self._vendor.no_job()
        report = self._world.look(job, counted=True)
        if job.polls <= job.script.polls_without_data:
            return Answer(self._vendor.no_data())
        return Answer(self._vendor.status(job, report, self._world.options))

    async def _models(self, request: web.Request, key: str) -> Answer:
        models = [{"id": name, "object": "model"} for name in self._vendor.models()]
        return Answer({"object": "list", "data": models})

    async def _balance(self, request: web.Request, key: str) -> Answer:
        return Answer(self._vendor.balance(funds=key != NO_FUNDS))

    async def _upload(self, request: web.Request, key: str) -> Answer:
        head = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
        message = message_from_bytes(head + await request.read(), policy=policy.HTTP)
        for part in message.iter_parts() if message.is_multipart() else ():
            if part.get_param("name", header="content-disposition") == "file":
                content = part.get_payload(decode=True)
                if isinstance(content, bytes):
                    return Answer(self._store(part.get_filename() or "", part.get_content_type(), content))
        raise Refusal(400, "file is required", field="file")

    def _store(self, filename: str, content_type: str, content: bytes) -> Json:
        if content_type not in _IMAGES:
            raise Refusal(400, "file must be JPEG, PNG, GIF or WebP", field="file")
        if len(content) > _LARGEST_UPLOAD:
            raise Refusal(413, "file is too large", field="file")
        name = f"{len(self._world.uploads) + 1}.{_IMAGES[content_type]}"
        self._world.uploads[name] = Upload(content, content_type)
        return {
            "url": f"{self._world.url}/cdn/{self._vendor.name}/uploads/{name}",
            "filename": filename,
            "content_type": content_type,
            "bytes": len(content),
            "created_at": int(self._world.clock.now()),
        }


def _named_job(request: web.Request) -> str | None:
    query = request.query
    return request.match_info.get("task_id") or query.get("task_id") or query.get("taskId")


def _json_object(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refusal(400, "Invalid JSON body") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object")
    return body
