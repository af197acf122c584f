# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Send calls from a worker, through requests.

Whether a paid request may have reached the vendor is not guessed from an exception's name: the connection
itself tells whether it was ever established. Until then nothing was sent; afterwards anything may have been.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import ConnectionFailed, StatusUnavailable, SubmitOutcomeUnknown
from airflow_provider_vidgen.http.egress import (
    EgressError,
    Proxy,
    is_from_proxy,
    proxy_for,
    reason,
    refused_by,
)
from airflow_provider_vidgen.http.session import EgressAdapter, SingleRequestSession, through
from airflow_provider_vidgen.http.wire import (
    MAX_REPLY,
    Overlong,
    encode,
    headers_for,
    url_for,
    without_key,
)
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply

_CHUNK = 64 * 1024
#: The reply to a paid call may take so many times as long as another: it may name a job that was paid for.
_PATIENCE_WHEN_PAID = 10
#: requests lets some errors of the libraries below it through, such as those about a name or a CA bundle.
_NO_REPLY = (OSError, ValueError, HTTPError, Overlong)


class WorkerTransport:
    """
    Calls of one account, each on a connection of its own.

    A reused connection could have been closed by the vendor just before the request, and then nobody could
    tell whether it was taken.

    :param monotonic: a clock for the limit on slow replies.
    """

    def __init__(
        self, settings: ConnectionSettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic

    def submit(self, call: HttpCall) -> HttpReply:
        """
        Send a paid call, once.

        :raises ConnectionFailed: no connection came about, so nothing was sent.
        :raises SubmitOutcomeUnknown: it was sent, and no whole reply came.
        """
        adapter = _WatchedAdapter()
        label = self._settings.vendor.label
        proxy = None
        try:
            proxy = proxy_for(self._settings.base_url)
            return self._send(call, adapter, proxy, patience=_PATIENCE_WHEN_PAID)
        except (EgressError, _RefusedByProxy) as error:
            raise _not_sent(label, str(error), proxy) from None
        except _NO_REPLY as error:
            if adapter.nothing_sent or isinstance(error, requests.ConnectTimeout):
                raise _not_sent(label, reason(error, proxy), proxy) from None
            raise SubmitOutcomeUnknown(
                f"The request was sent to {label} and no whole reply came ({type(error).__name__})"
            ) from None

    def get(self, call: HttpCall) -> HttpReply:
        """
        Send a free call.

        :raises StatusUnavailable: no whole reply came.
        """
        label = self._settings.vendor.label
        proxy = None
        try:
            proxy = proxy_for(self._settings.base_url)
            return self._send(call, _WatchedAdapter(), proxy, patience=1)
        except (EgressError, _RefusedByProxy) as error:
            raise StatusUnavailable(f"{label} could not be asked ({error})") from None
        except _NO_REPLY as error:
            raise StatusUnavailable(f"{label} did not answer ({reason(error, proxy)})") from None

    def _send(
        self, call: HttpCall, adapter: EgressAdapter, proxy: Proxy | None, *, patience: int
    ) -> HttpReply:
        settings = self._settings
        read_timeout = max(settings.timeout, call.read_timeout or 0.0)
        with (
            SingleRequestSession(adapter) as session,
            session.request(
                call.method,
                url_for(settings, call),
                params=dict(call.query),
                data=encode(call),
                headers=headers_for(call),
                auth=_Bearer(settings.api_key),
                proxies=through(proxy),
                timeout=(settings.timeout, read_timeout),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            if proxy is not None and is_from_proxy(response.status_code, settings.base_url):
                raise _RefusedByProxy(refused_by(proxy, response.status_code))
            content = self._read(response, read_timeout * patience)
            return HttpReply(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                content=without_key(content, settings),
            )

    def _read(self, response: requests.Response, limit: float) -> bytes:
        started, content = self._monotonic(), bytearray()
        # What has come, and not a whole chunk: a reply that drips would never fill one.
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            # A first chunk that is the whole reply is never too late: it may name a job that was paid for.
            if content and self._monotonic() - started > limit:
                raise Overlong
            content += chunk
            if len(content) > MAX_REPLY:
                raise Overlong
        return bytes(content)


class _RefusedByProxy(Exception):
    """The proxy itself answered a request without TLS, which it was to pass on."""


def _not_sent(label: str, why: str, proxy: Proxy | None) -> ConnectionFailed:
    advice = "Check the proxy and its credentials; a retry submits." if proxy is not None else None
    return ConnectionFailed(f"{label} could not be reached ({why})", next_step=advice)


class _Bearer(AuthBase):
    """The API key."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


class _WatchedAdapter(EgressAdapter):
    """An adapter that knows whether a connection, TLS and proxy included, was ever established."""

    def __init__(self) -> None:
        self._used = False
        self._established = False
        super().__init__()

    @property
    def nothing_sent(self) -> bool:
        """Whether the request came this far and no connection came about for it."""
        return self._used and not self._established

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._used = True
        return super().send(*args, **kwargs)

    def methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        def connect(made: Any) -> None:
            connection.connect(made)
            self._established = True

        return {"connect": connect}
