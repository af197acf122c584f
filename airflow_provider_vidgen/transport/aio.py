# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Send free calls from the triggerer, through aiohttp."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from airflow_provider_vidgen.transport.wire import MAX_REPLY, encode, headers_for, url_for, without_key
from airflow_provider_vidgen.vendors.exchange import HttpCall, HttpReply


def proxy_for(base_url: str) -> str | None:
    """
    Return the proxy of the environment, as on workers; finding it goes through all of the environment.

    aiohttp would find it by itself, and with it a .netrc entry, which clashes with the key.
    """
    parts = urlsplit(base_url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


async def send(
    session: aiohttp.ClientSession, settings: ConnectionSettings, call: HttpCall, *, proxy: str | None
) -> HttpReply:
    """
    Send a free call: a check, or the cancelling of a job.

    :param proxy: see :func:`proxy_for`.
    :raises StatusUnavailable: no whole reply came.
    """
    url = url_for(settings, call)
    try:
        async with session.request(
            call.method,
            url,
            params=dict(call.query),
            data=encode(call),
            headers={**headers_for(call), "Authorization": f"Bearer {settings.api_key}"},
            proxy=proxy,
            timeout=aiohttp.ClientTimeout(total=settings.timeout),
            allow_redirects=False,
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                content += chunk
                if len(content) > MAX_REPLY:
                    raise StatusUnavailable(f"{settings.vendor.label} sent an overlong reply")
            return HttpReply(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                content=without_key(bytes(content), settings),
            )
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise StatusUnavailable(f"{settings.vendor.label} did not answer ({type(error).__name__})") from None
