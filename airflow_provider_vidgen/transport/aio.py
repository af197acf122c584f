# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Send free calls from the triggerer, through aiohttp."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from airflow_provider_vidgen.transport.wire import MAX_REPLY, encode, headers_for, url_for, without_key
from airflow_provider_vidgen.vendors.exchange import HttpCall, HttpReply


def _proxy_for(base_url: str) -> str | None:
    """
    Return the proxy of the environment, as on workers; finding it goes through all of the environment.

    aiohttp would find it by itself, and with it a .netrc entry, which clashes with the key.
    """
    parts = urlsplit(base_url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


class FreeCall:
    """
    A free call, put together once and sent as often as wanted: a check, or the cancelling of a job.

    :param settings: the account.
    """

    def __init__(self, settings: ConnectionSettings, call: HttpCall) -> None:
        self._settings = settings
        self._method = call.method
        self._url = URL(url_for(settings, call)).extend_query(call.query)
        self._how: dict[str, Any] = {
            "data": encode(call),
            "headers": {**headers_for(call), "Authorization": f"Bearer {settings.api_key}"},
            "proxy": _proxy_for(settings.base_url),
            "timeout": aiohttp.ClientTimeout(total=settings.timeout),
            "allow_redirects": False,
        }

    async def send(self, session: aiohttp.ClientSession) -> HttpReply:
        """
        Send it.

        :raises StatusUnavailable: no whole reply came.
        """
        label = self._settings.vendor.label
        try:
            async with session.request(self._method, self._url, **self._how) as response:
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
            raise StatusUnavailable(f"{label} did not answer ({type(error).__name__})") from None
