# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Downloads: which host gets the API key, and which addresses are connected to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadBlocked, DownloadFailed, UnsafeLink
from airflow_provider_vidgen.http.result_links import open_link
from tests.support.accounts import KEY, settings
from tests.support.vendor_replies import MP4

LINK = "https://cdn.example.com/v.mp4?sig=s3cret"


def fetch(link: str, account: ConnectionSettings | None = None) -> bytes:
    with open_link(link, account or settings("apixgo")) as response:
        return bytes(response.content)


@pytest.mark.parametrize(
    ("link", "gets_key"),
    [
        ("https://img.apixgo.com/v1/videos/task_1/content", True),
        ("https://img.apixgo.com/uploads/a.mp4", False),
        ("https://img.apixgo.com:8443/v1/videos/task_1/content", False),
        ("https://cdn.apixgo.com/v1/videos/task_1/content", False),
        ("https://img.apixgo.com.evil.example/v1/videos/x", False),
        ("https://evil.example/v1/videos/img.apixgo.com", False),
    ],
)
def test_the_api_key_is_sent_only_to_the_host_and_path_of_the_api(link: str, gets_key: bool) -> None:
    with requests_mock.Mocker() as web:
        web.get(link, content=MP4)
        fetch(link)
    (sent,) = web.request_history
    assert sent.headers.get("Authorization") == (f"Bearer {KEY}" if gets_key else None)


def test_the_api_key_is_not_sent_to_the_target_of_a_redirect() -> None:
    own = "https://img.apixgo.com/v1/videos/task_1/content"
    with requests_mock.Mocker() as web:
        web.get(own, status_code=302, headers={"Location": LINK})
        web.get(LINK, content=MP4)
        fetch(own)
    first, second = web.request_history
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in second.headers


def test_the_api_key_of_an_https_api_is_not_sent_over_http() -> None:
    account = settings("apixgo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.get("http://img.apixgo.com/v1/videos/x", content=MP4)
        fetch("http://img.apixgo.com/v1/videos/x", account)
    assert "Authorization" not in web.request_history[0].headers


def test_netrc_credentials_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for extra in ({}, {"allow_private_urls": True}):
        with requests_mock.Mocker() as web:
            web.get(LINK, content=MP4)
            fetch(LINK, settings("apixgo", extra=extra))
        assert "Authorization" not in web.request_history[0].headers


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Resolve every host name to the given addresses, and record connections instead of making them."""
    calls: dict[str, Any] = {"addresses": [], "connected": [], "lookups": 0}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        calls["lookups"] += 1
        if isinstance(calls["addresses"], Exception):
            raise calls["addresses"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in calls["addresses"]]

    def create_connection(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        calls["connected"].append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    return calls


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["93.184.216.34", "10.0.0.1"],
    ],
)
def test_a_host_that_resolves_to_a_private_address_is_not_connected_to(
    addresses: list[str], resolver: dict[str, Any]
) -> None:
    resolver["addresses"] = addresses
    with pytest.raises(UnsafeLink, match="private address"):
        fetch(LINK)
    assert resolver["connected"] == []


def test_the_address_that_was_validated_is_the_one_connected_to(resolver: dict[str, Any]) -> None:
    resolver["addresses"] = ["93.184.216.34", "93.184.216.35"]
    with pytest.raises(DownloadFailed):
        fetch(LINK)
    assert resolver["connected"] == [("93.184.216.34", 443), ("93.184.216.35", 443)]
    assert resolver["lookups"] == 1


@pytest.mark.parametrize("error", [socket.gaierror("x"), UnicodeError("label empty or too long")])
def test_a_host_that_does_not_resolve_raises_download_failed(
    error: Exception, resolver: dict[str, Any]
) -> None:
    resolver["addresses"] = error
    with pytest.raises(DownloadFailed) as failure:
        fetch(LINK)
    assert "label" not in str(failure.value)


@pytest.mark.parametrize("extra", [{}, {"allow_private_urls": True}])
def test_an_invalid_host_name_raises_an_error_of_the_package(extra: dict[str, Any]) -> None:
    with pytest.raises((DownloadFailed, UnsafeLink)):
        fetch(f"https://a..{'b' * 70}.com/v.mp4", settings("apixgo", extra=extra))


def test_a_proxy_is_used_only_with_allow_proxied_downloads(
    resolver: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://worker:s3cret@127.0.0.1:9")
    resolver["addresses"] = ["127.0.0.1"]
    with pytest.raises(
        DownloadBlocked, match=r"allow_proxied_downloads=.*NO_PROXY must list this host"
    ) as failure:
        fetch(LINK)
    assert resolver["lookups"] == 0
    assert "s3cret" not in str(failure.value)
    with pytest.raises(DownloadFailed, match=r"the proxy 127\.0\.0\.1:9 from HTTPS_PROXY cannot be reached"):
        fetch(LINK, settings("apixgo", extra={"allow_proxied_downloads": True}))
    assert resolver["connected"] == []
    # A host in NO_PROXY is reached directly, so its addresses are validated.
    monkeypatch.setenv("NO_PROXY", "cdn.example.com")
    for extra in ({}, {"allow_proxied_downloads": True}):
        with pytest.raises(UnsafeLink, match="private address"):
            fetch(LINK, settings("apixgo", extra=extra))
    assert resolver["connected"] == []


@pytest.mark.parametrize(
    "link", ["http://cdn.example.com/v.mp4", "https://10.0.0.1/v", "https://db.internal/v"]
)
def test_a_link_to_http_or_a_private_host_is_unsafe_behind_a_proxy_too(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")
    account = settings("apixgo", extra={"allow_proxied_downloads": True})
    for first in (link, LINK):
        with requests_mock.Mocker() as web:
            web.get(LINK, status_code=302, headers={"Location": link})
            with pytest.raises(UnsafeLink):
                fetch(first, account)
        assert [sent.url for sent in web.request_history] == ([] if first == link else [LINK])


def test_a_redirect_through_the_proxy_is_followed_only_with_allow_proxied_downloads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "cdn.example.com")
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": "https://store.example.com/v.mp4"})
        web.get("https://store.example.com/v.mp4", content=MP4)
        with pytest.raises(DownloadBlocked, match=r"store\.example\.com was not contacted"):
            fetch(LINK)
        assert len(web.request_history) == 1
        assert fetch(LINK, settings("apixgo", extra={"allow_proxied_downloads": True})) == MP4
    first, second, third = web.request_history
    assert (first.proxies, second.proxies) == ({}, {})
    assert third.proxies["https"] == "http://127.0.0.1:3128"
