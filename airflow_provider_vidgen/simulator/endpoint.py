# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Request handling of a vendor's endpoint: API key, limits, validation, acceptance, response, and faults."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from email import message_from_bytes, policy
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.billing import key_fingerprint, request_hash
from airflow_provider_vidgen.simulator.callbacks import CallbackSender
from airflow_provider_vidgen.simulator.faults import PAID_ROUTES
from airflow_provider_vidgen.simulator.idempotency import (
    IDEMPOTENCY_HEADER,
    IdempotencyKeyConflict,
    IdempotencyKeyInvalid,
    IdempotentRequest,
)
from airflow_provider_vidgen.simulator.jobs import Job
from airflow_provider_vidgen.simulator.limits import (
    NO_FUNDS_KEY,
    bearer_key,
    is_valid_key,
    retry_after_headers,
)
from airflow_provider_vidgen.simulator.responses import Json, SimulatedResponse, send_faulty
from airflow_provider_vidgen.simulator.state import SimulatorState, UploadedImage
from airflow_provider_vidgen.simulator.vendors.apimodels import P_VIDEO
from airflow_provider_vidgen.simulator.vendors.base import Endpoint, RequestRejected, SimulatedVendor

_IMAGE_EXTENSIONS: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
}
_MAX_UPLOAD_BYTES: Final = 20 * 1024 * 1024
# The response that a fault before acceptance modifies, when there is no job to report.
_RESPONSE_WITHOUT_JOB: Final = SimulatedResponse({"code": 200, "message": "success", "data": {}})
# When all jobs that count against the concurrency limit are stuck.
_DEFAULT_RETRY_SECONDS: Final = 30.0


