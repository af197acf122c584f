# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The session of a worker's single request."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from airflow_provider_vidgen.transport.egress import Proxy, tls_context


class EgressAdapter(HTTPAdapter):
    """
    Trusts the certificates that :func:`tls_context` does, of proxies too, and tries once.

    :raises UnusableEgress: when sending over TLS, if there are none.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return what distinguishes pools of connections."""
        host, tls = super().build_connection_pool_key_attributes(*args, **kwargs)
        if host["scheme"] == "https":
            tls["ssl_context"] = tls_context()
        return host, tls

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections of a proxy."""
        if proxy.startswith("https:"):
            kwargs["proxy_ssl_context"] = tls_context()
        return super().proxy_manager_for(proxy, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is; requests would add its own certificates to it."""


class SingleRequestSession(requests.Session):
    """
    A session that knows nothing of redirects, nor of the environment.

    Also where it is told not to follow them, requests reads the whole body of a redirecting reply, however
    long that is, and stumbles over a location that is no link. A .netrc entry would replace the key.

    :param adapter: what sends.
    """

    def __init__(self, adapter: EgressAdapter) -> None:
        super().__init__()
        self.trust_env = False
        for prefix in ("http://", "https://"):
            self.mount(prefix, adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing: the caller decides."""
        return None


def through(proxy: Proxy | None) -> dict[str, str]:
    """Return a proxy as requests takes it."""
    return {} if proxy is None else dict.fromkeys(("http", "https"), proxy.url)
