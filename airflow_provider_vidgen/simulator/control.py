# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The control API under ``/__sim/``: look behind the counter, and make things go wrong."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from aiohttp import web
from pydantic import Field

from airflow_provider_vidgen.simulator.answers import Json
from airflow_provider_vidgen.simulator.checking import LONGEST, STRICT, Seconds, checked
from airflow_provider_vidgen.simulator.guard import refusal
from airflow_provider_vidgen.simulator.webhooks import Webhooks
from airflow_provider_vidgen.simulator.world import World

Action = Callable[[web.Request, Json], Any]


@dataclass(frozen=True)
class _ClockChange:
    __pydantic_config__: ClassVar = STRICT

    speed: Annotated[float, Field(ge=0, le=LONGEST)] | None = None
    advance: Seconds = 0.0


class Control:
    """The control API.

    :param world: the state of the simulator.
    :param webhooks: its deliveries, to be stopped by a reset.
    """

    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world = world
        self._webhooks = webhooks

    def routes(self) -> list[web.RouteDef]:
        """Give the routes for aiohttp."""
        actions: list[tuple[str, str, Action]] = [
            ("GET", "/ledger", lambda request, body: self._world.books.as_json()),
            ("GET", "/requests", lambda request, body: self._world.journal.as_json()),
            ("GET", "/jobs", self._jobs),
            ("POST", "/jobs/{task_id}", self._script),
            ("GET", "/webhooks", lambda request, body: self._world.deliveries),
            ("GET", "/faults", lambda request, body: self._world.faults.as_json()),
            ("POST", "/faults", self._add_fault),
            ("DELETE", "/faults", self._clear_faults),
            ("GET", "/options", lambda request, body: self._world.options.as_json()),
            ("POST", "/options", self._options),
            ("GET", "/clock", self._clock),
            ("POST", "/clock", self._set_clock),
            ("POST", "/reset", self._reset),
        ]
        return [web.route(method, f"/__sim{path}", self._serving(action)) for method, path, action in actions]

    def _jobs(self, request: web.Request, body: Json) -> Any:
        now = self._world.clock.now()
        return [job.as_json(now) for job in self._world.jobs]

    def _script(self, request: web.Request, body: Json) -> Any:
        job = self._world.jobs.get(request.match_info["task_id"])
        if job is None:
            raise web.HTTPNotFound(text="no such job")
        if job.closed and set(body) & {"seconds", "outcome", "stuck"}:
            raise ValueError("the job has ended, and its bill is closed")
        self._world.rewrite(job, body)
        return job.as_json(self._world.clock.now())

    def _add_fault(self, request: web.Request, body: Json) -> Any:
        self._world.faults.add(body)
        return self._world.faults.as_json()

    def _clear_faults(self, request: web.Request, body: Json) -> Any:
        self._world.faults.clear()
        return []

    def _options(self, request: web.Request, body: Json) -> Any:
        self._world.options = self._world.options.changed(body)
        return self._world.options.as_json()

    def _clock(self, request: web.Request, body: Json) -> Any:
        return {"now": self._world.clock.now(), "speed": self._world.clock.speed}

    def _set_clock(self, request: web.Request, body: Json) -> Any:
        change = checked(_ClockChange, body)
        if change.speed is not None:
            self._world.clock.set_speed(change.speed)
        self._world.clock.advance(change.advance)
        self._world.tick()
        return self._clock(request, body)

    def _reset(self, request: web.Request, body: Json) -> Any:
        self._webhooks.cancel()
        self._world.reset()
        return {}

    def _serving(self, action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            if refused := refusal(request, self._world.url):
                return web.json_response({"error": refused[1]}, status=refused[0])
            try:
                raw = await request.read()
                body = json.loads(raw) if raw else {}
                if not isinstance(body, dict):
                    raise ValueError("the body must be a JSON object")
                return web.json_response(action(request, body))
            except (ValueError, TypeError, RecursionError) as error:
                return web.json_response({"error": str(error)}, status=400)

        return serve
