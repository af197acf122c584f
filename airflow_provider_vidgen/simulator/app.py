# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The aiohttp application: the vendors' endpoints, the CDN, the control API, and the request log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.callbacks import CallbackSender
from airflow_provider_vidgen.simulator.cdn import Cdn
from airflow_provider_vidgen.simulator.control import ControlApi
from airflow_provider_vidgen.simulator.endpoint import EndpointHandler
from airflow_provider_vidgen.simulator.limits import bearer_key, is_valid_key
from airflow_provider_vidgen.simulator.state import SimulatorState
from airflow_provider_vidgen.simulator.vendors import VENDORS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A valid request may contain seven reference images as data URLs.
_MAX_BODY_BYTES: Final = 256 * 1024 * 1024


def build_app(state: SimulatorState) -> web.Application:
    """Build the application.

    :param state: the state of the simulator.
    """
    callbacks = CallbackSender(state)

    @web.middleware
    async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
        state.close_ended_jobs()
        if request.path.startswith("/__sim/"):
            return await handler(request)
        valid_key = is_valid_key(bearer_key(request), state.options)
        entry = await state.request_log.add(request, valid_key=valid_key, now=state.clock.now())
        try:
            response = await handler(request)
        except web.HTTPException as error:
            entry.status = error.status
            raise
        # A fault that closes the connection has no status: nothing, or raw bytes, were sent.
        transport = request.transport
        entry.status = None if transport is None or transport.is_closing() else response.status
        return response

    async def shut_down(app: web.Application) -> None:
        callbacks.reset()
        state.media.close()

    app = web.Application(middlewares=[log_requests], client_max_size=_MAX_BODY_BYTES)
    for vendor in VENDORS:
        for endpoint in vendor.endpoints:
            handler = EndpointHandler(state, callbacks, vendor, endpoint)
            app.router.add_route(endpoint.method, f"/{vendor.name}{endpoint.path}", handler.handle)
    cdn = Cdn(state)
    app.router.add_get("/cdn/{vendor}/uploads/{name}", cdn.uploaded_image)
    app.router.add_get("/cdn/{vendor}/{task_id}/{name}", cdn.result)
    app.add_routes(ControlApi(state, callbacks).routes())
    app.on_shutdown.append(shut_down)
    return app
