# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
What all triggers of an event loop share: one session, the accounts, and what connections say.

A triggerer runs all its triggers in one loop. What is shared is dropped with the last trigger that uses it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.http.egress import EgressError, tls_context
from airflow_provider_vidgen.limits.account_limits import AccountLimits

_CONNECTIONS = 100
#: Seconds for which a connection is not looked up again.
_KEPT = 60.0


class LoopResources:
    """What the triggers of the running loop share; see :func:`loop_resources`."""

    def __init__(self) -> None:
        self.users = 0
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
        )
        #: Who waits for a free one of the session's connections waits here, not within a request's timeout.
        self.connections = asyncio.Semaphore(_CONNECTIONS)
        #: Of a thousand triggers that waited for the same lookup one passes in each turn of the loop, so that
        #: others have their turns in between.
        self.gate = asyncio.Lock()
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        self._accounts: dict[tuple[str, str], AccountLimits] = {}
        self._settings: dict[str, tuple[float, asyncio.Task[ConnectionSettings]]] = {}

    async def settings(
        self, conn_id: str, look_up: Callable[[], Awaitable[ConnectionSettings]]
    ) -> ConnectionSettings:
        """
        Return what a connection says, looked up once for all who ask within a minute.

        :raises Exception: what the lookup raised; it is not kept.
        """
        loop = asyncio.get_running_loop()
        until, lookup = self._settings.get(conn_id, (0.0, None))
        if lookup is None or loop.time() >= until or (lookup.done() and lookup.exception()):
            lookup = asyncio.ensure_future(look_up())
            self._settings[conn_id] = (loop.time() + _KEPT, lookup)
        # Whoever is cancelled while it goes on must not take it from the others.
        return await asyncio.shield(lookup)

    async def tls(self) -> ssl.SSLContext:
        """
        Return whom to trust. The certificates are read once, in a thread.

        :raises StatusUnavailable: those that the environment names cannot be used.
        """
        if self._tls is None or (self._tls.done() and self._tls.exception()):
            self._tls = asyncio.ensure_future(asyncio.to_thread(tls_context))
        try:
            # Whoever is cancelled while it goes on must not take it from the others.
            return await asyncio.shield(self._tls)
        except EgressError as error:
            raise StatusUnavailable(f"The triggerer cannot ask over TLS ({error})") from None

    def forget(self, conn_id: str) -> None:
        """Look the connection up again next time: its key was not accepted."""
        self._settings.pop(conn_id, None)

    def account(self, settings: ConnectionSettings) -> AccountLimits:
        """Return the account for the connection's key and base URL."""
        account = self._accounts.setdefault((settings.base_url, settings.api_key), AccountLimits())
        account.limit(settings)
        return account


_resources: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopResources] = WeakKeyDictionary()


@asynccontextmanager
async def loop_resources() -> AsyncIterator[LoopResources]:
    """Lend what the running loop shares; the last one to give it back closes the session."""
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
