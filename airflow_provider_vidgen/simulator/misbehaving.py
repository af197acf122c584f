# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Faults acted out on the socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import re
import socket
import struct
from dataclasses import replace
from typing import Final

from aiohttp import web

from airflow_provider_vidgen.simulator.answers import Answer
from airflow_provider_vidgen.simulator.faults import Fault

HTML: Final = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
)
_HOP: Final = re.compile("[0-9]{1,9}")
_DRIPS: Final = 20
_LIE: Final = 100


async def misbehave(request: web.Request, fault: Fault, answer: Answer) -> web.StreamResponse:
    """Send an answer in the wrong way, or none.

    :param request: the request.
    :param fault: what goes wrong.
    :param answer: what would have been said.
    """
    body = answer.payload
    match fault.kind:
        case "reset":
            return _reset(request)
        case "close":
            return _raw(request, b"")
        case "hang":
            await asyncio.sleep(float("inf") if fault.seconds is None else fault.seconds)
            return _reset(request)
        case "slow_header":
            await asyncio.sleep(fault.seconds or 1.0)
        case "slow_body":
            piece = max(1, -(-len(body) // _DRIPS))
            return await _drip(request, answer, piece, (fault.seconds or 1.0) / _DRIPS)
        case "drip":
            return await _drip(request, answer, 1, 1.0 if fault.seconds is None else fault.seconds)
        case "truncated":
            return _raw(request, _head(answer, len(body)) + body[: int(len(body) * fault.share)])
        case "long_length":
            return _raw(request, _head(answer, len(body) + _LIE) + body)
        case "short_length":
            return _raw(request, _head(answer, max(0, len(body) - _LIE)) + body)
        case "chunked_cut":
            part = body[: int(len(body) * fault.share)]
            return _raw(request, _head(answer, None) + b"%x\r\n%b\r\n" % (len(part), part))
        case "empty":
            answer = replace(answer, body=b"")
        case "content_type":
            answer = replace(answer, content_type=fault.content_type or "text/plain")
        case "html":
            answer = Answer(HTML, content_type="text/html")
        case "html_as_video":
            answer = replace(answer, body=HTML, status=200)
        case "gzip":
            answer = replace(
                answer, body=gzip.compress(body), headers={**answer.headers, "Content-Encoding": "gzip"}
            )
        case "status":
            answer = _told(fault)
        case "busy":
            wait = str(math.ceil(1.0 if fault.seconds is None else fault.seconds))
            answer = replace(
                _told(replace(fault, kind="status")),
                status=fault.status or 503,
                headers={"Retry-After": wait, **fault.headers},
            )
        case "redirect":
            answer = Answer(b"", status=fault.status or 302, headers={"Location": _location(request, fault)})
    return answer.response()


def _told(fault: Fault) -> Answer:
    text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
    body = b"" if fault.body is None else text.encode()
    default = "text/html" if isinstance(fault.body, str) else "application/json"
    return Answer(
        body,
        status=fault.status or 500,
        headers=fault.headers,
        content_type=fault.content_type or default,
    )


def _location(request: web.Request, fault: Fault) -> str:
    if fault.location is not None:
        return fault.location
    hop = request.query.get("hop", "0")
    return str(request.url.update_query(hop=str(int(hop) + 1 if _HOP.fullmatch(hop) else 1)))


def _head(answer: Answer, length: int | None) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} Simulated",
        f"Content-Type: {answer.content_type}",
        "Connection: close",
    ]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines.extend(f"{name}: {value}" for name, value in answer.headers.items() if name != "Content-Length")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _raw(request: web.Request, content: bytes) -> web.StreamResponse:
    """Write bytes past the HTTP layer, which would never send a wrong length, and hang up."""
    if request.transport is not None:
        request.transport.write(content)
        request.transport.close()
    return web.Response()


async def _drip(request: web.Request, answer: Answer, piece: int, pause: float) -> web.StreamResponse:
    body = answer.payload
    if request.transport is not None:
        request.transport.write(_head(answer, len(body)))
    for start in range(0, len(body), piece):
        await asyncio.sleep(pause)
        if request.transport is None:
            break
        request.transport.write(body[start : start + piece])
    return _raw(request, b"")


def _reset(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Without lingering the kernel sends RST instead of FIN, which is what a client calls a reset.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()
