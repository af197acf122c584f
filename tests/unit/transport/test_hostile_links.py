# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Result links come from a vendor: where they may lead, and who gets the key."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import requests_mock
from fakes import KEY, MP4, settings

from airflow_provider_vidgen.errors import DownloadFailed, ResultExpired, UnsafeLink
from airflow_provider_vidgen.transport.download import open_link
from airflow_provider_vidgen.transport.settings import ConnectionSettings

LINK = "https://cdn.example.com/v.mp4?sig=s3cret"
HOSTILE = [
    "http://cdn.example.com/v.mp4",
    "https://localhost/v.mp4",
    "https://localhost./v.mp4",
    "https://LOCALHOST:8080/v.mp4",
    "https://printer.local/v.mp4",
    "https://db.internal/v.mp4",
    "https://intranet/v.mp4",
    "https://127.0.0.1/v.mp4",
    "https://127.1/v.mp4",
    "https://2130706433/v.mp4",
    "https://0x7f000001/v.mp4",
    "https://0/v.mp4",
    "https://169.254.169.254/latest/meta-data",
    "https://10.1.2.3/v.mp4",
    "https://172.16.0.1/v.mp4",
    "https://192.168.1.1/v.mp4",
    "https://100.64.0.1/v.mp4",
    "https://224.0.0.1/v.mp4",
    "https://[::1]/v.mp4",
    "https://[::]/v.mp4",
    "https://[fe80::1]/v.mp4",
    "https://[fd00::1]/v.mp4",
    "https://[::ffff:127.0.0.1]/v.mp4",
    "https://[::ffff:a00:1]/v.mp4",
    "https://[64:ff9b::7f00:1]/v.mp4",
    "https://user@cdn.example.com/v.mp4",
    "https://user:word@cdn.example.com/v.mp4",
    "https://cdn.example.com@127.0.0.1/v.mp4",
    "https://@cdn.example.com/v.mp4",
    "file:///etc/passwd",
    "ftp://cdn.example.com/v.mp4",
    "gopher://cdn.example.com/",
    "data:video/mp4;base64,AAAA",
    "//cdn.example.com/v.mp4",
    "cdn.example.com/v.mp4",
    "https://",
    "https:///v.mp4",
    "https://[bad",
    "https://cdn.example.com/a b",
    "https://cdn.example.com/\r\nHost: evil",
    "",
]


def fetch(link: str, told: ConnectionSettings | None = None) -> bytes:
    with open_link(link, told or settings("apixgo")) as response:
        return bytes(response.content)


def test_a_public_https_link_is_fetched_without_the_key() -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, content=MP4)
        assert fetch(LINK) == MP4
    (sent,) = web.request_history
    assert "Authorization" not in sent.headers
    assert sent.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("link", HOSTILE)
def test_a_hostile_link_is_refused_without_a_request(link: str) -> None:
    with requests_mock.Mocker() as web, pytest.raises(UnsafeLink):
        fetch(link)
    assert web.request_history == []


#: Seen from a good link these lead to a good one.
RELATIVE = ("//cdn.example.com/v.mp4", "cdn.example.com/v.mp4", "https://", "https:///v.mp4", "")


@pytest.mark.parametrize("link", [link for link in HOSTILE if link not in RELATIVE and "\n" not in link])
def test_a_redirect_to_a_hostile_link_is_refused_without_a_request_to_it(link: str) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": link})
        with pytest.raises(UnsafeLink):
            fetch(LINK)
    assert [sent.url for sent in web.request_history] == [LINK]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_good_link_is_followed(status: int) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=status, headers={"Location": "/w.mp4"})
        web.get("https://cdn.example.com/w.mp4", content=MP4)
        assert fetch(LINK) == MP4


def test_the_body_of_a_redirect_is_not_read() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("read")

    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": "/w.mp4"}, body=Endless())
        web.get("https://cdn.example.com/w.mp4", content=MP4)
        assert fetch(LINK) == MP4


def test_a_redirect_loop_ends() -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": LINK})
        with pytest.raises(UnsafeLink, match="more than 5 times"):
            fetch(LINK)
    assert len(web.request_history) == 6


def test_a_chain_of_five_redirects_is_followed_to_its_end() -> None:
    with requests_mock.Mocker() as web:
        for hop in range(5):
            web.get(f"https://cdn.example.com/{hop}", status_code=302, headers={"Location": f"/{hop + 1}"})
        web.get("https://cdn.example.com/5", content=MP4)
        assert fetch("https://cdn.example.com/0") == MP4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_dead_link_is_told_apart(status: int) -> None:
    with requests_mock.Mocker() as web, pytest.raises(ResultExpired):
        web.get(LINK, status_code=status)
        fetch(LINK)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 408, 416, 429, 500, 503])
def test_any_other_answer_may_be_better_next_time(status: int) -> None:
    with requests_mock.Mocker() as web, pytest.raises(DownloadFailed):
        web.get(LINK, status_code=status)
        fetch(LINK)


@pytest.mark.parametrize("error", [requests.ConnectTimeout, requests.ReadTimeout, requests.exceptions.SSLError])
def test_a_store_that_does_not_answer_may_do_so_next_time(error: type[Exception]) -> None:
    with requests_mock.Mocker() as web, pytest.raises(DownloadFailed):
        web.get(LINK, exc=error)
        fetch(LINK)


def test_no_error_shows_more_of_a_link_than_its_host() -> None:
    with requests_mock.Mocker() as web:
        for reply in ({"status_code": 403}, {"status_code": 500}, {"exc": requests.ReadTimeout}):
            web.get(LINK, **reply)
            with pytest.raises(Exception, match=r"cdn\.example\.com") as failure:
                fetch(LINK)
            assert "s3cret" not in str(failure.value)
            assert "v.mp4" not in str(failure.value)


# --- the key ---------------------------------------------------------------------------------------------


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


# --- names that lead elsewhere ----------------------------------------------------------------------------


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
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], ["93.184.216.34", "10.0.0.1"]],
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


def test_no_proxy_of_the_environment_gets_round_the_check(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    names["addresses"] = ["10.0.0.1"]
    with pytest.raises(UnsafeLink):
        fetch(LINK)
    assert names["connected"] == []
