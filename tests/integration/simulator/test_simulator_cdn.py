# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Result links: they live for a while, and downloads go wrong in every way."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time

import pytest
import requests
from simulator_calls import AUTH, TIMEOUT, VENDORS, created, finished_link, link, order, status

from airflow_provider_vidgen.simulator import Simulator

LIFE = {"apimodels": 7 * 86_400, "apixo": 15 * 86_400, "apixgo": 3_600, "apimart": 86_400}


def fetch(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)


def as_far_as_it_goes(url: str) -> bytes:
    got = b""
    with (
        contextlib.suppress(requests.exceptions.ChunkedEncodingError),
        requests.get(url, stream=True, timeout=TIMEOUT) as reply,
    ):
        for piece in reply.iter_content(64):
            got += piece
    return got


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_finished_job_has_a_file_of_its_own(sim: Simulator, vendor: str) -> None:
    first, second = (fetch(finished_link(sim, vendor)) for _ in range(2))
    assert first.headers["Content-Type"] == "video/mp4"
    assert first.content[4:8] == b"ftyp"
    assert b"moov" in first.content
    assert int(first.headers["Content-Length"]) == len(first.content)
    assert hashlib.sha256(first.content).digest() != hashlib.sha256(second.content).digest()


def test_the_headers_of_a_tiny_file_tell_the_duration(sim: Simulator) -> None:
    content = fetch(finished_link(sim, "apimart", order("apimart", duration=30))).content
    at = content.index(b"mvhd") + 16
    scale, duration = struct.unpack(">II", content[at : at + 8])
    assert duration / scale == 30


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_link_dies_after_the_vendors_time_and_a_new_look_gives_a_fresh_one(
    sim: Simulator, vendor: str
) -> None:
    task_id = created(sim, vendor)
    sim.advance(20)
    url = link(sim, vendor, task_id)
    sim.advance(LIFE[vendor] - 1)
    assert fetch(url).status_code == 200
    sim.advance(1)
    assert fetch(url).status_code == 403
    fresh = link(sim, vendor, task_id)
    assert fresh != url
    assert fetch(fresh).status_code == 200


def test_a_dead_link_can_stay_dead(sim: Simulator) -> None:
    sim.options(renew_expired_links=False)
    task_id = created(sim, "apixgo")
    sim.advance(20)
    url = link(sim, "apixgo", task_id)
    sim.advance(3_600)
    assert link(sim, "apixgo", task_id) == url
    assert fetch(url).status_code == 403


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_dead_link_answers_as_told(sim: Simulator, code: int) -> None:
    sim.options(expired_link_response=code, link_seconds={"apimart": 1})
    url = finished_link(sim, "apimart")
    sim.advance(1)
    assert fetch(url).status_code == code


def test_a_dead_link_can_look_alive(sim: Simulator) -> None:
    sim.options(expired_link_response="html200", link_seconds={"apimart": 1})
    url = finished_link(sim, "apimart")
    sim.advance(1)
    reply = fetch(url)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_link_can_come_alive_late(sim: Simulator, vendor: str) -> None:
    url = finished_link(sim, vendor, order(vendor, "a cat [sim:link_delay=60]"))
    sim.advance(59)
    assert fetch(url).status_code == 404
    sim.advance(1)
    assert fetch(url).status_code == 200


def test_a_link_that_was_tampered_with_is_refused(sim: Simulator) -> None:
    url = finished_link(sim, "apimart")
    assert fetch(url.replace("exp=1", "exp=9")).status_code == 403
    assert fetch(url.split("?")[0]).status_code == 403


def test_the_log_shows_whether_a_key_reached_the_store(sim: Simulator) -> None:
    url = finished_link(sim, "apimart")
    fetch(url)
    fetch(url, **AUTH)
    visits = [visit for visit in sim.requests() if visit.host == "cdn"]
    assert [visit.authorization for visit in visits] == ["none", "good"]
    assert visits[0].vendor == "apimart"


def test_ranges_are_served(sim: Simulator) -> None:
    url = finished_link(sim, "apimart")
    whole = fetch(url)
    size = len(whole.content)
    for asked, start, stop in (("10-19", 10, 20), (f"{size - 5}-", size - 5, size), ("-7", size - 7, size)):
        part = fetch(url, Range=f"bytes={asked}")
        assert part.status_code == 206
        assert part.content == whole.content[start:stop]
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert fetch(url, Range=f"bytes={size}-").status_code == 416


def test_an_if_range_that_no_longer_fits_gets_the_whole(sim: Simulator) -> None:
    url = finished_link(sim, "apimart")
    tag = fetch(url).headers["ETag"]
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": tag}).status_code == 206
    assert fetch(url, **{"Range": "bytes=5-", "If-Range": '"old"'}).status_code == 200


