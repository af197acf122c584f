# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The control API under ``/__sim/``: inspect the simulator; set faults, options, scripts and the clock."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from aiohttp import web
from pydantic import Field

from airflow_provider_vidgen.simulator.callbacks import CallbackSender
from airflow_provider_vidgen.simulator.control_access import access_error
from airflow_provider_vidgen.simulator.responses import Json
from airflow_provider_vidgen.simulator.state import SimulatorState
from airflow_provider_vidgen.simulator.validation import MAX_SECONDS, STRICT, Seconds, validate

Action = Callable[[web.Request, Json], Any]


@dataclass(frozen=True)
class _ClockChange:
    __pydantic_config__: ClassVar = STRICT

    speed: Annotated[float, Field(ge=0, le=MAX_SECONDS)] | None = None
    advance: Seconds = 0.0


class ControlApi:
    """Handlers of the control API.

    :param state: the state of the simulator.
    :param callbacks: its callbacks, which a reset cancels.
    """

    def __init__(self, state: SimulatorState, callbacks: CallbackSender) -> None:
        self._state = state
        self._callbacks = callbacks

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for aiohttp."""
        actions: list[tuple[str, str, Action]] = [
            ("GET", "/ledger", self._ledger),
            ("GET", "/requests", self._requests),
            ("GET", "/jobs", self._jobs),
            ("POST", "/jobs/{task_id}", self._script_job),
            ("GET", "/callbacks", self._callback_attempts),
            ("GET", "/faults", self._faults),
            ("POST", "/faults", self._add_fault),
            ("DELETE", "/faults", self._clear_faults),
            ("GET", "/options", self._options),
            ("POST", "/options", self._change_options),
            ("GET", "/clock", self._clock),
            ("POST", "/clock", self._change_clock),
            ("POST", "/reset", self._reset),
        ]
        return [web.route(method, f"/__sim{path}", self._handler(action)) for method, path, action in actions]

    def _ledger(self, request: web.Request, body: Json) -> Any:
        return asdict(self._state.billing.report())

    def _requests(self, request: web.Request, body: Json) -> Any:
        return [asdict(entry) for entry in self._state.request_log.entries]

    def _jobs(self, request: web.Request, body: Json) -> Any:
        now = self._state.clock.now()
        return [asdict(job.view(now)) for job in self._state.jobs]

    def _script_job(self, request: web.Request, body: Json) -> Any:
        job = self._state.jobs.get(request.match_info["task_id"])
        if job is None:
            raise web.HTTPNotFound(text="no such job")
        if job.ended and set(body) & {"job_seconds", "outcome", "stuck"}:
            raise ValueError("the job has ended, and its bill is closed")
        self._state.change_script(job, body)
        return asdict(job.view(self._state.clock.now()))

    def _callback_attempts(self, request: web.Request, body: Json) -> Any:
        return [asdict(attempt) for attempt in self._callbacks.attempts]

    def _faults(self, request: web.Request, body: Json) -> Any:
        return [asdict(rule) for rule in self._state.faults.rules]

    def _add_fault(self, request: web.Request, body: Json) -> Any:
        self._state.faults.add(body)
        return self._faults(request, body)

    def _clear_faults(self, request: web.Request, body: Json) -> Any:
        self._state.faults.clear()
        return []

    def _options(self, request: web.Request, body: Json) -> Any:
        return self._state.options.as_json()

    def _change_options(self, request: web.Request, body: Json) -> Any:
        self._state.options = self._state.options.changed(body)
        return self._options(request, body)

    def _clock(self, request: web.Request, body: Json) -> Any:
        return {"now": self._state.clock.now(), "speed": self._state.clock.speed}

    def _change_clock(self, request: web.Request, body: Json) -> Any:
        change = validate(_ClockChange, body)
        if change.speed is not None:
            self._state.clock.set_speed(change.speed)
        self._state.clock.advance(change.advance)
        self._state.close_ended_jobs()
        return self._clock(request, body)

    def _reset(self, request: web.Request, body: Json) -> Any:
        self._callbacks.reset()
        self._state.reset()
        return {}

    def _handler(self, action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if rejection := access_error(request, self._state.url):
                status, message = rejection
                return web.json_response({"error": message}, status=status)
            try:
                raw = await request.read()
                body = json.loads(raw) if raw else {}
                if not isinstance(body, dict):
                    raise ValueError("the body must be a JSON object")
                return web.json_response(action(request, body))
            except (ValueError, TypeError, RecursionError) as error:
                return web.json_response({"error": str(error)}, status=400)

        return handle
