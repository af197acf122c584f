# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Result links and downloads: expiry, signatures, ranges and download faults."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time

import pytest
import requests
from simulator_calls import (
    AUTH_HEADER,
    TIMEOUT,
    VENDORS,
    create_job,
    finished_job_link,
    get_status,
    request_body,
    result_link,
)

from airflow_provider_vidgen.simulator import Simulator

LINK_SECONDS = {"apimodels": 7 * 86_400, "apixo": 15 * 86_400, "apixgo": 3_600, "apimart": 86_400}


def fetch(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)


def fetch_until_error(url: str) -> bytes:
    content = b""
    with (
        contextlib.suppress(requests.exceptions.ChunkedEncodingError),
        requests.get(url, stream=True, timeout=TIMEOUT) as response,
    ):
        for piece in response.iter_content(64):
            content += piece
    return content


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_finished_job_has_a_file_of_its_own(sim: Simulator, vendor: str) -> None:
    first, second = (fetch(finished_job_link(sim, vendor)) for _ in range(2))
    assert first.headers["Content-Type"] == "video/mp4"
    assert first.content[4:8] == b"ftyp"
    assert b"moov" in first.content
    assert int(first.headers["Content-Length"]) == len(first.content)
    assert hashlib.sha256(first.content).digest() != hashlib.sha256(second.content).digest()


def test_the_headers_of_a_placeholder_file_have_the_requested_duration(sim: Simulator) -> None:
    content = fetch(finished_job_link(sim, "apimart", request_body("apimart", duration=30))).content
    offset = content.index(b"mvhd") + 16
    timescale, duration = struct.unpack(">II", content[offset : offset + 8])
    assert duration / timescale == 30


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_link_expires_after_the_vendors_lifetime_and_a_status_check_renews_it(
    sim: Simulator, vendor: str
) -> None:
    task_id = create_job(sim, vendor)
    sim.advance(20)
    url = result_link(sim, vendor, task_id)
    sim.advance(LINK_SECONDS[vendor] - 1)
    assert fetch(url).status_code == 200
    sim.advance(1)
    assert fetch(url).status_code == 403
    renewed = result_link(sim, vendor, task_id)
    assert renewed != url
    assert fetch(renewed).status_code == 200


def test_expired_links_are_not_renewed_if_the_option_is_off(sim: Simulator) -> None:
    sim.options(renew_expired_links=False)
    task_id = create_job(sim, "apixgo")
    sim.advance(20)
    url = result_link(sim, "apixgo", task_id)
    sim.advance(3_600)
    assert result_link(sim, "apixgo", task_id) == url
    assert fetch(url).status_code == 403


@pytest.mark.parametrize("code", [403, 404, 410])
def test_an_expired_link_answers_with_the_configured_status(sim: Simulator, code: int) -> None:
    sim.options(expired_link_response=code, link_seconds={"apimart": 1})
    url = finished_job_link(sim, "apimart")
    sim.advance(1)
    assert fetch(url).status_code == code


def test_an_expired_link_can_answer_200_with_html(sim: Simulator) -> None:
    sim.options(expired_link_response="html200", link_seconds={"apimart": 1})
    url = finished_job_link(sim, "apimart")
    sim.advance(1)
    response = fetch(url)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_link_can_be_delayed(sim: Simulator, vendor: str) -> None:
    url = finished_job_link(sim, vendor, request_body(vendor, "a cat [sim:link_delay=60]"))
    sim.advance(59)
    assert fetch(url).status_code == 404
    sim.advance(1)
    assert fetch(url).status_code == 200


def test_a_link_with_a_wrong_signature_is_rejected(sim: Simulator) -> None:
    url = finished_job_link(sim, "apimart")
    assert fetch(url.replace("exp=1", "exp=9")).status_code == 403
    assert fetch(url.split("?")[0]).status_code == 403


def test_the_request_log_shows_whether_an_api_key_was_sent_to_the_cdn(sim: Simulator) -> None:
    url = finished_job_link(sim, "apimart")
    fetch(url)
    fetch(url, **AUTH_HEADER)
    logged = [request for request in sim.requests() if request.host == "cdn"]
    assert [request.authorization for request in logged] == ["none", "good"]
    assert logged[0].vendor == "apimart"


def test_ranges_are_served(sim: Simulator) -> None:
    url = finished_job_link(sim, "apimart")
    complete = fetch(url)
    size = len(complete.content)
    for byte_range, start, stop in (
        ("10-19", 10, 20),
        (f"{size - 5}-", size - 5, size),
        ("-7", size - 7, size),
    ):
        part = fetch(url, Range=f"bytes={byte_range}")
        assert part.status_code == 206
        assert part.content == complete.content[start:stop]
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert fetch(url, Range=f"bytes={size}-").status_code == 416