@pytest.mark.parametrize("kind", ["truncated", "content_length_too_long", "chunked_truncated"])
def test_a_download_can_break_off(sim: Simulator, kind: str) -> None:
    url = finished_link(sim, "apixo")
    sim.fault(kind, route="download")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetch(url)
    assert fetch(url).status_code == 200


def test_a_broken_download_can_go_on_where_it_stopped(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    whole = fetch(url).content
    sim.fault("truncated", route="download", body_fraction=0.25)
    got = as_far_as_it_goes(url)
    assert 0 < len(got) < len(whole)
    assert got == whole[: len(got)]
    rest = fetch(url, Range=f"bytes={len(got)}-")
    assert got + rest.content == whole


def test_a_length_can_be_too_short(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    whole = fetch(url).content
    sim.fault("content_length_too_short", route="download")
    assert fetch(url).content == whole[:-100]


def test_a_file_can_be_empty_or_html(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("empty_body", route="download")
    assert fetch(url).content == b""
    sim.fault("html_as_video", route="download")
    reply = fetch(url)
    assert reply.headers["Content-Type"] == "video/mp4"
    assert reply.content.startswith(b"<!DOCTYPE html>")


def test_a_range_can_be_ignored_or_refused(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("range_ignored", route="download")
    assert fetch(url, Range="bytes=5-").status_code == 200
    sim.fault("range_416", route="download")
    assert fetch(url, Range="bytes=5-").status_code == 416


def test_a_redirect_can_be_a_chain_or_a_loop(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("redirect", route="download", times=3)
    reply = requests.get(url, timeout=TIMEOUT)
    assert len(reply.history) == 3
    assert reply.content[4:8] == b"ftyp"
    sim.fault("redirect", route="download", times=None)
    with pytest.raises(requests.TooManyRedirects):
        requests.get(url, timeout=TIMEOUT)


@pytest.mark.parametrize("location", ["http://10.0.0.1/video.mp4", "http://169.254.169.254/latest"])
def test_a_redirect_can_lead_to_a_private_address(sim: Simulator, location: str) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("redirect", route="download", location=location)
    assert fetch(url).headers["Location"] == location


def test_a_redirect_can_lead_to_another_name_of_this_host(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("redirect", route="download", location=url.replace("127.0.0.1", "localhost"))
    reply = requests.get(url, timeout=TIMEOUT)
    assert reply.url.startswith("http://localhost:")
    assert reply.content[4:8] == b"ftyp"


def test_a_download_can_drip(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("slow_body", route="download", seconds=0.3)
    reply = fetch(url)
    assert len(reply.content) == int(reply.headers["Content-Length"])


def test_a_download_can_bring_a_byte_at_a_time(sim: Simulator) -> None:
    url = finished_link(sim, "apixo")
    whole = fetch(url).content
    sim.fault("byte_by_byte", route="download", seconds=0.05)
    started = time.monotonic()
    with requests.get(url, stream=True, timeout=TIMEOUT) as reply:
        assert int(reply.headers["Content-Length"]) == len(whole)
        got = b"".join(piece for piece, _ in zip(reply.iter_content(1), range(10), strict=False))
    assert got == whole[:10]
    assert time.monotonic() - started >= 10 * 0.05
    # The client that left a drip holds nobody up.
    assert fetch(url).content == whole


@pytest.mark.parametrize("code", [None, 429, 503])
def test_a_store_of_results_can_ask_to_come_back_later(sim: Simulator, code: int | None) -> None:
    url = finished_link(sim, "apixo")
    sim.fault("busy", route="download", status=code, seconds=6.5, times=2)
    replies = [fetch(url) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [code or 503, code or 503, 200]
    assert [reply.headers.get("Retry-After") for reply in replies] == ["7", "7", None]


def test_a_date_to_come_back_at_is_told_as_it_was_given(sim: Simulator) -> None:
    url, date = finished_link(sim, "apixo"), "Sat, 21 Nov 2026 22:00:00 GMT"
    sim.fault("busy", route="download", headers={"Retry-After": date}, body={"code": "SlowDown"})
    reply = fetch(url)
    assert (reply.status_code, reply.headers["Retry-After"], reply.json()) == (
        503,
        date,
        {"code": "SlowDown"},
    )


def test_a_vendor_can_be_busy_too(sim: Simulator) -> None:
    task_id = created(sim, "apixgo")
    sim.fault("busy", route="status", status=429, seconds=3)
    reply = status(sim, "apixgo", task_id)
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "3")
