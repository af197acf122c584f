# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How this machine reaches the internet: through which proxy, and trusting which certificates.

The environment says so, in the variables that requests and OpenSSL read. Submits, checks and downloads, on
workers and on the triggerer, all ask here, so that none of them goes another way than the others.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from requests.exceptions import ProxyError
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from airflow_provider_vidgen.errors import Problem

#: Each replaces all other certificates; the first one that is set counts.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: These replace the system's certificates.
_SYSTEM = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PORTS = {"http": 80, "https": 443}
#: Proxy Authentication Required.
_REFUSES = 407
_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b")


class EgressError(Exception):
    """
    The environment names a proxy or certificates that cannot be used.

    :param problem: the variable, and what it may hold.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Proxy:
    """
    A forward proxy.

    :param url: for the HTTP libraries only; may hold a password.
    :param address: host and port, as they may be shown.
    :param variable: the environment variable that names it.
    """

    url: str = field(repr=False)
    address: str
    variable: str

    def __str__(self) -> str:
        return f"{self.address} of {self.variable}"


def proxy_for(url: str) -> Proxy | None:
    """
    Return the proxy for a URL, or ``None`` if it is reached directly.

    Both spellings of ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` count, as in requests.

    :raises EgressError: the variable holds no URL of an HTTP proxy.
    """
    found = select_proxy(url, get_environ_proxies(url))
    if not found:
        return None
    variable = _variable_of(found, urlsplit(url).scheme)
    try:
        found = found.strip()
        found = found if "://" in found else f"http://{found}"
        parts = urlsplit(found)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme.startswith("socks"):
        constraint = "must be an http(s) proxy: SOCKS proxies cannot be used from the triggerer"
        raise EgressError(Problem(field=variable, value="a SOCKS proxy", constraint=constraint))
    if not host or scheme not in _PORTS:
        constraint = "must be the URL of a proxy, such as http://proxy.example.com:3128"
        raise EgressError(Problem(field=variable, value="set", constraint=constraint))
    shown = f"[{host}]" if ":" in host else host
    # The libraries compare schemes in lower case.
    found = scheme + found[len(scheme) :]
    return Proxy(url=found, address=f"{shown}:{port or _PORTS[scheme]}", variable=variable)


def _variable_of(proxy: str, scheme: str) -> str:
    names = (f"{scheme}_proxy", "all_proxy")
    set_to_it = [name for name, value in os.environ.items() if name.lower() in names and value == proxy]
    # None is set where the operating system's settings name the proxy.
    return min(set_to_it, key=lambda name: names.index(name.lower()), default=names[0].upper())


def tls_context() -> ssl.SSLContext:
    """
    Return what trusts the certificates that the environment names.

    ``REQUESTS_CA_BUNDLE``, else ``CURL_CA_BUNDLE``: a file, or a folder, of all that is trusted. Else
    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, as in OpenSSL. Without any of them the system's certificates are
    trusted and those that come with requests. Reads files at the first call.

    :raises EgressError: a file or folder is not there, or holds no certificates.
    """
    return _context(_sources())


def _sources() -> tuple[tuple[str, str], ...]:
    told = [(name, path) for name in (*_BUNDLES, *_SYSTEM) if (path := os.environ.get(name))]
    if told and told[0][0] in _BUNDLES:
        return (told[0],)
    return tuple(told)


@lru_cache(maxsize=8)
def _context(sources: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    for variable, path in sources:
        _check(variable, path)
    if sources and sources[0][0] in _BUNDLES:
        bundle = Path(sources[0][1])
        if bundle.is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    if not sources:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _check(variable: str, path: str) -> None:
    """Refuse what OpenSSL would pass over without a word, to trust nobody afterwards."""
    if variable == "SSL_CERT_DIR" and any(Path(folder).is_dir() for folder in path.split(os.pathsep)):
        return
    if variable in _BUNDLES and Path(path).is_dir():
        return
    try:
        if variable == "SSL_CERT_DIR":
            raise FileNotFoundError
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        kind = "a folder" if variable == "SSL_CERT_DIR" else "a file"
        reason = "no certificates in PEM form" if isinstance(error, ssl.SSLError) else type(error).__name__
        constraint = f"must be {kind} of CA certificates that can be read here ({reason})"
        raise EgressError(Problem(field=variable, value=repr(path), constraint=constraint)) from None


def egress_problems(url: str) -> list[Problem]:
    """
    Return everything in the environment that keeps a URL from being reached.

    :param url: http or https.
    """
    found: list[Problem] = []
    proxy = None
    try:
        proxy = proxy_for(url)
    except EgressError as error:
        found.append(error.problem)
    try:
        if needs_tls(url, proxy):
            tls_context()
    except EgressError as error:
        found.append(error.problem)
    return found


def needs_tls(url: str, proxy: Proxy | None) -> bool:
    """Whether certificates are looked at on the way to a URL."""
    return any(urlsplit(way).scheme == "https" for way in (url, proxy.url if proxy else ""))


def reason(error: Exception, proxy: Proxy | None) -> str:
    """
    Say why there was no reply, in words of ours: an error's own may hold a link or a password.

    :param error: of requests, or of aiohttp where it is not about the proxy.
    :param proxy: what the request went through.
    """
    if proxy is not None and isinstance(error, ProxyError):
        refused = _REFUSED.search(str(error))
        return refused_by(proxy, int(refused[1])) if refused else unreachable(proxy)
    why = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        why = "its certificate is of no CA that is trusted here, see REQUESTS_CA_BUNDLE"
    return why if proxy is None else f"{why}, through the proxy {proxy}"


def is_from_proxy(status: int, url: str) -> bool:
    """Whether a reply that came through a proxy is its own: inside of TLS it is the other side's."""
    return status == _REFUSES and urlsplit(url).scheme == "http"


def refused_by(proxy: Proxy, status: int) -> str:
    """Say that a proxy does not pass the request on."""
    if status == _REFUSES:
        return f"the proxy {proxy} asks for other credentials, HTTP {status}"
    return f"the proxy {proxy} did not pass it on, HTTP {status}"


def unreachable(proxy: Proxy) -> str:
    """Say that a proxy is not there."""
    return f"the proxy {proxy} cannot be reached"
