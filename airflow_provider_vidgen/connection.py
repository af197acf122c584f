# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The settings in an Airflow connection of type ``vidgen``, validated. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_vidgen.addresses import may_be_public_host
from airflow_provider_vidgen.errors import InvalidConnection, Problem
from airflow_provider_vidgen.vendors import get_vendor, other_vendors, vendor_names
from airflow_provider_vidgen.vendors.base import Vendor
from airflow_provider_vidgen.vendors.parsing import is_http_url, parse_number

CONN_TYPE = "vidgen"
_DEFAULT_TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """
    One account at one vendor.

    :param conn_id: the Airflow connection's id.
    :param base_url: without a trailing slash; may include a port and a path prefix.
    :param timeout: connect timeout and read timeout in seconds.
    :param requests_per_minute: the account's rate limit, where it differs from the vendor's document.
    :param max_concurrent: the account's limit of concurrent jobs.
    :param callback_base_url: the public URL of this Airflow's callback route.
    :param allow_private_urls: allow http and private addresses, for the simulator or a private network.
    :param allow_proxied_downloads: allow result links to be fetched through the environment's proxy, which
        resolves their host names and so must block private addresses itself.
    :param model: the default model.
    """

    conn_id: str
    vendor: Vendor
    base_url: str
    api_key: str = field(repr=False)
    timeout: float = _DEFAULT_TIMEOUT
    requests_per_minute: int | None = None
    max_concurrent: int | None = None
    callback_base_url: str | None = field(default=None, repr=False)
    allow_private_urls: bool = False
    allow_proxied_downloads: bool = False
    model: str | None = None

    @property
    def rate_limit(self) -> int | None:
        """Requests per minute for this account, or ``None`` if not known."""
        return self.requests_per_minute or self.vendor.requests_per_minute

    @property
    def concurrency_limit(self) -> int | None:
        """Concurrent jobs for this account, or ``None`` if not known."""
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
        Parse the fields of an Airflow connection.

        :param conn_type: the connection's type, if it has one.
        :param port: and ``schema``: Airflow splits the host of a connection URI into these fields.
        :raises InvalidConnection: with all problems of the connection at once.
        """
        parser = _ExtraParser(extra)
        if conn_type and conn_type != CONN_TYPE:
            # The other fields are not validated: probably another connection is meant.
            parser.add_problem(
                "conn_type", repr(conn_type), f"must be {CONN_TYPE!r}; is another connection meant?"
            )
            raise InvalidConnection(f"The connection {conn_id!r} cannot be used", parser.problems)
        vendor_name = str(extra.get("vendor") or "").strip().lower()
        if vendor_name not in vendor_names():
            value = _safe_repr(extra.get("vendor"))
            parser.add_problem("vendor", value, f"must be one of {', '.join(vendor_names())}")
        api_key = (password or "").strip()
        if not api_key:
            parser.add_problem("password", "empty", "must be the API key")
        elif not api_key.isascii() or any(character.isspace() for character in api_key):
            parser.add_problem("password", "***", "must be the API key, in ASCII and without spaces")
        allow_private_urls = parser.boolean("allow_private_urls")
        base_url = _base_url(host, port, schema)
        if base_url is not None:
            _validate_base_url(parser, base_url, allow_private_urls)
            _validate_vendor_of_host(parser, base_url, vendor_name)
        timeout = parser.positive_number("timeout")
        requests_per_minute = parser.positive_integer("requests_per_minute")
        max_concurrent = parser.positive_integer("max_concurrent")
        callback_base_url = parser.text("callback_base_url")
        if callback_base_url is not None and not is_http_url(callback_base_url):
            parser.add_problem("callback_base_url", "set", "must be an http(s) URL")
        allow_proxied_downloads = parser.boolean("allow_proxied_downloads")
        if parser.problems:
            raise InvalidConnection(f"The connection {conn_id!r} cannot be used", parser.problems)
        vendor = get_vendor(vendor_name)
        return cls(
            conn_id=conn_id,
            vendor=vendor,
            base_url=base_url or vendor.default_base_url,
            api_key=api_key,
            timeout=timeout or _DEFAULT_TIMEOUT,
            requests_per_minute=requests_per_minute,
            max_concurrent=max_concurrent,
            callback_base_url=callback_base_url,
            allow_private_urls=allow_private_urls,
            allow_proxied_downloads=allow_proxied_downloads,
            model=parser.text("model"),
        )


#: Invalid values that may be shown: words and numbers too short for an API key.
_SHOWABLE = re.compile(r"[A-Za-z]{0,20}|[-+.\dEe]{1,12}", re.ASCII)


def _safe_repr(value: Any) -> str:
    """Return a value for an error message; ``***`` if it may be an API key in the wrong field."""
    return repr(value) if _SHOWABLE.fullmatch(str(value).strip()) else "***"


class _ExtraParser:
    """Parses fields of the connection's extra and collects the problems."""

    def __init__(self, extra: Mapping[str, Any]) -> None:
        self.extra = extra
        self.problems: list[Problem] = []

    def add_problem(self, field: str, value: str, constraint: str) -> None:
        self.problems.append(Problem(field=field, value=value, constraint=constraint))

    def positive_number(self, field: str) -> float | None:
        value = self.extra.get(field)
        if value is None or value == "":
            return None
        parsed = parse_number(value)
        if parsed is None or parsed <= 0:
            self.add_problem(field, _safe_repr(value), "must be a number above 0")
        return parsed

    def positive_integer(self, field: str) -> int | None:
        parsed = self.positive_number(field)
        if parsed is not None and parsed > 0 and not parsed.is_integer():
            self.add_problem(field, _safe_repr(self.extra.get(field)), "must be a whole number above 0")
        return None if parsed is None else int(parsed)

    def boolean(self, field: str) -> bool:
        value = self.extra.get(field)
        text = str(value).strip().lower()
        if text not in ("true", "false", "1", "0", "none", ""):
            self.add_problem(field, _safe_repr(value), "must be true or false")
        return text in ("true", "1")

    def text(self, field: str) -> str | None:
        return str(self.extra.get(field) or "").strip() or None