class EndpointHandler:
    """Handler of one endpoint of one vendor.

    :param state: the state of the simulator.
    :param callbacks: sends the callbacks of accepted jobs.
    :param vendor: the vendor.
    :param endpoint: the endpoint.
    """

    def __init__(
        self, state: SimulatorState, callbacks: CallbackSender, vendor: SimulatedVendor, endpoint: Endpoint
    ) -> None:
        self._state = state
        self._callbacks = callbacks
        self._vendor = vendor
        self._route = endpoint.route
        handlers: dict[str, Callable[[web.Request, str], Awaitable[SimulatedResponse]]] = {
            "create": self._create,
            "p-video": self._create_and_wait,
            "status": self._status,
            "models": self._models,
            "balance": self._balance,
            "upload": self._upload,
        }
        self._handler = handlers[endpoint.route]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle a request, with the fault of the first rule that applies to it.

        :param request: the request.
        """
        fault = self._state.faults.match(self._vendor.name, self._route, _task_id(request))
        if fault is not None and fault.when == "before" and self._route in PAID_ROUTES:
            return await send_faulty(request, fault, _RESPONSE_WITHOUT_JOB)
        idempotent: IdempotentRequest | None = None
        try:
            key = self._authenticate(request)
            replayed = await self._replayed_response(request, key)
            response = replayed or await self._handler(request, key)
            if replayed is None:
                idempotent = await self._store_idempotent_request(request, key)
        except RequestRejected as error:
            response = self._vendor.error_response(error, self._state.options, self._state.random)
        try:
            if fault is None:
                return response.as_aiohttp()
            return await send_faulty(request, fault, response)
        finally:
            if idempotent is not None:
                idempotent.response = response

    def _authenticate(self, request: web.Request) -> str:
        """Return the API key of a request within the rate limit."""
        state = self._state
        key = bearer_key(request)
        if key is None or not is_valid_key(key, state.options):
            raise self._vendor.invalid_key_error()
        delay = state.request_rates.acquire(
            self._vendor.name, key_fingerprint(key), state.clock.now(), state.options
        )
        if delay:
            raise self._rate_limit_error(delay)
        return key

    def _rate_limit_error(self, delay: float) -> RequestRejected:
        headers = retry_after_headers(delay, self._state.clock.now(), self._state.options)
        return RequestRejected(429, "Rate limit exceeded", headers=headers)

    async def _replayed_response(self, request: web.Request, key: str) -> SimulatedResponse | None:
        if not self._has_idempotency_key(request):
            return None
        hashed = request_hash(request.path, await request.read())
        try:
            return self._state.idempotent_requests.replay(
                key_fingerprint(key), request.headers[IDEMPOTENCY_HEADER], hashed
            )
        except IdempotencyKeyInvalid:
            raise RequestRejected(400, "Idempotency-Key must be 1-191 visible ASCII characters") from None
        except IdempotencyKeyConflict:
            raise RequestRejected(
                409, "Idempotency-Key is in use for another request or still in flight"
            ) from None

    async def _store_idempotent_request(self, request: web.Request, key: str) -> IdempotentRequest | None:
        if not self._has_idempotency_key(request):
            return None
        hashed = request_hash(request.path, await request.read())
        return self._state.idempotent_requests.add(
            key_fingerprint(key), request.headers[IDEMPOTENCY_HEADER], hashed
        )

    def _has_idempotency_key(self, request: web.Request) -> bool:
        return (
            IDEMPOTENCY_HEADER in request.headers
            and self._vendor.supports_idempotency_keys
            and self._route == "create"
        )

    async def _create(self, request: web.Request, key: str) -> SimulatedResponse:
        job = self._accept(request, await request.read(), request.match_info.get("model"), key)
        return SimulatedResponse(self._vendor.create_body(job, self._state.options))

    async def _create_and_wait(self, request: web.Request, key: str) -> SimulatedResponse:
        job = self._accept(request, await request.read(), P_VIDEO, key)
        await self._state.clock.wait_until(lambda: job.finishes_at)
        self._state.close_ended_jobs()
        snapshot = self._state.snapshot(job, is_poll=True)
        return SimulatedResponse(self._vendor.status_body(job, snapshot, self._state.options))

    def _accept(self, request: web.Request, raw: bytes, model: str | None, key: str) -> Job:
        state, vendor = self._state, self._vendor
        generation = vendor.parse_request(_json_object(raw), model)
        if key == NO_FUNDS_KEY:
            raise vendor.no_funds_error()
        account = key_fingerprint(key)
        limits = state.options.concurrent_jobs
        limit = limits.get(key, limits.get(vendor.name))
        unfinished = state.jobs.unfinished(vendor.name, account) if limit is not None else []
        if limit is not None and len(unfinished) >= limit:
            delay = min((job.finishes_at for job in unfinished), default=0.0) - state.clock.now()
            raise self._rate_limit_error(delay if delay < float("inf") else _DEFAULT_RETRY_SECONDS)
        job = state.accept(vendor, generation, account, request_hash(request.path, raw))
        if job.request.callback_url is not None:
            self._callbacks.schedule(job)
        return job

    async def _status(self, request: web.Request, key: str) -> SimulatedResponse:
        job = self._state.jobs.get(_task_id(request) or "")
        if job is None or not self._vendor.has_job(job, request.match_info):
            raise self._vendor.unknown_job_error()
        snapshot = self._state.snapshot(job, is_poll=True)
        if job.polls <= job.script.polls_without_data:
            return SimulatedResponse(self._vendor.null_data_body())
        return SimulatedResponse(self._vendor.status_body(job, snapshot, self._state.options))

    async def _models(self, request: web.Request, key: str) -> SimulatedResponse:
        models = [{"id": name, "object": "model"} for name in self._vendor.model_names()]
        return SimulatedResponse({"object": "list", "data": models})

    async def _balance(self, request: web.Request, key: str) -> SimulatedResponse:
        return SimulatedResponse(self._vendor.balance_body(has_funds=key != NO_FUNDS_KEY))

    async def _upload(self, request: web.Request, key: str) -> SimulatedResponse:
        header = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
        message = message_from_bytes(header + await request.read(), policy=policy.HTTP)
        for part in message.iter_parts() if message.is_multipart() else ():
            if part.get_param("name", header="content-disposition") == "file":
                content = part.get_payload(decode=True)
                if isinstance(content, bytes):
                    body = self._store_upload(part.get_filename() or "", part.get_content_type(), content)
                    return SimulatedResponse(body)
        raise RequestRejected(400, "file is required", field="file")

    def _store_upload(self, filename: str, content_type: str, content: bytes) -> Json:
        state = self._state
        if content_type not in _IMAGE_EXTENSIONS:
            raise RequestRejected(400, "file must be JPEG, PNG, GIF or WebP", field="file")
        if len(content) > _MAX_UPLOAD_BYTES:
            raise RequestRejected(413, "file is too large", field="file")
        name = f"{len(state.uploads) + 1}.{_IMAGE_EXTENSIONS[content_type]}"
        state.uploads[name] = UploadedImage(content, content_type)
        return {
            "url": f"{state.url}/cdn/{self._vendor.name}/uploads/{name}",
            "filename": filename,
            "content_type": content_type,
            "bytes": len(content),
            "created_at": int(state.clock.now()),
        }


def _task_id(request: web.Request) -> str | None:
    query = request.query
    return request.match_info.get("task_id") or query.get("task_id") or query.get("taskId")


def _json_object(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise RequestRejected(400, "Invalid JSON body") from None
    if not isinstance(body, dict):
        raise RequestRejected(400, "The body must be a JSON object")
    return body
