# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A TCP proxy before the simulator that goes down, resets connections, holds responses, or answers 404.

The simulator itself keeps running, because its billing ledger is needed for the check.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from dev.loopback import HOST, free_port

_CHUNK = 64 * 1024
_TIMEOUT = 10.0
_PAGE = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"
_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)

Action = Literal["reset before request", "reset before response", "hold response", "answer 404"]


@dataclass
class FaultRule:
    """
    What the proxy does to requests whose bytes contain all of ``include`` and none of ``exclude``.

    :param action: reset the connection before the request or its response is passed on, hold the response
        until :meth:`FaultProxy.release`, or answer with a page as a server that is not the vendor's.
    :param max_matches: number of requests to which the rule applies.
    :param passed_share: share of the first chunk of the response that is passed on before it is held.
    """

    include: Sequence[str]
    action: Action
    max_matches: int = 1
    exclude: Sequence[str] = ()
    passed_share: float = 0.0
    holding: threading.Event = field(default_factory=threading.Event)
    matches: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    reset_on_release: bool = False

    def applies_to(self, request: bytes) -> bool:
        """Return whether the rule applies to a request."""
        return (
            self.matches < self.max_matches
            and all(text.encode() in request for text in self.include)
            and not any(text.encode() in request for text in self.exclude)
        )


class FaultProxy:
    """The proxy, which runs in a background thread while the ``with`` block lasts."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.upstream_port = 0
        self._rules: list[FaultRule] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT)
        self._loop.close()

    # Called by the harness, in other threads

    def up(self) -> None:
        """Accept connections."""
        self._run_in_loop(self._up())

    def down(self) -> None:
        """Refuse connections, and reset the open ones."""
        self._run_in_loop(self._down())

    def add(self, rule: FaultRule) -> FaultRule:
        """Add a rule; the first rule that applies to a request is used."""
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()

    def release(self, rule: FaultRule, reset: bool = False) -> None:
        """Pass on the held response, or reset its connection."""

        async def release() -> None:
            rule.reset_on_release = reset
            rule.released.set()

        self._run_in_loop(release())

    def _run_in_loop(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT)

    # Called in the event loop

    async def _up(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port, reuse_address=True)

    async def _down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            _reset(writer)
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._tasks.add(current)
        self._writers.add(writer)
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self.upstream_port)
            await _Connection(self._rules, reader, writer, from_server, to_server).run()
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            self._tasks.discard(current)
            self._writers.discard(writer)
            for side in filter(None, (writer, to_server)):
                with contextlib.suppress(OSError, RuntimeError):
                    side.close()


class _Connection:
    """One proxied connection."""

    def __init__(
        self,
        rules: list[FaultRule],
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._rules = rules
        self._from_client, self._to_client = from_client, to_client
        self._from_server, self._to_server = from_server, to_server
        self._request = b""
        self._rule: FaultRule | None = None

    async def run(self) -> None:
        """Forward bytes in both directions until one side closes the connection."""
        directions = {
            asyncio.ensure_future(self._forward_requests()),
            asyncio.ensure_future(self._forward_responses()),
        }
        try:
            done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in done:
                direction.result()
        finally:
            for direction in directions:
                direction.cancel()

    async def _forward_requests(self) -> None:
        while data := await self._from_client.read(_CHUNK):
            self._request += data
            if self._rule is None:
                self._rule = next((rule for rule in self._rules if rule.applies_to(self._request)), None)
                if self._rule is not None:
                    self._rule.matches += 1
                    if self._rule.action == "reset before request":
                        raise ConnectionResetError
                    if self._rule.action == "answer 404":
                        self._to_client.write(_NOT_FOUND)
                        await self._to_client.drain()
                        return
            self._to_server.write(data)
            await self._to_server.drain()

    async def _forward_responses(self) -> None:
        while data := await self._from_server.read(_CHUNK):
            rule, self._rule, self._request = self._rule, None, b""
            if rule is not None:
                if rule.action == "reset before response":
                    raise ConnectionResetError
                passed = int(len(data) * rule.passed_share)
                self._to_client.write(data[:passed])
                await self._to_client.drain()
                rule.holding.set()
                await rule.released.wait()
                if rule.reset_on_release:
                    raise ConnectionResetError
                data = data[passed:]
            self._to_client.write(data)
            await self._to_client.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, which clients report as a connection reset."""
    sock = writer.transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
