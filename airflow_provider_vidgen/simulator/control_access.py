# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Access to the control API: tools and pages of the simulator's own origin, but no other web page."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import web


def access_error(request: web.Request, public_url: str) -> tuple[int, str] | None:
    """Return HTTP status and message for a control request that must be rejected, or None.

    A browser lets any web page send requests to loopback. It adds ``Origin`` to requests that change
    something, and sends JSON to another origin only after a preflight request. With DNS rebinding the page's
    origin is the simulator's own, so the ``Host`` is checked too: it must be an address, ``localhost`` or
    the public host.

    :param request: the request.
    :param public_url: the URL at which clients reach the simulator.
    """
    host = request.headers.get("Host", "")
    public = urlsplit(public_url)
    if host.lower() != public.netloc.lower() and not _is_address_or_localhost(host):
        return 403, (
            f"the Host {host!r} is not a name of this simulator: "
            "use its address, or start it with --public-url"
        )
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in (
        f"http://{host}".lower(),
        f"{public.scheme}://{public.netloc}".lower(),
    ):
        return 403, f"the control API does not serve pages of other origins, such as {origin!r}"
    content_type = request.headers.get("Content-Type")
    has_body = request.can_read_body or content_type is not None
    if has_body and request.content_type != "application/json":
        return 415, f"the Content-Type must be application/json, not {content_type!r}"
    return None


def exposure_warning(host: str) -> str:
    """Return a warning for an address that other machines can reach; an empty string for loopback.

    :param host: address or name to listen on.
    """
    if all(map(_is_loopback_address, _resolve(host))):
        return ""
    return (
        f"listening on {host}, where other machines reach the simulator without a password: they can read "
        "every request with its prompts and images (/__sim/requests), submit, script and reset jobs, and "
        "change all settings. Use --host 127.0.0.1, or a firewall."
    )


def url_host(host: str) -> str:
    """Return an address as it is written in a URL, with brackets around IPv6.

    :param host: address or name.
    """
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address; names are not resolved.

    :param host: address or name.
    """
    return host.lower() == "localhost" or _is_loopback_address(host)


def _resolve(host: str) -> list[str]:
    try:
        return [str(result[4][0]) for result in socket.getaddrinfo(host, None)]
    except OSError:
        return [host]


def _is_loopback_address(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address_or_localhost(netloc: str) -> bool:
    try:
        host = urlsplit(f"//{netloc}").hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False
