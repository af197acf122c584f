# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The simulator on a port: in this process for tests, or as a process of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from airflow_provider_vidgen.simulator.app import build_app
from airflow_provider_vidgen.simulator.client import SimulatorClient
from airflow_provider_vidgen.simulator.clock import VirtualClock
from airflow_provider_vidgen.simulator.extras import MISSING, can_render
from airflow_provider_vidgen.simulator.films import Film, FilmStore
from airflow_provider_vidgen.simulator.guard import in_url
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.rendering import light, render
from airflow_provider_vidgen.simulator.world import World

_PATIENCE: Final = 10.0


async def serve(
    *,
    stop: asyncio.Event,
    ready: Callable[[str], None],
    host: str = "127.0.0.1",
    port: int = 0,
    speed: float = 1.0,
    start: float | None = None,
    seed: int | None = None,
    rendering: bool | None = None,
    options: Mapping[str, Any] | None = None,
    public_url: str | None = None,
) -> None:
    """Serve the four vendors until told to stop.

    :param stop: set it to end.
    :param ready: called with the URL once requests are taken.
    :param host: address to listen on.
    :param port: port to listen on; 0 takes a free one.
    :param speed: virtual seconds for each real second; 0 stands still until advanced.
    :param start: virtual time at the beginning; the real time when left out.
    :param seed: gives the same ids of jobs at each start; without one, no id is ever given again.
    :param rendering: make real videos; None does if the extra ``simulator`` is installed.
    :param options: settings that differ from the usual ones, see :class:`~.options.Options`.
    :param public_url: how clients reach this place, if not at host and port; result links begin with it.
    """
    if rendering and not can_render():
        raise RuntimeError(f"a real video {MISSING}")
    make: Callable[[Film], bytes] = render if rendering is not False and can_render() else light
    world = World(VirtualClock(start, speed), Options().changed(options or {}), FilmStore(make), seed)
    # A client that goes away ends what hangs for it; whatever was accepted before stays accepted.
    runner = web.AppRunner(build_app(world), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        url = f"http://{in_url(host)}:{runner.addresses[0][1]}"
        world.url = (public_url or url).rstrip("/")
        ready(url)
        await stop.wait()
    finally:
        await runner.cleanup()


class Simulator(SimulatorClient):
    """A simulator in a thread of this process, on a free port, with the client for its control API.

    :param render: make real videos; None does if the extra ``simulator`` is installed.
    :param speed: virtual seconds for each real second; 0 stands still until :meth:`advance`.
    :param start: virtual time at the beginning; the real time when left out.
    :param seed: gives the same ids of jobs at each start; without one, no id is ever given again.
    :param host: address to listen on.
    :param port: port to listen on; 0 takes a free one.
    :param options: settings that differ from the usual ones, see :class:`~.options.Options`.
    :param public_url: how clients reach this place, if not at host and port; result links begin with it.
    """

    def __init__(
        self,
        *,
        render: bool | None = None,
        speed: float = 1.0,
        start: float | None = None,
        seed: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        options: Mapping[str, Any] | None = None,
        public_url: str | None = None,
    ) -> None:
        super().__init__("")
        self._settings: dict[str, Any] = {
            "rendering": render,
            "speed": speed,
            "start": start,
            "seed": seed,
            "host": host,
            "port": port,
            "options": options,
            "public_url": public_url,
        }
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> Self:
        """Begin to serve; returns once requests are taken."""
        self._thread = threading.Thread(target=self._run, name="vidgen-simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_PATIENCE) or self._failure is not None:
            raise RuntimeError("the simulator did not start") from self._failure
        return self

    def stop(self) -> None:
        """End, and wait for the end."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def ready(url: str) -> None:
            self.url = url
            self._ready.set()

        await serve(stop=self._stop, ready=ready, **self._settings)
