# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""requests sessions for a single request, with this package's proxies and certificates."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connectionpool import HTTPConnectionPool

from airflow_provider_vidgen.http.egress import Proxy, tls_context


class EgressAdapter(HTTPAdapter):
    """
    Trusts the certificates of :func:`tls_context`, for proxies too, and never retries.

    A subclass overrides methods of the connections by :meth:`connection_methods`.

    :raises EgressError: when sending over TLS, if the certificates cannot be used.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def connection_methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        """
        Return the methods that override those of a connection class.

        :param connection: the class.
        :param proxied: whether it connects to a proxy.
        """
        raise NotImplementedError

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self._adapt(self.poolmanager, proxied=False)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the attributes that distinguish connection pools, with the TLS context."""
        host, tls = super().build_connection_pool_key_attributes(*args, **kwargs)
        if host["scheme"] == "https":
            tls["ssl_context"] = tls_context()
        return host, tls

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the connection pools of a proxy."""
        if proxy in self.proxy_manager:
            return self.proxy_manager[proxy]
        if proxy.startswith("https:"):
            kwargs["proxy_ssl_context"] = tls_context()
        manager = super().proxy_manager_for(proxy, **kwargs)
        self._adapt(manager, proxied=True)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the TLS context unchanged; requests would add its own certificates to it."""

    def _adapt(self, manager: PoolManager, *, proxied: bool) -> None:
        """Override methods of the connection classes that the manager, which may be a proxy's, uses."""
        manager.pool_classes_by_scheme = {
            scheme: self._subclass(pool, proxied) for scheme, pool in manager.pool_classes_by_scheme.items()
        }

    def _subclass(self, pool: type[HTTPConnectionPool], proxied: bool) -> type[HTTPConnectionPool]:
        base: Any = pool.ConnectionCls
        connection = type(base.__name__, (base,), self.connection_methods(base, proxied=proxied))
        return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class SingleRequestSession(requests.Session):
    """
    A session that ignores redirects and the environment.

    Even with ``allow_redirects=False``, requests reads the complete body of a redirect and fails if its
    location is no URL. A .netrc entry would replace the API key.

    :param adapter: sends the request.
    """

    def __init__(self, adapter: EgressAdapter) -> None:
        super().__init__()
        self.trust_env = False
        for prefix in ("http://", "https://"):
            self.mount(prefix, adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing: the caller handles redirects."""
        return None


def requests_proxies(proxy: Proxy | None) -> dict[str, str]:
    """Return a proxy as the ``proxies`` argument of requests."""
    return {} if proxy is None else dict.fromkeys(("http", "https"), proxy.url)
