# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Open a result link on a worker: on public hosts only, and with the API key only for the API's own host.

The address is checked while connecting, so DNS rebinding has no effect, and each redirect is checked like the
first link. A proxy resolves names itself, so it is used only if the connection allows that.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from airflow_provider_vidgen import metrics
from airflow_provider_vidgen.addresses import is_public_address, may_be_public_host
from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import (
    DownloadBlocked,
    DownloadFailed,
    LinkUnavailable,
    Problem,
    UnsafeLink,
)
from airflow_provider_vidgen.http.download_sockets import MINIMUM_RATE, MinimumRate, OpenSockets, shut_down
from airflow_provider_vidgen.http.egress import (
    EgressError,
    Proxy,
    egress_problems,
    failure_reason,
    is_from_proxy,
    proxy_for,
    proxy_refusal,
)
from airflow_provider_vidgen.http.session import (
    EgressAdapter,
    SingleRequestSession,
    requests_proxies,
)
from airflow_provider_vidgen.vendors.http_messages import parse_retry_after
from airflow_provider_vidgen.vendors.parsing import is_http_url

_MAX_REDIRECTS = 5
_DEAD_STATUSES = (401, 403, 404, 410)
_BUSY_STATUSES = (429, 503)
#: The response headers must be complete within this multiple of the connection's timeout, proxy and TLS
#: included.
_HEADERS_TIMEOUTS = 2
#: Stands for the hosts of results, which are not known before there is a job. Only ``NO_PROXY=*`` matches it.
_UNKNOWN_HOST = "results.invalid"


@contextmanager
def open_link(
    link: str,
    settings: ConnectionSettings,
    *,
    start: int = 0,
    if_range: str = "",
    sockets: OpenSockets | None = None,
) -> Iterator[requests.Response]:
    """
    Open a result link for reading.

    :param start: request only the bytes from here on. The response is then HTTP 206, 200 with all bytes, or
        416.
    :param if_range: the ETag of the file those bytes must belong to.
    :param sockets: registers each connection, so that another thread can shut it down.
    :raises UnsafeLink: the link, or one it redirects to, must not be fetched.
    :raises DownloadBlocked: the proxy of this worker must not be used for it, or cannot be used.
    :raises LinkUnavailable: the link is dead, or not live yet.
    :raises DownloadFailed: any other error that may be temporary, with ``retry_after`` if the server sent
        it.
    """
    range_headers = {"Range": f"bytes={start}-", "If-Range": if_range} if start else {}
    expected_statuses = (200, 206, 416) if start else (200,)
    adapter = _DownloadAdapter(settings, sockets or OpenSockets())
    with SingleRequestSession(adapter) as session:
        for _ in range(_MAX_REDIRECTS + 1):
            check_link(link, settings)
            proxy = _proxy_for(link, settings)
            try:
                response = session.get(
                    link,
                    headers={
                        "Accept-Encoding": "identity",
                        **range_headers,
                        **_authorization_for(link, settings),
                    },
                    timeout=(settings.timeout, settings.timeout),
                    allow_redirects=False,
                    stream=True,
                    proxies=requests_proxies(proxy),
                )
            except EgressError as error:
                raise DownloadBlocked(f"{_host(link)} cannot be reached ({error})") from None
            except _PrivateAddress:
                raise UnsafeLink(f"{_host(link)} resolves to a private address") from None
            except (OSError, ValueError, HTTPError) as error:
                # requests does not convert every error of urllib3, such as those about a host name.
                raise DownloadFailed(
                    f"{_host(link)} did not answer ({failure_reason(error, proxy)})"
                ) from None
            if not adapter.responded_in_time():
                response.close()
                raise DownloadFailed(f"{_host(link)} did not answer in time")
            if response.is_redirect:
                response.close()
                link = _redirect_target(response, link)
                continue
            with response:
                if proxy is not None and is_from_proxy(response.status_code, link):
                    reason = proxy_refusal(proxy, response.status_code)
                    raise DownloadFailed(f"{_host(link)} did not answer ({reason})")
                if response.status_code in _DEAD_STATUSES:
                    raise LinkUnavailable(f"The link at {_host(link)} is dead (HTTP {response.status_code})")
                if response.status_code == 429:
                    metrics.rate_limited(settings.vendor.name, "download")
                if response.status_code not in expected_statuses:
                    summary = f"{_host(link)} answered HTTP {response.status_code}"
                    raise DownloadFailed(summary, retry_after=_retry_after(response))
                encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
                if encoding not in ("", "identity"):
                    # A few kilobytes can decompress to more than any disk holds, and videos do not compress.
                    raise DownloadFailed(f"{_host(link)} sent the file compressed, which was not requested")
                yield response
                return
        raise UnsafeLink(f"{_host(link)} redirects more than {_MAX_REDIRECTS} times")


def download_problems(settings: ConnectionSettings) -> list[Problem]:
    """Return the problems of this worker's proxy and certificates that would prevent downloads."""
    link = f"{urlsplit(settings.base_url).scheme}://{_UNKNOWN_HOST}/"
    problems = egress_problems(link)
    if not problems and (proxy := proxy_for(link)) and not _may_use_proxy(settings):
        # Whether NO_PROXY lists the hosts of the results cannot be checked yet.
        alternative = "NO_PROXY must be * (hosts that it lists are reached directly in any case)"
        problems.append(_proxy_problem(proxy, settings, alternative=alternative))
    return problems


