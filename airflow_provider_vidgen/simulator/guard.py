# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Who may use the control API: tools, and pages of the simulator's own origin, but no other web page."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import web


def refusal(request: web.Request, public_url: str) -> tuple[int, str] | None:
    """Give status and reason if a control request is to be refused.

    A browser sends any page's requests to loopback. It tells the page's origin with those that change
    something, and sends JSON for another origin only after asking. A name that an attacker points at this
    machine makes the page's origin ours, so the name has to be known, too; an address cannot be pointed.

    :param request: the request.
    :param public_url: how clients reach the simulator; its host is a name of ours.
    """
    host = request.headers.get("Host", "")
    own = urlsplit(public_url)
    if host.lower() != own.netloc.lower() and not _is_address_or_local(host):
        return 403, (
            f"the Host {host!r} is no name of this simulator: use its address, or start it with --public-url"
        )
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in (
        f"http://{host}".lower(),
        f"{own.scheme}://{own.netloc}".lower(),
    ):
        return 403, f"the control API is not for pages of other origins, such as {origin!r}"
    told = request.headers.get("Content-Type")
    if (request.can_read_body or told is not None) and request.content_type != "application/json":
        return 415, f"the Content-Type has to be application/json, not {told!r}"
    return None


def exposure(host: str) -> str:
    """Say what listening at an address exposes to others; empty text for a loopback address.

    :param host: address or name to listen on.
    """
    if all(map(_is_loopback, _addresses(host))):
        return ""
    return (
        f"listening on {host}, where other machines reach the simulator without a password: they can read "
        "every request with its prompts and images (/__sim/requests), submit, script and reset jobs, and "
        "change all settings. Use --host 127.0.0.1, or a firewall."
    )


def in_url(host: str) -> str:
    """Write an address as it stands in a URL.

    :param host: address or name.
    """
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Say whether an address or ``localhost`` stands for this machine alone.

    :param host: address or name; names are not looked up.
    """
    return host.lower() == "localhost" or _is_loopback(host)


def _addresses(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    except OSError:
        return [host]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address_or_local(netloc: str) -> bool:
    try:
        host = urlsplit(f"//{netloc}").hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False