def test_an_if_range_that_does_not_match_gets_the_whole_file(sim: Simulator) -> None:
    url = finished_job_link(sim, "apimart")
    etag = fetch(url).headers["ETag"]
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": etag}).status_code == 206
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": '"old"'}).status_code == 200


@pytest.mark.parametrize("kind", ["truncated", "content_length_too_long", "chunked_truncated"])
def test_a_download_can_be_truncated(sim: Simulator, kind: str) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault(kind, route="download")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetch(url)
    assert fetch(url).status_code == 200


def test_a_truncated_download_can_be_resumed(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    complete = fetch(url).content
    sim.fault("truncated", route="download", body_fraction=0.25)
    content = fetch_until_error(url)
    assert 0 < len(content) < len(complete)
    assert content == complete[: len(content)]
    rest = fetch(url, Range=f"bytes={len(content)}-")
    assert content + rest.content == complete


def test_a_content_length_can_be_too_short(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    complete = fetch(url).content
    sim.fault("content_length_too_short", route="download")
    assert fetch(url).content == complete[:-100]


def test_a_file_can_be_empty_or_html(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("empty_body", route="download")
    assert fetch(url).content == b""
    sim.fault("html_as_video", route="download")
    response = fetch(url)
    assert response.headers["Content-Type"] == "video/mp4"
    assert response.content.startswith(b"<!DOCTYPE html>")


def test_a_range_can_be_ignored_or_rejected(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("range_ignored", route="download")
    assert fetch(url, Range="bytes=5-").status_code == 200
    sim.fault("range_416", route="download")
    assert fetch(url, Range="bytes=5-").status_code == 416


def test_a_redirect_can_be_a_chain_or_a_loop(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("redirect", route="download", times=3)
    response = requests.get(url, timeout=TIMEOUT)
    assert len(response.history) == 3
    assert response.content[4:8] == b"ftyp"
    sim.fault("redirect", route="download", times=None)
    with pytest.raises(requests.TooManyRedirects):
        requests.get(url, timeout=TIMEOUT)


@pytest.mark.parametrize("location", ["http://10.0.0.1/video.mp4", "http://169.254.169.254/latest"])
def test_a_redirect_can_point_to_a_private_address(sim: Simulator, location: str) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("redirect", route="download", location=location)
    assert fetch(url).headers["Location"] == location


def test_a_redirect_can_point_to_another_host_name(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("redirect", route="download", location=url.replace("127.0.0.1", "localhost"))
    response = requests.get(url, timeout=TIMEOUT)
    assert response.url.startswith("http://localhost:")
    assert response.content[4:8] == b"ftyp"


def test_a_download_can_be_slow(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("slow_body", route="download", seconds=0.3)
    response = fetch(url)
    assert len(response.content) == int(response.headers["Content-Length"])


def test_a_download_can_be_sent_byte_by_byte(sim: Simulator) -> None:
    url = finished_job_link(sim, "apixo")
    complete = fetch(url).content
    sim.fault("byte_by_byte", route="download", seconds=0.05)
    started = time.monotonic()
    with requests.get(url, stream=True, timeout=TIMEOUT) as response:
        assert int(response.headers["Content-Length"]) == len(complete)
        content = b"".join(piece for piece, _ in zip(response.iter_content(1), range(10), strict=False))
    assert content == complete[:10]
    assert time.monotonic() - started >= 10 * 0.05
    # A client that disconnects does not delay others.
    assert fetch(url).content == complete


@pytest.mark.parametrize("code", [None, 429, 503])
def test_the_cdn_can_be_busy_with_retry_after(sim: Simulator, code: int | None) -> None:
    url = finished_job_link(sim, "apixo")
    sim.fault("busy", route="download", status=code, seconds=6.5, times=2)
    responses = [fetch(url) for _ in range(3)]
    assert [response.status_code for response in responses] == [code or 503, code or 503, 200]
    assert [response.headers.get("Retry-After") for response in responses] == ["7", "7", None]


def test_a_retry_after_header_given_as_a_date_is_sent_unchanged(sim: Simulator) -> None:
    url, date = finished_job_link(sim, "apixo"), "Sat, 21 Nov 2026 22:00:00 GMT"
    sim.fault("busy", route="download", headers={"Retry-After": date}, body={"code": "SlowDown"})
    response = fetch(url)
    assert (response.status_code, response.headers["Retry-After"], response.json()) == (
        503,
        date,
        {"code": "SlowDown"},
    )


def test_a_vendor_can_be_busy_with_retry_after(sim: Simulator) -> None:
    task_id = create_job(sim, "apixgo")
    sim.fault("busy", route="status", status=429, seconds=3)
    response = get_status(sim, "apixgo", task_id)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
