# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Who gets the key, and where a name may lead: judged at the moment of connecting."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock

from airflow_provider_vidgen.errors import DownloadBlocked, DownloadFailed, UnsafeLink
from airflow_provider_vidgen.transport.download import open_link
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from tests.support.accounts import KEY, settings
from tests.support.vendor_replies import MP4

LINK = "https://cdn.example.com/v.mp4?sig=s3cret"


def fetch(link: str, told: ConnectionSettings | None = None) -> bytes:
    with open_link(link, told or settings("apixgo")) as response:
        return bytes(response.content)


@pytest.mark.parametrize(
    ("link", "gets_it"),
    [
        ("https://img.apixgo.com/v1/videos/task_1/content", True),
        ("https://img.apixgo.com/uploads/a.mp4", False),
        ("https://img.apixgo.com:8443/v1/videos/task_1/content", False),
        ("https://cdn.apixgo.com/v1/videos/task_1/content", False),
        ("https://img.apixgo.com.evil.example/v1/videos/x", False),
        ("https://evil.example/v1/videos/img.apixgo.com", False),
    ],
)
def test_the_key_goes_only_to_the_apis_own_host(link: str, gets_it: bool) -> None:
    with requests_mock.Mocker() as web:
        web.get(link, content=MP4)
        fetch(link)
    (sent,) = web.request_history
    assert sent.headers.get("Authorization") == (f"Bearer {KEY}" if gets_it else None)


def test_the_key_is_dropped_when_the_api_redirects_to_a_store() -> None:
    own = "https://img.apixgo.com/v1/videos/task_1/content"
    with requests_mock.Mocker() as web:
        web.get(own, status_code=302, headers={"Location": LINK})
        web.get(LINK, content=MP4)
        fetch(own)
    first, second = web.request_history
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in second.headers


def test_the_key_of_an_https_api_does_not_go_to_its_http_side() -> None:
    told = settings("apixgo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.get("http://img.apixgo.com/v1/videos/x", content=MP4)
        fetch("http://img.apixgo.com/v1/videos/x", told)
    assert "Authorization" not in web.request_history[0].headers


def test_a_netrc_entry_goes_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
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
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Resolves every name to the addresses given; connects to none, but notes the attempt."""
    told: dict[str, Any] = {"addresses": [], "connected": [], "asked": 0}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        told["asked"] += 1
        if isinstance(told["addresses"], Exception):
            raise told["addresses"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in told["addresses"]]

    def create_connection(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        told["connected"].append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    return told


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
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    addresses: list[str], names: dict[str, Any]
) -> None:
    names["addresses"] = addresses
    with pytest.raises(UnsafeLink, match="private address"):
        fetch(LINK)
    assert names["connected"] == []


def test_the_address_that_was_judged_is_the_one_connected_to(names: dict[str, Any]) -> None:
    names["addresses"] = ["93.184.216.34", "93.184.216.35"]
    with pytest.raises(DownloadFailed):
        fetch(LINK)
    assert names["connected"] == [("93.184.216.34", 443), ("93.184.216.35", 443)]
    assert names["asked"] == 1


@pytest.mark.parametrize("error", [socket.gaierror("x"), UnicodeError("label empty or too long")])
def test_a_name_that_does_not_resolve_is_an_error_of_ours(error: Exception, names: dict[str, Any]) -> None:
    names["addresses"] = error
    with pytest.raises(DownloadFailed) as failure:
        fetch(LINK)
    assert "label" not in str(failure.value)


@pytest.mark.parametrize("extra", [{}, {"allow_private_urls": True}])
def test_a_name_that_cannot_be_one_is_an_error_of_ours(extra: dict[str, Any]) -> None:
    with pytest.raises((DownloadFailed, UnsafeLink)):
        fetch(f"https://a..{'b' * 70}.com/v.mp4", settings("apixgo", extra=extra))


def test_a_proxy_is_not_asked_unless_the_connection_says_that_it_may_resolve_names(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://worker:s3cret@127.0.0.1:9")
    names["addresses"] = ["127.0.0.1"]
    with pytest.raises(
        DownloadBlocked, match=r"allow_proxied_downloads=.*NO_PROXY must name this host"
    ) as failure:
        fetch(LINK)
    assert names["asked"] == 0
    assert "s3cret" not in str(failure.value)
    with pytest.raises(DownloadFailed, match=r"the proxy 127\.0\.0\.1:9 of HTTPS_PROXY cannot be reached"):
        fetch(LINK, settings("apixgo", extra={"allow_proxied_downloads": True}))
    assert names["connected"] == []
    # What NO_PROXY names is reached directly, so its addresses are judged.
    monkeypatch.setenv("NO_PROXY", "cdn.example.com")
    for extra in ({}, {"allow_proxied_downloads": True}):
        with pytest.raises(UnsafeLink, match="private address"):
            fetch(LINK, settings("apixgo", extra=extra))
    assert names["connected"] == []


@pytest.mark.parametrize(
    "link", ["http://cdn.example.com/v.mp4", "https://10.0.0.1/v", "https://db.internal/v"]
)
def test_a_link_that_is_unsafe_by_its_look_is_unsafe_behind_a_proxy_too(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")
    told = settings("apixgo", extra={"allow_proxied_downloads": True})
    for first in (link, LINK):
        with requests_mock.Mocker() as web:
            web.get(LINK, status_code=302, headers={"Location": link})
            with pytest.raises(UnsafeLink):
                fetch(first, told)
        assert [sent.url for sent in web.request_history] == ([] if first == link else [LINK])


def test_a_redirect_to_a_host_behind_the_proxy_is_not_followed_without_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "cdn.example.com")
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": "https://store.example.com/v.mp4"})
        web.get("https://store.example.com/v.mp4", content=MP4)
        with pytest.raises(DownloadBlocked, match=r"store\.example\.com was not asked"):
            fetch(LINK)
        assert len(web.request_history) == 1
        assert fetch(LINK, settings("apixgo", extra={"allow_proxied_downloads": True})) == MP4
    first, second, third = web.request_history
    assert (first.proxies, second.proxies) == ({}, {})
    assert third.proxies["https"] == "http://127.0.0.1:3128"
