# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Fetch a result link on a worker: only from where it is safe, and never with the key for somebody else.

The address is checked at the moment of connecting, so a name that resolves differently the second time gains
nothing, and each redirect is checked like the first link. A proxy resolves names itself, so it is used only
where the connection allows that.
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
from airflow_provider_vidgen.http.download_sockets import MINIMUM_RATE, MinimumRate, OpenSockets, cut
from airflow_provider_vidgen.http.egress import (
    EgressError,
    Proxy,
    egress_problems,
    is_from_proxy,
    proxy_for,
    reason,
    refused_by,
)
from airflow_provider_vidgen.http.session import EgressAdapter, SingleRequestSession, through
from airflow_provider_vidgen.vendors.http_messages import parse_retry_after
from airflow_provider_vidgen.vendors.parsing import is_http_url

_REDIRECTS = 5
_DEAD = (401, 403, 404, 410)
_BUSY = (429, 503)
#: A reply may take so many times the connection's timeout to begin, proxy, TLS and headers included.
_BEGINS = 2
#: Stands for the hosts of results, which nobody knows before there is a job. No NO_PROXY but ``*`` has it.
_SOME_HOST = "results.invalid"


@contextmanager
def open_link(
    link: str,
    settings: ConnectionSettings,
    *,
    start: int = 0,
    if_range: str = "",
    connections: OpenSockets | None = None,
) -> Iterator[requests.Response]:
    """
    Open a result link for reading.

    :param start: ask for the bytes from here on only. The reply is then HTTP 206, 200 with all bytes, or 416.
    :param if_range: the ETag of the file those bytes must belong to.
    :param connections: takes in each connection, so that another thread can cut it.
    :raises UnsafeLink: the link, or one it redirects to, must not be fetched.
    :raises DownloadBlocked: it must not be fetched through the proxy of this worker, or cannot be.
    :raises LinkUnavailable: the link is dead, or not live yet.
    :raises DownloadFailed: anything else that a later try may overcome, with ``retry_after`` where the store
        of results asks to wait.
    """
    rest = {"Range": f"bytes={start}-", "If-Range": if_range} if start else {}
    good = (200, 206, 416) if start else (200,)
    adapter = _DownloadAdapter(settings, connections or OpenSockets())
    with SingleRequestSession(adapter) as session:
        for _ in range(_REDIRECTS + 1):
            check_link(link, settings)
            proxy = _proxy_for(link, settings)
            try:
                response = session.get(
                    link,
                    headers={"Accept-Encoding": "identity", **rest, **_key_for(link, settings)},
                    timeout=(settings.timeout, settings.timeout),
                    allow_redirects=False,
                    stream=True,
                    proxies=through(proxy),
                )
            except EgressError as error:
                raise DownloadBlocked(f"{_host(link)} cannot be reached ({error})") from None
            except _NotPublic:
                raise UnsafeLink(f"{_host(link)} leads to a private address") from None
            except (OSError, ValueError, HTTPError) as error:
                # requests lets some errors of the libraries below it through, such as those about a name.
                raise DownloadFailed(f"{_host(link)} did not answer ({reason(error, proxy)})") from None
            if not adapter.in_time():
                response.close()
                raise DownloadFailed(f"{_host(link)} did not answer in time")
            if response.is_redirect:
                response.close()
                link = _target_of(response, link)
                continue
            with response:
                if proxy is not None and is_from_proxy(response.status_code, link):
                    why = refused_by(proxy, response.status_code)
                    raise DownloadFailed(f"{_host(link)} did not answer ({why})")
                if response.status_code in _DEAD:
                    raise LinkUnavailable(f"The link at {_host(link)} is dead (HTTP {response.status_code})")
                if response.status_code not in good:
                    summary = f"{_host(link)} answered HTTP {response.status_code}"
                    raise DownloadFailed(summary, retry_after=_asked_to_wait(response))
                encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
                if encoding not in ("", "identity"):
                    # A few kilobytes can unfold into more than any disk holds, and no video needs it.
                    raise DownloadFailed(f"{_host(link)} sends the file compressed, which was not asked for")
                yield response
                return
        raise UnsafeLink(f"{_host(link)} redirects more than {_REDIRECTS} times")


def download_problems(settings: ConnectionSettings) -> list[Problem]:
    """Return why no result could be fetched from here, as far as it can be told before there is one."""
    link = f"{urlsplit(settings.base_url).scheme}://{_SOME_HOST}/"
    found = egress_problems(link)
    if not found and (proxy := proxy_for(link)) and not _may_use_proxy(settings):
        # Whether it names the hosts of the results cannot be told: nobody knows them yet.
        instead = "NO_PROXY must be * (hosts that it names are fetched directly in any case)"
        found.append(_proxy_problem(proxy, settings, instead=instead))
    return found


def _proxy_for(link: str, settings: ConnectionSettings) -> Proxy | None:
    try:
        proxy = proxy_for(link)
    except EgressError as error:
        raise DownloadBlocked(f"{_host(link)} cannot be reached ({error})") from None
    if proxy is not None and not _may_use_proxy(settings):
        problem = _proxy_problem(proxy, settings, instead="NO_PROXY must name this host")
        raise DownloadBlocked(f"{_host(link)} was not asked ({problem})")
    return proxy


