# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What an Airflow connection of type ``vidgen`` says, checked. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.addresses import may_be_public_host
from airflow_provider_vidgen.errors import InvalidConnection, Problem
from airflow_provider_vidgen.vendors import get_vendor, vendor_names
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.parsing import is_http_url, parse_number

CONN_TYPE = "vidgen"
_TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """
    One account at one vendor.

    :param conn_id: the Airflow connection's id.
    :param base_url: without a slash at the end; may carry a port and a path prefix.
    :param timeout: seconds to connect, and seconds without a byte before a reply counts as lost.
    :param requests_per_minute: the account's own limit, where it differs from the vendor's document.
    :param max_concurrent: the account's own limit of jobs at a time.
    :param callback_base_url: where vendors reach this Airflow's callback route.
    :param allow_private_urls: http and private addresses are allowed, for the simulator or a private network.
    :param allow_proxied_downloads: result links may be fetched through the proxy of the environment. It
        resolves their names, so private addresses behind them are for the proxy to refuse.
    :param model: the default model.
    """

    conn_id: str
    vendor: Vendor
    base_url: str
    api_key: str = field(repr=False)
    timeout: float = _TIMEOUT
    requests_per_minute: int | None = None
    max_concurrent: int | None = None
    callback_base_url: str | None = None
    allow_private_urls: bool = False
    allow_proxied_downloads: bool = False
    model: str | None = None

    @property
    def rate_limit(self) -> int | None:
        """Requests a minute on this account, as far as it is known."""
        return self.requests_per_minute or self.vendor.requests_per_minute

    @property
    def concurrency_limit(self) -> int | None:
        """How many jobs the account may have under way, as far as it is known."""
        return self.max_concurrent or self.vendor.max_concurrent

    @classmethod
    def read(
        cls,
        conn_id: str,
        *,
        host: str | None,
        password: str | None,
        extra: Mapping[str, Any],
        port: int | None = None,
        schema: str | None = None,
        conn_type: str | None = None,
    ) -> ConnectionSettings:
        """
        Read the fields of an Airflow connection.

        :param conn_type: the connection's type, as far as it says one.
        :param port: and ``schema`` are where Airflow puts the rest of a host given in a connection URI.
        :raises InvalidConnection: with every problem of the connection at once.
        """
        reader = _Reader(extra)
        if conn_type and conn_type != CONN_TYPE:
            # What else such a connection lacks is no news.
            reader.problem(
                "conn_type", repr(conn_type), f"must be {CONN_TYPE!r}; is another connection meant?"
            )
            raise InvalidConnection(f"The connection {conn_id!r} cannot be used", reader.problems)
        name = str(extra.get("vendor") or "").strip().lower()
        known = vendor_names()
        if name not in known:
            reader.problem("vendor", repr(extra.get("vendor")), f"one of {', '.join(known)}")
        if not (password or "").strip():
            reader.problem("password", "empty", "the API key")
        elif not (password or "").strip().isascii() or any(c.isspace() for c in (password or "").strip()):
            reader.problem("password", "***", "an API key holds no spaces and only ASCII characters")
        allow_private = reader.flag("allow_private_urls")
        allow_proxied = reader.flag("allow_proxied_downloads")
        base_url = _base_url(host, port, schema)
        if base_url is not None:
            _check_base_url(reader, base_url, allow_private)
        timeout = reader.positive("timeout")
        per_minute, concurrent = reader.whole("requests_per_minute"), reader.whole("max_concurrent")
        callback = reader.words("callback_base_url")
        if callback is not None and not is_http_url(callback):
            reader.problem("callback_base_url", "set", "must be an http(s) link")
        model = reader.words("model")
        if reader.problems:
            raise InvalidConnection(f"The connection {conn_id!r} cannot be used", reader.problems)
        vendor = get_vendor(name)
        return cls(
            conn_id=conn_id,
            vendor=vendor,
            base_url=base_url or vendor.default_base_url,
            api_key=(password or "").strip(),
            timeout=timeout or _TIMEOUT,
            requests_per_minute=per_minute,
            max_concurrent=concurrent,
            callback_base_url=callback,
            allow_private_urls=allow_private,
            allow_proxied_downloads=allow_proxied,
            model=model,
        )


class _Reader:
    def __init__(self, extra: Mapping[str, Any]) -> None:
        self.extra = extra
        self.problems: list[Problem] = []

    def problem(self, field: str, value: str, constraint: str) -> None:
        self.problems.append(Problem(field=field, value=value, constraint=constraint))

    def positive(self, field: str) -> float | None:
        value = self.extra.get(field)
        if value is None or value == "":
            return None
        found = parse_number(value)
        if found is None or found <= 0:
            self.problem(field, repr(value), "must be a number above 0")
        return found

    def whole(self, field: str) -> int | None:
        found = self.positive(field)
        if found is not None and found > 0 and not found.is_integer():
            self.problem(field, repr(self.extra.get(field)), "must be a whole number above 0")
        return None if found is None else int(found)

    def flag(self, field: str) -> bool:
        value = self.extra.get(field)
        spelled = str(value).strip().lower()
        if spelled not in ("true", "false", "1", "0", "none", ""):
            self.problem(field, repr(value), "must be true or false")
        return spelled in ("true", "1")

    def words(self, field: str) -> str | None:
        return str(self.extra.get(field) or "").strip() or None


def _base_url(host: str | None, port: int | None, schema: str | None) -> str | None:
    host = (host or "").strip()
    if not host:
        return None
    scheme, separator, rest = host.partition("://")
    if not separator:
        # In the form of Airflow's HTTP connections the schema is the URL's scheme.
        scheme, rest = schema if schema in ("http", "https") else "https", host
    netloc, slash, path = rest.partition("/")
    if port and netloc.rpartition(":")[2] != str(port):
        netloc = f"{netloc}:{port}"
    url = f"{scheme}://{netloc}{slash}{path}"
    if schema and schema not in ("http", "https"):
        url = f"{url.rstrip('/')}/{schema.strip('/')}"
    return url.rstrip("/")


def _check_base_url(reader: _Reader, base_url: str, allow_private: bool) -> None:
    if not is_http_url(base_url):
        reader.problem("host", "set", "must be a base URL such as https://api.example.com, or empty")
        return
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query or parts.fragment:
        reader.problem("host", "set", "must hold no user name, password, query or fragment")
    if not allow_private and not (parts.scheme == "https" and may_be_public_host(parts.hostname or "")):
        reader.problem(
            "host",
            f"{parts.scheme}://{parts.hostname}",
            "must be https and public; the API key goes there (or set allow_private_urls)",
        )
