# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Send free calls from the triggerer, through aiohttp."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from yarl import URL

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.http.egress import (
    EgressError,
    is_from_proxy,
    needs_tls,
    proxy_for,
    reason,
    refused_by,
    unreachable,
)
from airflow_provider_vidgen.http.wire import MAX_REPLY, encode, headers_for, url_for, without_key
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply


class PreparedCall:
    """
    A free call, put together once and sent as often as wanted: a check, or the cancelling of a job.

    aiohttp would find the proxy by itself, and with it a .netrc entry, which clashes with the key.

    :param settings: the account.
    :raises StatusUnavailable: the proxy of the environment cannot be used.
    """

    def __init__(self, settings: ConnectionSettings, call: HttpCall) -> None:
        self._settings = settings
        try:
            # Once, for it goes through all of the environment.
            self._proxy = proxy_for(settings.base_url)
        except EgressError as error:
            raise StatusUnavailable(f"{settings.vendor.label} could not be asked ({error})") from None
        #: Whether :meth:`send` needs to know whom to trust.
        self.over_tls = needs_tls(settings.base_url, self._proxy)
        self._method = call.method
        self._url = URL(url_for(settings, call)).extend_query(call.query)
        self._how: dict[str, Any] = {
            "data": encode(call),
            "headers": {**headers_for(call), "Authorization": f"Bearer {settings.api_key}"},
            "proxy": self._proxy.url if self._proxy else None,
            "timeout": aiohttp.ClientTimeout(total=settings.timeout),
            "allow_redirects": False,
        }

    async def send(self, session: aiohttp.ClientSession, tls: ssl.SSLContext | None) -> HttpReply:
        """
        Send it.

        :param tls: whom to trust, where it goes over TLS.
        :raises StatusUnavailable: no whole reply came.
        """
        label = self._settings.vendor.label
        try:
            async with session.request(self._method, self._url, ssl=tls or True, **self._how) as response:
                if self._proxy is not None and is_from_proxy(response.status, self._settings.base_url):
                    why = refused_by(self._proxy, response.status)
                    raise StatusUnavailable(f"{label} did not answer ({why})")
                content = bytearray()
                while piece := await response.content.readany():
                    content += piece
                    if len(content) > MAX_REPLY:
                        raise StatusUnavailable(f"{label} sent an overlong reply")
                return HttpReply(
                    status=response.status,
                    headers=response.headers,
                    content=without_key(bytes(content), self._settings),
                )
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise StatusUnavailable(f"{label} did not answer ({self._reason(error)})") from None

    def _reason(self, error: Exception) -> str:
        if self._proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
            return refused_by(self._proxy, error.status)
        if self._proxy is not None and isinstance(error, aiohttp.ClientProxyConnectionError):
            return unreachable(self._proxy)
        return reason(error, self._proxy)
