# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""HTTP responses of the simulator, and the faulty ways to send one."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web

from airflow_provider_vidgen.simulator.faults import Fault

Json = dict[str, Any]

_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
)
_REDIRECT_COUNT: Final = re.compile("[0-9]{1,9}")
_SLOW_BODY_PIECES: Final = 20
_CONTENT_LENGTH_ERROR: Final = 100


@dataclass(frozen=True)
class SimulatedResponse:
    """A response before it is sent: a JSON object, or bytes with a content type."""

    body: Json | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def payload(self) -> bytes:
        """The encoded body."""
        if isinstance(self.body, bytes):
            return self.body
        # A prompt may contain a lone surrogate, which a vendor's response repeats.
        return json.dumps(self.body, ensure_ascii=False).encode(errors="replace")

    def as_aiohttp(self) -> web.Response:
        """Return the response for aiohttp."""
        return web.Response(
            body=self.payload,
            status=self.status,
            headers={**self.headers, "Content-Type": self.content_type},
        )


async def send_faulty(request: web.Request, fault: Fault, response: SimulatedResponse) -> web.StreamResponse:
    """Send a response with a fault, or close the connection without one.

    :param request: the request.
    :param fault: the fault.
    :param response: the response without the fault.
    """
    body = response.payload
    match fault.kind:
        case "reset":
            return _reset_connection(request)
        case "close":
            return _write_and_close(request, b"")
        case "hang":
            await asyncio.sleep(float("inf") if fault.seconds is None else fault.seconds)
            return _reset_connection(request)
        case "slow_headers":
            await asyncio.sleep(fault.seconds or 1.0)
        case "slow_body":
            size = max(1, -(-len(body) // _SLOW_BODY_PIECES))
            return await _send_slowly(request, response, size, (fault.seconds or 1.0) / _SLOW_BODY_PIECES)
        case "byte_by_byte":
            return await _send_slowly(request, response, 1, 1.0 if fault.seconds is None else fault.seconds)
        case "truncated":
            part = body[: int(len(body) * fault.body_fraction)]
            return _write_and_close(request, _head(response, len(body)) + part)
        case "content_length_too_long":
            return _write_and_close(request, _head(response, len(body) + _CONTENT_LENGTH_ERROR) + body)
        case "content_length_too_short":
            length = max(0, len(body) - _CONTENT_LENGTH_ERROR)
            return _write_and_close(request, _head(response, length) + body)
        case "chunked_truncated":
            part = body[: int(len(body) * fault.body_fraction)]
            return _write_and_close(request, _head(response, None) + b"%x\r\n%b\r\n" % (len(part), part))
        case "empty_body":
            response = replace(response, body=b"")
        case "wrong_content_type":
            response = replace(response, content_type=fault.content_type or "text/plain")
        case "html":
            response = SimulatedResponse(_HTML, content_type="text/html")
        case "html_as_video":
            response = replace(response, body=_HTML, status=200)
        case "gzip":
            headers = {**response.headers, "Content-Encoding": "gzip"}
            response = replace(response, body=gzip.compress(body), headers=headers)
        case "status":
            response = _status_response(fault, status=500, headers=fault.headers)
        case "busy":
            delay = math.ceil(1.0 if fault.seconds is None else fault.seconds)
            headers = {"Retry-After": str(delay), **fault.headers}
            response = _status_response(fault, status=503, headers=headers)
        case "redirect":
            location = {"Location": _redirect_location(request, fault)}
            response = SimulatedResponse(b"", status=fault.status or 302, headers=location)
    return response.as_aiohttp()


def _status_response(fault: Fault, *, status: int, headers: Mapping[str, str]) -> SimulatedResponse:
    is_text = isinstance(fault.body, str)
    text = fault.body if is_text else json.dumps(fault.body)
    return SimulatedResponse(
        b"" if fault.body is None else text.encode(),
        status=fault.status or status,
        headers=headers,
        content_type=fault.content_type or ("text/html" if is_text else "application/json"),
    )


def _redirect_location(request: web.Request, fault: Fault) -> str:
    if fault.location is not None:
        return fault.location
    count = request.query.get("hop", "0")
    return str(request.url.update_query(hop=str(int(count) + 1 if _REDIRECT_COUNT.fullmatch(count) else 1)))


def _head(response: SimulatedResponse, length: int | None) -> bytes:
    """Return status line and headers; a length of None means chunked."""
    lines = [
        f"HTTP/1.1 {response.status} Simulated",
        f"Content-Type: {response.content_type}",
        "Connection: close",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
    ]
    lines.extend(f"{name}: {value}" for name, value in response.headers.items() if name != "Content-Length")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _write_and_close(request: web.Request, content: bytes) -> web.StreamResponse:
    """Write raw bytes and close the connection; aiohttp itself would never send a wrong length."""
    if request.transport is not None:
        request.transport.write(content)
        request.transport.close()
    return web.Response()


async def _send_slowly(
    request: web.Request, response: SimulatedResponse, size: int, pause: float
) -> web.StreamResponse:
    body = response.payload
    if request.transport is not None:
        request.transport.write(_head(response, len(body)))
    for start in range(0, len(body), size):
        await asyncio.sleep(pause)
        if request.transport is None:
            break
        request.transport.write(body[start : start + size])
    return _write_and_close(request, b"")


def _reset_connection(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # With a linger time of 0 the kernel sends RST instead of FIN: a connection reset at the client.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()
