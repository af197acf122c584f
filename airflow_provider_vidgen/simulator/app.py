# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""All rooms of the simulator under one roof: the vendors, the store of results, the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.cdn import Cdn
from airflow_provider_vidgen.simulator.control import Control
from airflow_provider_vidgen.simulator.desk import Desk
from airflow_provider_vidgen.simulator.limits import bearer_key, is_good
from airflow_provider_vidgen.simulator.vendors import VENDORS
from airflow_provider_vidgen.simulator.webhooks import Webhooks
from airflow_provider_vidgen.simulator.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Seven reference images as data URLs are a large request, and a legal one.
_LARGEST_BODY: Final = 256 * 1024 * 1024


def build_app(world: World) -> web.Application:
    """Join the routes to the state behind them.

    :param world: the state of the simulator.
    """
    webhooks = Webhooks(world)
    world.on_callback = webhooks.watch

    @web.middleware
    async def journal(request: web.Request, handler: Handler) -> web.StreamResponse:
        world.tick()
        if request.path.startswith("/__sim/"):
            return await handler(request)
        good = is_good(bearer_key(request), world.options)
        visit = await world.journal.open(request, good_key=good, now=world.clock.now())
        try:
            response = await handler(request)
        except web.HTTPException as error:
            visit.status = error.status
            raise
        # A fault that hangs up leaves no connection, and then nothing was answered.
        transport = request.transport
        visit.status = None if transport is None or transport.is_closing() else response.status
        return response

    async def stop(app: web.Application) -> None:
        webhooks.cancel()
        world.films.close()

    app = web.Application(middlewares=[journal], client_max_size=_LARGEST_BODY)
    for vendor in VENDORS:
        for endpoint in vendor.endpoints:
            desk = Desk(world, vendor, endpoint)
            app.router.add_route(endpoint.method, f"/{vendor.name}{endpoint.path}", desk.serve)
    cdn = Cdn(world)
    app.router.add_get("/cdn/{vendor}/uploads/{name}", cdn.image)
    app.router.add_get("/cdn/{vendor}/{task_id}/{name}", cdn.result)
    app.add_routes(Control(world, webhooks).routes())
    app.on_shutdown.append(stop)
    return app