def _base_url(host: str | None, port: int | None, schema: str | None) -> str | None:
    host = (host or "").strip()
    if not host:
        return None
    scheme, separator, rest = host.partition("://")
    if not separator:
        # As in Airflow's HTTP connections, the schema may be the URL's scheme.
        scheme, rest = schema if schema in ("http", "https") else "https", host
    netloc, slash, path = rest.partition("/")
    if port and netloc.rpartition(":")[2] != str(port):
        netloc = f"{netloc}:{port}"
    url = f"{scheme}://{netloc}{slash}{path}"
    if schema and schema not in ("http", "https"):
        url = f"{url.rstrip('/')}/{schema.strip('/')}"
    return url.rstrip("/")


def _validate_base_url(parser: _ExtraParser, base_url: str, allow_private_urls: bool) -> None:
    if not is_http_url(base_url):
        parser.add_problem("host", "set", "must be a base URL such as https://api.example.com, or empty")
        return
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query or parts.fragment:
        parser.add_problem("host", "set", "must not contain a user name, password, query or fragment")
    if not allow_private_urls and not (parts.scheme == "https" and may_be_public_host(parts.hostname or "")):
        parser.add_problem(
            "host",
            "set",
            "must be https and public, as the API key is sent there (or set allow_private_urls)",
        )


def _validate_vendor_of_host(parser: _ExtraParser, base_url: str, vendor_name: str) -> None:
    """Report a host that is another vendor's own, and not this vendor's as well."""
    host = _host(base_url)
    if vendor_name not in vendor_names() or host == _host(get_vendor(vendor_name).default_base_url):
        return
    for other in other_vendors(vendor_name):
        if host == _host(other.default_base_url):
            parser.add_problem(
                "vendor",
                repr(vendor_name),
                f"must be {other.name!r}, as the host {host} is that of {other.label}; or correct the host",
            )


def _host(url: str) -> str | None:
    return urlsplit(url).hostname if is_http_url(url) else None
