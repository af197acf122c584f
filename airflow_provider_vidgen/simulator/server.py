# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The simulator's HTTP server: in a thread of this process for tests, or as a process of its own."""

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
from airflow_provider_vidgen.simulator.control_access import url_host
from airflow_provider_vidgen.simulator.media import MediaCache, MediaFile, placeholder, render
from airflow_provider_vidgen.simulator.options import NEEDS_EXTRA, Options, can_render
from airflow_provider_vidgen.simulator.state import SimulatorState

_START_STOP_TIMEOUT: Final = 10.0


async def serve(
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    render_videos: bool | None = None,
    speed: float = 1.0,
    start_time: float | None = None,
    seed: int | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    options: Mapping[str, Any] | None = None,
    public_url: str | None = None,
) -> None:
    """Serve the four vendors until stopped.

    :param stop: event that stops the server.
    :param on_ready: called with the URL when the server accepts requests.
    :param render_videos: render real videos; None does if the extra ``simulator`` is installed.
    :param speed: virtual seconds per real second; 0 stops the clock until it is advanced.
    :param start_time: initial virtual time, in seconds since 1970; the real time when None.
    :param seed: makes the job ids the same at each start; with None, no id is ever used again.
    :param host: address to listen on.
    :param port: port to listen on; 0 selects a free one.
    :param options: values that differ from the defaults of :class:`~.options.Options`.
    :param public_url: URL at which clients reach the simulator, if not host and port; starts result links.
    """
    if render_videos and not can_render():
        raise RuntimeError(f"a real video {NEEDS_EXTRA}")
    make: Callable[[MediaFile], bytes] = (
        render if render_videos is not False and can_render() else placeholder
    )
    clock = VirtualClock(start_time, speed)
    state = SimulatorState(clock, Options().changed(options or {}), MediaCache(make), seed)
    # A client that disconnects cancels its handler; a job accepted before that stays accepted.
    runner = web.AppRunner(build_app(state), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        url = f"http://{url_host(host)}:{runner.addresses[0][1]}"
        state.url = (public_url or url).rstrip("/")
        on_ready(url)
        await stop.wait()
    finally:
        await runner.cleanup()


class Simulator(SimulatorClient):
    """A simulator in a thread of this process, with the client of its control API. A context manager.

    :param render: render real videos; None does if the extra ``simulator`` is installed.
    :param speed: virtual seconds per real second; 0 stops the clock until :meth:`advance`.
    :param start_time: initial virtual time, in seconds since 1970; the real time when None.
    :param seed: makes the job ids the same at each start; with None, no id is ever used again.
    :param host: address to listen on.
    :param port: port to listen on; 0 selects a free one.
    :param options: values that differ from the defaults of :class:`~.options.Options`.
    :param public_url: URL at which clients reach the simulator, if not host and port; starts result links.
    """

    def __init__(
        self,
        *,
        render: bool | None = None,
        speed: float = 1.0,
        start_time: float | None = None,
        seed: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        options: Mapping[str, Any] | None = None,
        public_url: str | None = None,
    ) -> None:
        super().__init__("")
        self._arguments: dict[str, Any] = {
            "render_videos": render,
            "speed": speed,
            "start_time": start_time,
            "seed": seed,
            "host": host,
            "port": port,
            "options": options,
            "public_url": public_url,
        }
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> Self:
        """Start the server, and return when it accepts requests.

        :raises RuntimeError: the server did not start; the cause is its error.
        """
        self._thread = threading.Thread(target=self._run, name="vidgen-simulator", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_STOP_TIMEOUT) or self._error is not None:
            raise RuntimeError("the simulator did not start") from self._error
        return self

    def stop(self) -> None:
        """Stop the server, and wait for the end of its thread."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_START_STOP_TIMEOUT)

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
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def on_ready(url: str) -> None:
            self.url = url
            self._started.set()

        await serve(stop=self._stop, on_ready=on_ready, **self._arguments)