def _proxy_for(link: str, settings: ConnectionSettings) -> Proxy | None:
    try:
        proxy = proxy_for(link)
    except EgressError as error:
        raise DownloadBlocked(f"{_host(link)} cannot be reached ({error})") from None
    if proxy is not None and not _may_use_proxy(settings):
        problem = _proxy_problem(proxy, settings, alternative="NO_PROXY must list this host")
        raise DownloadBlocked(f"{_host(link)} was not contacted ({problem})")
    return proxy


def _may_use_proxy(settings: ConnectionSettings) -> bool:
    return settings.allow_private_urls or settings.allow_proxied_downloads


def _proxy_problem(proxy: Proxy, settings: ConnectionSettings, *, alternative: str) -> Problem:
    return Problem(
        field="allow_proxied_downloads",
        value="false",
        constraint=(
            f"must be true in the connection {settings.conn_id!r}, or {alternative}: the proxy {proxy} "
            "applies and resolves host names itself, so private addresses could not be refused here"
        ),
    )


def read_body(
    response: requests.Response, size: int, timeout: float, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """
    Read the body of an opened link in chunks.

    :param size: of a chunk, at most.
    :param timeout: seconds over which the minimum rate is averaged.
    :param clock: monotonic, in seconds.
    :raises DownloadFailed: the connection broke, is too slow, or the body is shorter than announced.
    """
    rate, started = MinimumRate(timeout), clock()
    try:
        # read1 returns what has arrived, in the buffer it was received into; iter_content waits for a full
        # chunk, and copies it once more.
        while chunk := response.raw.read1(size, decode_content=False):
            fast_enough = rate.is_met(len(chunk), clock() - started)
            yield chunk
            if not fast_enough:
                raise DownloadFailed(f"The download was slower than {MINIMUM_RATE} bytes per second")
            started = clock()
    except (OSError, HTTPError) as error:
        raise DownloadFailed(f"The download broke off ({type(error).__name__})") from None


def check_link(link: str, settings: ConnectionSettings) -> None:
    """
    Check a link without resolving its host.

    :raises UnsafeLink: not a link, not https, with a user name, or to a private host.
    """
    if not is_http_url(link):
        raise UnsafeLink("The result is not an http(s) link")
    parts = urlsplit(link)
    if parts.username is not None or parts.password is not None:
        raise UnsafeLink(f"The link to {parts.hostname} contains a user name")
    if settings.allow_private_urls:
        return
    if parts.scheme != "https":
        raise UnsafeLink(f"The link to {parts.hostname} is not https")
    if not may_be_public_host(parts.hostname or ""):
        raise UnsafeLink(f"{parts.hostname} is not a public host")


def _authorization_for(link: str, settings: ConnectionSettings) -> dict[str, str]:
    """Return the API key for links to the API itself (one vendor family serves results there), else none."""
    api, result = urlsplit(settings.base_url), urlsplit(link)
    if (api.scheme, api.netloc) != (result.scheme, result.netloc) or not result.path.startswith(
        f"{api.path}/v1/"
    ):
        return {}
    return {"Authorization": f"Bearer {settings.api_key}"}


def _redirect_target(response: requests.Response, link: str) -> str:
    try:
        return urljoin(link, response.headers["location"])
    except ValueError:
        raise UnsafeLink(f"{_host(link)} redirects to a location that is not a link") from None


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds of a busy server's Retry-After, if it sent one."""
    if response.status_code not in _BUSY_STATUSES:
        return None
    return parse_retry_after({name.lower(): value for name, value in response.headers.items()}, utcnow())


def _host(link: str) -> str:
    return urlsplit(link).hostname or "the link"


class _PrivateAddress(Exception):
    """The host resolves to an address that is not public."""


class _DownloadAdapter(EgressAdapter):
    """
    Connects to public addresses only, unless private ones are allowed, or to a proxy.

    Limits the time until the response headers, which requests does not.

    :param sockets: registers each connection.
    """

    def __init__(self, settings: ConnectionSettings, sockets: OpenSockets) -> None:
        self._settings = settings
        self._sockets = sockets
        self._handles: list[socket.socket] = []
        self._timers: list[threading.Timer] = []
        self._timed_out = False
        super().__init__()

    def connection_methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        public_only = not proxied and not self._settings.allow_private_urls

        def connect(instance: HTTPConnection) -> socket.socket:
            connected: socket.socket = (
                _connect_to_public_address(instance) if public_only else connection._new_conn(instance)
            )
            self._limit_time(connected)
            return connected

        return {"_new_conn": connect}

    def responded_in_time(self) -> bool:
        """Whether the headers were complete before the deadline; otherwise they may be truncated."""
        self._cancel_timers()
        return not self._timed_out

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def close(self) -> None:
        super().close()
        self._cancel_timers()
        while self._handles:
            self._sockets.release(self._handles.pop())

    def _limit_time(self, connected: socket.socket) -> None:
        handle = self._sockets.add(connected)
        self._handles.append(handle)
        timer = threading.Timer(_HEADERS_TIMEOUTS * self._settings.timeout, self._on_timeout, [handle])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _on_timeout(self, handle: socket.socket) -> None:
        self._timed_out = True
        shut_down(handle)


def _connect_to_public_address(connection: HTTPConnection) -> socket.socket:
    """Resolve the host once, check every address, and connect to one of them."""
    resolved = socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in resolved))
    if not addresses or not all(map(is_public_address, addresses)):
        raise _PrivateAddress(connection.host)
    timeout = connection.timeout if isinstance(connection.timeout, int | float) else None
    error: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((str(ipaddress.ip_address(address)), connection.port), timeout)
        except OSError as connect_error:
            error = connect_error
    raise error
