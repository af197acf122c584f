# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Every fault of a download: the whole file lands, or none; nothing is paid again; no API key leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkUnavailable,
    NotAVideo,
    ResultExpired,
    UnsafeLink,
    VidgenError,
)
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, cdn_saw_no_key, posts, submit, wait

Fetch = Callable[..., list[dict[str, Any]]]
FAULTS: dict[str, tuple[dict[str, Any], type[VidgenError]]] = {
    "cut": ({"kind": "truncated"}, DownloadFailed),
    "announced too long": ({"kind": "content_length_too_long"}, DownloadFailed),
    "chunk cut": ({"kind": "chunked_truncated"}, DownloadFailed),
    "reset": ({"kind": "reset"}, DownloadFailed),
    "closed": ({"kind": "close"}, DownloadFailed),
    "no answer": ({"kind": "hang"}, DownloadFailed),
    "500": ({"kind": "status", "status": 500}, DownloadFailed),
    "503": ({"kind": "status", "status": 503}, DownloadFailed),
    "429": ({"kind": "status", "status": 429}, DownloadFailed),
    "204": ({"kind": "status", "status": 204}, DownloadFailed),
    "empty": ({"kind": "empty_body"}, NotAVideo),
    "HTML as a video": ({"kind": "html_as_video"}, NotAVideo),
    "HTML": ({"kind": "html"}, NotAVideo),
}


@pytest.fixture
def fetch(vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path) -> Iterator[Fetch]:
    """Submit a video and land it while the download has faults; ``fresh``: links can be refreshed."""

    def run(
        *faults: dict[str, Any],
        vendor: str = "apixo",
        wait_before: float = 0,
        fresh: bool = True,
        expires_in: float | None = None,
    ) -> list[dict[str, Any]]:
        hook = account(vendor, extra={"timeout": 0.4})
        submission = submit(hook)
        links = wait(hook, clock, submission).result_urls
        for fault in faults:
            vendors.fault(**{"route": "download", **fault})
        expires_at = None if expires_in is None else clock.now() + timedelta(seconds=expires_in)
        clock.sleep(wait_before)
        return Landing(hook.settings, sidecar=False, sleep=clock.sleep, now=clock.now).land(
            links,
            f"file://{tmp_path}/v.mp4",
            job=submission.job,
            refresh=(lambda: hook.get_status(submission.job).result_urls) if fresh else None,
            expires_at=expires_at,
        )

    yield run
    assert posts(vendors) == billed(vendors) == 1
    assert cdn_saw_no_key(vendors)


def is_whole(tmp_path: Path, files: list[dict[str, Any]]) -> bool:
    content = (tmp_path / "v.mp4").read_bytes()
    return (
        content[4:8] == b"ftyp" and len(content) == files[0]["bytes"] and len(list(tmp_path.iterdir())) == 1
    )


@pytest.mark.parametrize("case", FAULTS)
def test_a_download_with_one_fault_lands_the_whole_file(case: str, fetch: Fetch, tmp_path: Path) -> None:
    assert is_whole(tmp_path, fetch({**FAULTS[case][0], "times": 1}))