def _may_use_proxy(settings: ConnectionSettings) -> bool:
    return settings.allow_private_urls or settings.allow_proxied_downloads


def _proxy_problem(proxy: Proxy, settings: ConnectionSettings, *, instead: str) -> Problem:
    return Problem(
        field="allow_proxied_downloads",
        value="false",
        constraint=(
            f"must be true in the connection {settings.conn_id!r}, or {instead}: the proxy {proxy} applies "
            "and resolves names itself, so private addresses behind them could not be refused here"
        ),
    )


def read_body(
    response: requests.Response, size: int, timeout: float, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """
    Read an opened link.

    :param size: of the pieces, at most.
    :param timeout: seconds over which a least rate must be kept.
    :param clock: seconds that only go forward.
    :raises DownloadFailed: the connection broke, it drips, or the body is shorter than announced.
    """
    rate, began = MinimumRate(timeout), clock()
    try:
        # Each piece is what has come by now, in the memory it was received into; requests' own way waits for
        # a full piece, and copies it once more.
        while piece := response.raw.read1(size, decode_content=False):
            kept = rate.is_kept(len(piece), clock() - began)
            yield piece
            if not kept:
                raise DownloadFailed(f"The download came to less than {MINIMUM_RATE} bytes a second")
            began = clock()
    except (OSError, HTTPError) as error:
        raise DownloadFailed(f"The download broke off ({type(error).__name__})") from None


def check_link(link: str, settings: ConnectionSettings) -> None:
    """
    Refuse a link by its look.

    :raises UnsafeLink: not a link, not https, with user name, or to a private host.
    """
    if not is_http_url(link):
        raise UnsafeLink("The result is not an http(s) link")
    parts = urlsplit(link)
    if parts.username is not None or parts.password is not None:
        raise UnsafeLink(f"The link to {parts.hostname} carries a user name")
    if settings.allow_private_urls:
        return
    if parts.scheme != "https":
        raise UnsafeLink(f"The link to {parts.hostname} is not https")
    if not may_be_public_host(parts.hostname or ""):
        raise UnsafeLink(f"{parts.hostname} is not a public host")


def _key_for(link: str, settings: ConnectionSettings) -> dict[str, str]:
    """Return the key for links of the API itself (one vendor family serves results there), else nothing."""
    api, result = urlsplit(settings.base_url), urlsplit(link)
    if (api.scheme, api.netloc) != (result.scheme, result.netloc) or not result.path.startswith(
        f"{api.path}/v1/"
    ):
        return {}
    return {"Authorization": f"Bearer {settings.api_key}"}


def _target_of(response: requests.Response, link: str) -> str:
    try:
        return urljoin(link, response.headers["location"])
    except ValueError:
        raise UnsafeLink(f"{_host(link)} redirects to what is not a link") from None


def _asked_to_wait(response: requests.Response) -> float | None:
    """Return the seconds after which a busy store of results wants to be asked again, if it says so."""
    if response.status_code not in _BUSY:
        return None
    return parse_retry_after({name.lower(): value for name, value in response.headers.items()}, utcnow())


def _host(link: str) -> str:
    return urlsplit(link).hostname or "the link"


class _NotPublic(Exception):
    """The name resolves to an address that is not public."""


class _DownloadAdapter(EgressAdapter):
    """
    Connects to public addresses only, unless all are allowed, or to a proxy; hangs up if no reply begins.

    :param connections: takes in each connection.
    """

    def __init__(self, settings: ConnectionSettings, connections: OpenSockets) -> None:
        self._settings = settings
        self._connections = connections
        self._handles: list[socket.socket] = []
        self._timers: list[threading.Timer] = []
        self._late = False
        super().__init__()

    def methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        judged = not proxied and not self._settings.allow_private_urls

        def connect(made: HTTPConnection) -> socket.socket:
            connected: socket.socket = _connect(made) if judged else connection._new_conn(made)
            self._watch(connected)
            return connected

        return {"_new_conn": connect}

    def in_time(self) -> bool:
        """Whether the headers came before their time was over: else they may be cut off."""
        for timer in self._timers:
            timer.cancel()
        return not self._late

    def close(self) -> None:
        super().close()
        self.in_time()
        while self._handles:
            self._connections.release(self._handles.pop())

    def _watch(self, connected: socket.socket) -> None:
        handle = self._connections.add(connected)
        self._handles.append(handle)
        timer = threading.Timer(_BEGINS * self._settings.timeout, self._give_up, [handle])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _give_up(self, handle: socket.socket) -> None:
        self._late = True
        cut(handle)


def _connect(connection: HTTPConnection) -> socket.socket:
    """Resolve once, judge every address, connect to one of those very addresses."""
    found = socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(map(is_public_address, addresses)):
        raise _NotPublic(connection.host)
    timeout = connection.timeout if isinstance(connection.timeout, int | float) else None
    error: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((str(ipaddress.ip_address(address)), connection.port), timeout)
        except OSError as failed:
            error = failed
    raise error
