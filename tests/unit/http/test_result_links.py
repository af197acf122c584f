# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Result links come from a vendor: which hosts are allowed, and which get the API key."""

from __future__ import annotations

import io

import pytest
import requests
import requests_mock

from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import DownloadFailed, LinkUnavailable, UnsafeLink
from airflow_provider_vidgen.http.result_links import open_link
from tests.support.accounts import settings
from tests.support.vendor_replies import MP4

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


def fetch(link: str, account: ConnectionSettings | None = None) -> bytes:
    with open_link(link, account or settings("apixgo")) as response:
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


#: As redirects of a valid link these are valid.
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
def test_a_dead_link_is_unavailable(status: int) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=status)
        with pytest.raises(LinkUnavailable):
            fetch(LINK)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 408, 416, 429, 500, 503])
def test_any_other_status_is_retryable(status: int) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=status)
        with pytest.raises(DownloadFailed):
            fetch(LINK)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "40"}, 40),
        (503, {"retry-after": "40"}, 40),
        (503, {"Retry-After-Ms": "1500"}, 1.5),
        (503, {"Retry-After": "9" * 5000}, None),
        (503, {"Retry-After": "86400"}, 600),
        (503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        (503, {"Retry-After": "soon"}, None),
        (503, {}, None),
        (429, {}, None),
        (500, {"Retry-After": "40"}, None),
    ],
)
def test_retry_after_of_a_busy_server_is_read(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=status, headers=headers)
        with pytest.raises(DownloadFailed) as failure:
            fetch(LINK)
    assert failure.value.retry_after == seconds


@pytest.mark.parametrize(
    "error", [requests.ConnectTimeout, requests.ReadTimeout, requests.exceptions.SSLError]
)
def test_a_server_that_does_not_answer_is_retryable(error: type[Exception]) -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, exc=error)
        with pytest.raises(DownloadFailed):
            fetch(LINK)


def test_no_error_shows_more_of_a_link_than_its_host() -> None:
    with requests_mock.Mocker() as web:
        for reply in ({"status_code": 403}, {"status_code": 500}, {"exc": requests.ReadTimeout}):
            web.get(LINK, **reply)
            with pytest.raises(Exception, match=r"cdn\.example\.com") as failure:
                fetch(LINK)
            assert "s3cret" not in str(failure.value)
            assert "v.mp4" not in str(failure.value)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "identity, gzip"])
def test_a_compressed_body_is_refused_without_reading_it(encoding: str) -> None:
    class Bomb(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("read")

    with requests_mock.Mocker() as web:
        web.get(LINK, body=Bomb(), headers={"Content-Encoding": encoding})
        with pytest.raises(DownloadFailed, match="compressed"):
            fetch(LINK)


def test_the_range_is_requested_at_each_redirect() -> None:
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=302, headers={"Location": "/w.mp4"})
        web.get("https://cdn.example.com/w.mp4", status_code=206, content=MP4[9:])
        with open_link(LINK, settings("apixgo"), start=9, if_range='"one"') as response:
            assert response.content == MP4[9:]
    assert [(sent.headers["Range"], sent.headers["If-Range"]) for sent in web.request_history] == [
        ("bytes=9-", '"one"')
    ] * 2