@pytest.mark.parametrize("case", FAULTS)
def test_a_download_with_lasting_faults_leaves_no_file(case: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(FAULTS[case][1], match="no new video is made"):
        fetch({**FAULTS[case][0], "times": None})
    assert list(tmp_path.iterdir()) == []


def test_a_content_length_that_is_too_short_once_lands_the_whole_file(fetch: Fetch, tmp_path: Path) -> None:
    # The client reads as much as announced; an MP4 box that ends later shows that bytes are missing.
    assert is_whole(tmp_path, fetch({"kind": "content_length_too_short", "times": 1}))


def test_a_content_length_that_is_always_too_short_leaves_no_file(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="ends inside its"):
        fetch({"kind": "content_length_too_short", "times": None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["truncated", "content_length_too_long", "range_ignored", "range_416"])
def test_an_interrupted_download_is_resumed_or_restarted(
    kind: str, fetch: Fetch, tmp_path: Path, vendors: Simulator
) -> None:
    second_fault = (
        [] if kind.startswith("trunc") or kind == "content_length_too_long" else [{"kind": kind, "nth": 2}]
    )
    first_fault = {"kind": kind if not second_fault else "truncated", "body_fraction": 0.5, "times": 1}
    assert is_whole(tmp_path, fetch(first_fault, *second_fault))


def test_a_compressed_reply_is_rejected(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="compressed"):
        fetch({"kind": "gzip", "times": None})
    assert list(tmp_path.iterdir()) == []


def test_a_slow_video_lands(fetch: Fetch, tmp_path: Path) -> None:
    assert is_whole(tmp_path, fetch({"kind": "slow_body", "seconds": 1.0, "times": None}))


@pytest.mark.parametrize("times", [1, 5])
def test_up_to_five_redirects_are_followed(
    times: int, fetch: Fetch, tmp_path: Path, vendors: Simulator
) -> None:
    # A redirect adds a parameter that the signature of the link does not cover.
    assert is_whole(tmp_path, fetch({"kind": "redirect", "times": times}))


def test_a_redirect_loop_is_an_error(fetch: Fetch, tmp_path: Path, vendors: Simulator) -> None:
    with pytest.raises(UnsafeLink):
        fetch({"kind": "redirect", "times": None})
    assert list(tmp_path.iterdir()) == []
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/v.mp4", "http://u:p@127.0.0.1/v"]
)
def test_a_redirect_to_an_unsafe_url_is_rejected(location: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(UnsafeLink):
        fetch({"kind": "redirect", "location": location, "times": None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dead_link", [403, 404, 410, "html200"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_an_expired_link_is_refreshed_at_the_vendor(
    dead_link: int | str, vendor: str, vendors: Simulator, fetch: Fetch, tmp_path: Path
) -> None:
    vendors.options(expired_link_response=dead_link, link_seconds=dict.fromkeys(VENDORS, 100.0))
    assert is_whole(tmp_path, fetch(vendor=vendor, wait_before=200))


@pytest.mark.parametrize(
    "fault",
    [*({"kind": "status", "status": status} for status in (401, 403, 404, 410)), {"kind": "html"}],
    ids=lambda fault: str(fault.get("status", "page")),
)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("expires_in", [None, 3600.0])
def test_a_link_that_works_only_after_a_minute_is_retried_until_then(
    fault: dict[str, Any],
    vendor: str,
    expires_in: float | None,
    fetch: Fetch,
    clock: SimulatorClock,
    tmp_path: Path,
) -> None:
    # Tried after 0, 1, 3, 7, 15, 30 and 60 seconds; the fixture asserts that nothing more was paid.
    files = fetch({**fault, "times": 6}, vendor=vendor, expires_in=expires_in)
    assert is_whole(tmp_path, files)
    assert 60 <= sum(clock.slept[-6:]) <= 66


def test_a_link_that_fails_in_between_is_resumed_where_it_stopped(
    fetch: Fetch, tmp_path: Path, vendors: Simulator
) -> None:
    refused = {"kind": "status", "status": 403, "nth": 2, "times": 4}
    assert is_whole(tmp_path, fetch(refused, {"kind": "truncated", "body_fraction": 0.5, "times": 1}))
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 6


@pytest.mark.parametrize(
    ("dead_link", "error_class"),
    [(403, LinkUnavailable), (404, LinkUnavailable), (410, LinkUnavailable), ("html200", NotAVideo)],
)
@pytest.mark.parametrize(("expires_in", "visits"), [(None, 11), (86_400.0, 11), (100.0, 2)])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_link_that_stays_dead_is_an_error_and_leaves_no_file(
    dead_link: int | str,
    error_class: type[VidgenError],
    expires_in: float | None,
    visits: int,
    fresh: bool,
    vendors: Simulator,
    fetch: Fetch,
    tmp_path: Path,
) -> None:
    vendors.options(
        expired_link_response=dead_link, link_seconds=dict.fromkeys(VENDORS, 100.0), renew_expired_links=False
    )
    with pytest.raises(ResultExpired if expires_in == 100 else error_class):
        fetch(wait_before=200, fresh=fresh, expires_in=expires_in)
    assert list(tmp_path.iterdir()) == []
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == visits


def test_links_on_loopback_are_rejected_unless_allowed(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    import dataclasses

    hook = account("apixo")
    submission = submit(hook)
    links = wait(hook, clock, submission).result_urls
    strict = dataclasses.replace(hook.settings, allow_private_urls=False)
    with pytest.raises(UnsafeLink):
        Landing(strict).land(links, f"file://{tmp_path}/v.mp4", job=submission.job)
    assert not any(visit.host == "cdn" for visit in vendors.requests())
