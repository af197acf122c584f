# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A TCP proxy before the simulator: it can be down, reset connections, hold an answer, or be a stranger.

The simulator itself keeps running, for its books are the judge of it all.
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

from dev.airflow_settings import HOST, free_port

_CHUNK = 64 * 1024
_PATIENCE = 10.0
_PAGE = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"
_NOT_HERE = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)

Act = Literal["reset before", "reset after", "hold", "not here"]


@dataclass
class Rule:
    """
    What happens to requests of which the bytes contain all of ``words`` and none of ``not_words``.

    :param act: reset before it is passed on, or before its answer is, or hold the answer, or answer with a
        page as a server that is not the vendor's does.
    :param times: how many requests it meets.
    :param share: of the answer's first piece, the part that is passed on before it is held.
    """

    words: Sequence[str]
    act: Act
    times: int = 1
    not_words: Sequence[str] = ()
    share: float = 0.0
    held: threading.Event = field(default_factory=threading.Event)
    met: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    cut: bool = False

    def meets(self, request: bytes) -> bool:
        """Tell whether the rule is for this request."""
        return (
            self.met < self.times
            and all(word.encode() in request for word in self.words)
            and not any(word.encode() in request for word in self.not_words)
        )


class Proxy:
    """The proxy, in a thread of its own, from :meth:`__enter__` to the end of ``with``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.upstream = 0
        self._rules: list[Rule] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    # For the harness

    def up(self) -> None:
        """Take connections."""
        self._do(self._up())

    def down(self) -> None:
        """Refuse connections, and reset those there are."""
        self._do(self._down())

    def add(self, rule: Rule) -> Rule:
        """Take in a rule; the first one that meets a request wins."""
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def release(self, rule: Rule, cut: bool = False) -> None:
        """Pass on what is held, or reset its connection."""

        async def release() -> None:
            rule.cut = cut
            rule.go.set()

        self._do(release())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    # In the loop

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
        behind: asyncio.StreamWriter | None = None
        try:
            answers, behind = await asyncio.open_connection(HOST, self.upstream)
            await _Exchange(self._rules, reader, writer, answers, behind).run()
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            self._tasks.discard(current)
            self._writers.discard(writer)
            for side in filter(None, (writer, behind)):
                with contextlib.suppress(OSError, RuntimeError):
                    side.close()


class _Exchange:
    """One connection."""

    def __init__(
        self,
        rules: list[Rule],
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._rules = rules
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._request = b""
        self._rule: Rule | None = None

    async def run(self) -> None:
        """Pass bytes on until one side hangs up."""
        pumps = {asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())}
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()

    async def _requests(self) -> None:
        while data := await self._client.read(_CHUNK):
            self._request += data
            if self._rule is None:
                self._rule = next((rule for rule in self._rules if rule.meets(self._request)), None)
                if self._rule is not None:
                    self._rule.met += 1
                    if self._rule.act == "reset before":
                        raise ConnectionResetError
                    if self._rule.act == "not here":
                        self._to_client.write(_NOT_HERE)
                        await self._to_client.drain()
                        return
            self._to_server.write(data)
            await self._to_server.drain()

    async def _answers(self) -> None:
        while data := await self._server.read(_CHUNK):
            rule, self._rule, self._request = self._rule, None, b""
            if rule is not None:
                if rule.act == "reset after":
                    raise ConnectionResetError
                part = int(len(data) * rule.share)
                self._to_client.write(data[:part])
                await self._to_client.drain()
                rule.held.set()
                await rule.go.wait()
                if rule.cut:
                    raise ConnectionResetError
                data = data[part:]
            self._to_client.write(data)
            await self._to_client.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Hang up with RST, which is what a client calls a reset."""
    sock = writer.transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
