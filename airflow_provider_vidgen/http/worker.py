# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Send requests from a worker, through the requests library.

Whether a paid request may have reached the vendor is not guessed from the class of an exception: the adapter
records whether the connection was ever established. Before that nothing was sent; afterwards the request may
have been.
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
    failure_reason,
    is_from_proxy,
    proxy_for,
    proxy_refusal,
)
from airflow_provider_vidgen.http.session import EgressAdapter, SingleRequestSession, requests_proxies
from airflow_provider_vidgen.http.wire import (
    MAX_REPLY,
    encode_body,
    headers_for,
    mask_api_key,
    url_for,
)
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply

_CHUNK = 64 * 1024
#: Limit for a complete reply, in read timeouts. Higher for a paid request, whose reply may name a paid job.
_READ_TIMEOUTS = 1
_READ_TIMEOUTS_WHEN_PAID = 10


class OverlongReply(Exception):
    """A reply that is too large or takes too long."""


#: Errors of requests, which also lets through some of urllib3 and the standard library, about a host name or
#: a CA bundle for example.
_NO_REPLY_ERRORS = (OSError, ValueError, HTTPError, OverlongReply)


class WorkerTransport:
    """
    Sends the requests of one account, each on a new connection.

    The vendor may close a reused connection just as a request is sent, and then it is not known whether the
    request was accepted.

    :param monotonic: the clock for the time limit of replies.
    """

    def __init__(
        self, settings: ConnectionSettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic

    def submit(self, call: HttpCall) -> HttpReply:
        """
        Send a paid request, once.

        :raises ConnectionFailed: no connection was established, so nothing was sent.
        :raises SubmitOutcomeUnknown: the request was sent, and no complete reply was received.
        """
        adapter = _ConnectTrackingAdapter()
        label = self._settings.vendor.label
        proxy = None
        try:
            proxy = proxy_for(self._settings.base_url)
            return self._send(call, adapter, proxy, read_timeouts=_READ_TIMEOUTS_WHEN_PAID)
        except (EgressError, _RefusedByProxy) as error:
            raise _connection_failed(label, str(error), proxy) from None
        except _NO_REPLY_ERRORS as error:
            if adapter.never_connected or isinstance(error, requests.ConnectTimeout):
                raise _connection_failed(label, failure_reason(error, proxy), proxy) from None
            raise SubmitOutcomeUnknown(
                f"The request was sent to {label} and no complete reply was received ({type(error).__name__})"
            ) from None

    def get(self, call: HttpCall, job: VideoJob | None = None) -> HttpReply:
        """
        Send an unpaid request.

        :param job: the job that the request is about, for error messages.
        :raises StatusUnavailable: no complete reply was received.
        """
        label = self._settings.vendor.label
        proxy = None
        try:
            proxy = proxy_for(self._settings.base_url)
            return self._send(call, _ConnectTrackingAdapter(), proxy, read_timeouts=_READ_TIMEOUTS)
        except (EgressError, _RefusedByProxy) as error:
            raise StatusUnavailable(f"{label} cannot be reached ({error})", job=job) from None
        except _NO_REPLY_ERRORS as error:
            raise StatusUnavailable(
                f"{label} did not answer ({failure_reason(error, proxy)})", job=job
            ) from None

    def _send(
        self, call: HttpCall, adapter: EgressAdapter, proxy: Proxy | None, *, read_timeouts: int
    ) -> HttpReply:
        settings = self._settings
        read_timeout = max(settings.timeout, call.read_timeout or 0.0)
        with (
            SingleRequestSession(adapter) as session,
            session.request(
                call.method,
                url_for(settings, call),
                params=dict(call.query),
                data=encode_body(call),
                headers=headers_for(call),
                auth=_BearerAuth(settings.api_key),
                proxies=requests_proxies(proxy),
                timeout=(settings.timeout, read_timeout),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            if proxy is not None and is_from_proxy(response.status_code, settings.base_url):
                raise _RefusedByProxy(proxy_refusal(proxy, response.status_code))
            content = self._read(response, time_limit=read_timeout * read_timeouts)
            return HttpReply(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                content=mask_api_key(content, settings),
            )

    def _read(self, response: requests.Response, *, time_limit: float) -> bytes:
        started, content = self._monotonic(), bytearray()
        # read1 returns what has arrived; read would block until a slow reply has filled a complete chunk.
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            # A reply in one chunk is never too late: it may name a job that was paid for.
            if content and self._monotonic() - started > time_limit:
                raise OverlongReply
            content += chunk
            if len(content) > MAX_REPLY:
                raise OverlongReply
        return bytes(content)


class _RefusedByProxy(Exception):
    """The proxy itself answered a request without TLS instead of forwarding it."""


def _connection_failed(label: str, cause: str, proxy: Proxy | None) -> ConnectionFailed:
    next_step = "Check the proxy and its credentials; a retry submits." if proxy is not None else None
    return ConnectionFailed(f"{label} could not be reached ({cause})", next_step=next_step)


class _BearerAuth(AuthBase):
    """Sets the API key."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


class _ConnectTrackingAdapter(EgressAdapter):
    """Records whether a connection was established, including TLS and the proxy."""

    def __init__(self) -> None:
        self._used = False
        self._established = False
        super().__init__()

    @property
    def never_connected(self) -> bool:
        """Whether the request got as far as connecting, and no connection was established."""
        return self._used and not self._established

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._used = True
        return super().send(*args, **kwargs)

    def connection_methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        def connect(instance: Any) -> None:
            connection.connect(instance)
            self._established = True

        return {"connect": connect}
