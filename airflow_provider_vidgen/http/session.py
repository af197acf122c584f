# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The session of a worker's single request."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connectionpool import HTTPConnectionPool

from airflow_provider_vidgen.http.egress import Proxy, tls_context


class EgressAdapter(HTTPAdapter):
    """
    Trusts the certificates that :func:`tls_context` does, of proxies too, and tries once.

    A subclass gives the connections methods of its own by :meth:`methods`.

    :raises EgressError: when sending over TLS, if there are none.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def methods(self, connection: Any, *, proxied: bool) -> dict[str, Any]:
        """
        Return the methods that replace those of a kind of connection.

        :param connection: the class.
        :param proxied: whether it goes to a proxy.
        """
        raise NotImplementedError

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self._adapt(self.poolmanager, proxied=False)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return what distinguishes pools of connections."""
        host, tls = super().build_connection_pool_key_attributes(*args, **kwargs)
        if host["scheme"] == "https":
            tls["ssl_context"] = tls_context()
        return host, tls

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections of a proxy."""
        if proxy in self.proxy_manager:
            return self.proxy_manager[proxy]
        if proxy.startswith("https:"):
            kwargs["proxy_ssl_context"] = tls_context()
        manager = super().proxy_manager_for(proxy, **kwargs)
        self._adapt(manager, proxied=True)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is; requests would add its own certificates to it."""

    def _adapt(self, manager: PoolManager, *, proxied: bool) -> None:
        """Have the manager's own kinds of connection, which a proxy may choose, use our methods."""
        manager.pool_classes_by_scheme = {
            scheme: self._adapted(pool, proxied) for scheme, pool in manager.pool_classes_by_scheme.items()
        }

    def _adapted(self, pool: type[HTTPConnectionPool], proxied: bool) -> type[HTTPConnectionPool]:
        plain: Any = pool.ConnectionCls
        ours = type(plain.__name__, (plain,), self.methods(plain, proxied=proxied))
        return type(pool.__name__, (pool,), {"ConnectionCls": ours})


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
