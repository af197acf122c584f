# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
How this machine reaches the internet: its proxies and CA certificates.

They come from the environment variables that requests and OpenSSL read. Submits, status checks and downloads,
on workers and on the triggerer, use this module, so all take the same route.
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

#: Each replaces all other certificates; the first one that is set applies.
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: These replace the system's certificates.
_SYSTEM_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROXY_AUTHENTICATION_REQUIRED = 407
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b")


class EgressError(Exception):
    """
    An environment variable names a proxy or certificates that cannot be used.

    :param problem: the variable, and its allowed values.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Proxy:
    """
    A forward proxy.

    :param url: for the HTTP libraries only; may contain a password.
    :param address: host and port, which may be logged.
    :param variable: the environment variable that names it.
    """

    url: str = field(repr=False)
    address: str
    variable: str

    def __str__(self) -> str:
        return f"{self.address} from {self.variable}"


def proxy_for(url: str) -> Proxy | None:
    """
    Return the proxy for a URL, or ``None`` if it is reached directly.

    ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` apply in upper or lower case, as in
    requests.

    :raises EgressError: the variable is not the URL of an HTTP proxy.
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
    if not host or scheme not in _DEFAULT_PORTS:
        constraint = "must be the URL of a proxy, such as http://proxy.example.com:3128"
        raise EgressError(Problem(field=variable, value="set", constraint=constraint))
    shown = f"[{host}]" if ":" in host else host
    # The libraries compare schemes in lower case.
    found = scheme + found[len(scheme) :]
    return Proxy(url=found, address=f"{shown}:{port or _DEFAULT_PORTS[scheme]}", variable=variable)


def _variable_of(proxy: str, scheme: str) -> str:
    """Return the name of the variable that a proxy comes from."""
    names = (f"{scheme}_proxy", "all_proxy")
    matches = [name for name, value in os.environ.items() if name.lower() in names and value == proxy]
    # There is none if the proxy comes from the operating system's settings.
    return min(matches, key=lambda name: names.index(name.lower()), default=names[0].upper())


def tls_context() -> ssl.SSLContext:
    """
    Return a TLS context that trusts the CA certificates named by the environment.

    ``REQUESTS_CA_BUNDLE``, else ``CURL_CA_BUNDLE``: a file or folder with all trusted certificates. Else
    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, as in OpenSSL. Without any of them, the certificates of the system
    and those shipped with requests are trusted. The files are read at the first call.

    :raises EgressError: a file or folder does not exist, or has no certificates.
    """
    return _context(_sources())


def _sources() -> tuple[tuple[str, str], ...]:
    """Return the variables that name certificates, each with its path."""
    found = [
        (name, path) for name in (*_BUNDLE_VARIABLES, *_SYSTEM_VARIABLES) if (path := os.environ.get(name))
    ]
    if found and found[0][0] in _BUNDLE_VARIABLES:
        return (found[0],)
    return tuple(found)


@lru_cache(maxsize=8)
def _context(sources: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    for variable, path in sources:
        _check(variable, path)
    if sources and sources[0][0] in _BUNDLE_VARIABLES:
        bundle = Path(sources[0][1])
        if bundle.is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    if not sources:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _check(variable: str, path: str) -> None:
    """
    Check a path: OpenSSL would silently ignore an unusable one, and then trust no certificate at all.

    :raises EgressError: the path does not exist, or has no certificates.
    """
    if variable == "SSL_CERT_DIR" and any(Path(folder).is_dir() for folder in path.split(os.pathsep)):
        return
    if variable in _BUNDLE_VARIABLES and Path(path).is_dir():
        return
    try:
        if variable == "SSL_CERT_DIR":
            raise FileNotFoundError
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        kind = "a folder" if variable == "SSL_CERT_DIR" else "a file"
        reason = "no PEM certificates" if isinstance(error, ssl.SSLError) else type(error).__name__
        constraint = f"must be {kind} of CA certificates that is readable on this machine ({reason})"
        raise EgressError(Problem(field=variable, value=repr(path), constraint=constraint)) from None


def egress_problems(url: str) -> list[Problem]:
    """
    Return the problems of the environment variables that apply to a URL.

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
    """Whether a URL is reached over TLS, to the host or to the proxy."""
    return any(urlsplit(hop).scheme == "https" for hop in (url, proxy.url if proxy else ""))


def failure_reason(error: Exception, proxy: Proxy | None) -> str:
    """
    Return why there was no response, without the error's own text, which may contain a link or a password.

    :param error: of requests, or of aiohttp where it is not about the proxy.
    :param proxy: the proxy of the request.
    """
    if proxy is not None and isinstance(error, ProxyError):
        refusal = _TUNNEL_REFUSED.search(str(error))
        return proxy_refusal(proxy, int(refusal[1])) if refusal else proxy_unreachable(proxy)
    reason = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason = "its certificate is not signed by a trusted CA, see REQUESTS_CA_BUNDLE"
    return reason if proxy is None else f"{reason}, through the proxy {proxy}"


def is_from_proxy(status: int, url: str) -> bool:
    """Whether a response is the proxy's own; inside of TLS it is always the server's."""
    return status == _PROXY_AUTHENTICATION_REQUIRED and urlsplit(url).scheme == "http"


def proxy_refusal(proxy: Proxy, status: int) -> str:
    """Return the text for a request that a proxy did not forward."""
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        return f"the proxy {proxy} requires other credentials, HTTP {status}"
    return f"the proxy {proxy} did not forward the request, HTTP {status}"


def proxy_unreachable(proxy: Proxy) -> str:
    """Return the text for a proxy that does not answer."""
    return f"the proxy {proxy} cannot be reached"
