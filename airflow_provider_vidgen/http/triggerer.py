# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Send unpaid requests from the triggerer, through aiohttp."""

from __future__ import annotations

from typing import Any

import aiohttp
from yarl import URL

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.http.egress import (
    EgressError,
    failure_reason,
    is_from_proxy,
    needs_tls,
    proxy_for,
    proxy_refusal,
    proxy_unreachable,
)
from airflow_provider_vidgen.http.loop_resources import LoopResources
from airflow_provider_vidgen.http.wire import (
    MAX_REPLY,
    encode_body,
    headers_for,
    mask_api_key,
    url_for,
)
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply


class PreparedCall:
    """
    A request about one job, built once and sent any number of times: a status check, or a cancellation.

    The proxy is set explicitly: aiohttp's own lookup also reads .netrc, whose entry conflicts with the API
    key.

    :param settings: the account.
    :param job: for error messages.
    :raises StatusUnavailable: the environment's proxy cannot be used.
    """

    def __init__(self, settings: ConnectionSettings, call: HttpCall, job: VideoJob) -> None:
        self._settings = settings
        self._job = job
        try:
            # Only once per job, because it reads the complete environment.
            self._proxy = proxy_for(settings.base_url)
        except EgressError as error:
            raise self._unavailable(f"cannot be reached ({error})") from None
        self._needs_tls = needs_tls(settings.base_url, self._proxy)
        self._method = call.method
        self._url = URL(url_for(settings, call)).extend_query(call.query)
        self._options: dict[str, Any] = {
            "data": encode_body(call),
            "headers": {**headers_for(call), "Authorization": f"Bearer {settings.api_key}"},
            "proxy": self._proxy.url if self._proxy else None,
            "timeout": aiohttp.ClientTimeout(total=settings.timeout),
            "allow_redirects": False,
        }

    async def send(self, resources: LoopResources) -> HttpReply:
        """
        Send the request.

        :param resources: the event loop's session and certificates.
        :raises StatusUnavailable: no complete reply was received.
        """
        try:
            tls = await resources.tls() if self._needs_tls else True
            async with (
                resources.request_slots,
                resources.session.request(self._method, self._url, ssl=tls, **self._options) as response,
            ):
                if self._proxy is not None and is_from_proxy(response.status, self._settings.base_url):
                    raise self._unavailable(f"did not answer ({proxy_refusal(self._proxy, response.status)})")
                content = bytearray()
                while chunk := await response.content.readany():
                    content += chunk
                    if len(content) > MAX_REPLY:
                        raise self._unavailable("sent an overlong reply")
                return HttpReply(
                    status=response.status,
                    headers=response.headers,
                    content=mask_api_key(bytes(content), self._settings),
                )
        except EgressError as error:
            raise self._unavailable(f"cannot be reached over TLS ({error})") from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._unavailable(f"did not answer ({self._reason(error)})") from None

    def _unavailable(self, problem: str) -> StatusUnavailable:
        return StatusUnavailable(f"{self._settings.vendor.label} {problem}", job=self._job)

    def _reason(self, error: Exception) -> str:
        if self._proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
            return proxy_refusal(self._proxy, error.status)
        if self._proxy is not None and isinstance(error, aiohttp.ClientProxyConnectionError):
            return proxy_unreachable(self._proxy)
        return failure_reason(error, self._proxy)
