# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What all triggers of an event loop share: one session, the settings of connections, and rate limits.

A triggerer runs all its triggers in one loop. The resources are released with the last trigger that uses
them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.http.egress import tls_context
from airflow_provider_vidgen.limits.account_limits import AccountLimits

_MAX_CONNECTIONS = 100
#: Seconds for which the settings of a connection are cached.
_SETTINGS_TTL = 60.0


class LoopResources:
    """The resources of one event loop; see :func:`loop_resources`."""

    def __init__(self) -> None:
        self.users = 0
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
        )
        #: Wait for a pooled connection here, outside the request's timeout.
        self.request_slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._stagger_lock = asyncio.Lock()
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        self._limits: dict[tuple[str, str], AccountLimits] = {}
        self._settings: dict[str, tuple[float, asyncio.Task[ConnectionSettings]]] = {}

    async def settings(
        self, conn_id: str, fetch: Callable[[], Awaitable[ConnectionSettings]]
    ) -> ConnectionSettings:
        """
        Return the settings of a connection, fetched once a minute for all triggers.

        :raises Exception: what ``fetch`` raised; a failure is not cached.
        """
        loop = asyncio.get_running_loop()
        expires_at, fetching = self._settings.get(conn_id, (0.0, None))
        if fetching is None or loop.time() >= expires_at or (fetching.done() and fetching.exception()):
            fetching = asyncio.ensure_future(fetch())
            self._settings[conn_id] = (loop.time() + _SETTINGS_TTL, fetching)
        # Shielded: cancelling one trigger must not cancel the fetch for the others.
        return await asyncio.shield(fetching)

    def invalidate_settings(self, conn_id: str) -> None:
        """Fetch the connection again next time, because its API key was refused."""
        self._settings.pop(conn_id, None)

    async def stagger(self) -> None:
        """
        Let one caller continue per iteration of the event loop.

        A thousand triggers that waited for the same fetch would otherwise all continue in one iteration, and
        block everything else in the loop meanwhile.
        """
        async with self._stagger_lock:
            await asyncio.sleep(0)

    async def tls(self) -> ssl.SSLContext:
        """
        Return the TLS context; the certificates are read once, in a thread.

        :raises EgressError: the certificates that the environment names cannot be used.
        """
        if self._tls is None or (self._tls.done() and self._tls.exception()):
            self._tls = asyncio.ensure_future(asyncio.to_thread(tls_context))
        # Shielded: cancelling one trigger must not cancel the reading for the others.
        return await asyncio.shield(self._tls)

    def limits_for(self, settings: ConnectionSettings) -> AccountLimits:
        """Return the limits of the account: of the connection's API key at its base URL."""
        limits = self._limits.setdefault((settings.base_url, settings.api_key), AccountLimits())
        limits.set_rate_limit(settings.rate_limit)
        return limits


_resources: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopResources] = WeakKeyDictionary()


@asynccontextmanager
async def loop_resources() -> AsyncIterator[LoopResources]:
    """Share the running loop's resources; the session is closed with the last user."""
    loop = asyncio.get_running_loop()
    resources = _resources.get(loop)
    if resources is None:
        resources = _resources[loop] = LoopResources()
    resources.users += 1
    try:
        yield resources
    finally:
        resources.users -= 1
        if not resources.users:
            del _resources[loop]
            await resources.session.close()
