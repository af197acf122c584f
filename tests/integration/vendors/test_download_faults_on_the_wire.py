# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The download goes wrong in every way: a whole file lands, or none; nothing is paid again; no key leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    LinkNotLive,
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
BROKEN: dict[str, tuple[dict[str, Any], type[VidgenError]]] = {
    "cut": ({"kind": "truncated"}, DownloadFailed),
    "announced too long": ({"kind": "long_length"}, DownloadFailed),
    "chunk cut": ({"kind": "chunked_cut"}, DownloadFailed),
    "reset": ({"kind": "reset"}, DownloadFailed),
    "closed": ({"kind": "close"}, DownloadFailed),
    "no answer": ({"kind": "hang"}, DownloadFailed),
    "500": ({"kind": "status", "status": 500}, DownloadFailed),
    "503": ({"kind": "status", "status": 503}, DownloadFailed),
    "429": ({"kind": "status", "status": 429}, DownloadFailed),
    "204": ({"kind": "status", "status": 204}, DownloadFailed),
    "empty": ({"kind": "empty"}, NotAVideo),
    "HTML as a video": ({"kind": "html_as_video"}, NotAVideo),
    "HTML": ({"kind": "html"}, NotAVideo),
}


@pytest.fixture
def fetch(vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path) -> Iterator[Fetch]:
    """Make a video, then land it with faults on the way; the vendor can be asked for a fresh link."""

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


def whole(tmp_path: Path, files: list[dict[str, Any]]) -> bool:
    content = (tmp_path / "v.mp4").read_bytes()
    return (
        content[4:8] == b"ftyp" and len(content) == files[0]["bytes"] and len(list(tmp_path.iterdir())) == 1
    )


@pytest.mark.parametrize("case", BROKEN)
def test_a_download_that_goes_wrong_once_lands_whole(case: str, fetch: Fetch, tmp_path: Path) -> None:
    assert whole(tmp_path, fetch({**BROKEN[case][0], "times": 1}))


@pytest.mark.parametrize("case", BROKEN)
def test_a_download_that_keeps_going_wrong_leaves_nothing(case: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(BROKEN[case][1], match="no new video is made"):
        fetch({**BROKEN[case][0], "times": None})
    assert list(tmp_path.iterdir()) == []


def test_a_length_announced_too_short_never_lands_a_part(fetch: Fetch, tmp_path: Path) -> None:
    # The client reads what was announced; that a box of the file ends later tells that there was more.
    assert whole(tmp_path, fetch({"kind": "short_length", "times": 1}))


def test_a_length_always_announced_too_short_leaves_nothing(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="ends inside its"):
        fetch({"kind": "short_length", "times": None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["truncated", "long_length", "range_ignored", "range_416"])
def test_a_broken_download_goes_on_or_begins_again(
    kind: str, fetch: Fetch, tmp_path: Path, vendors: Simulator
) -> None:
    answer = [] if kind.startswith("trunc") or kind == "long_length" else [{"kind": kind, "nth": 2}]
    first = {"kind": kind if not answer else "truncated", "share": 0.5, "times": 1}
    assert whole(tmp_path, fetch(first, *answer))


def test_a_compressed_video_is_refused_and_lands_once_it_comes_plain(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="compressed"):
        fetch({"kind": "gzip", "times": None})
    assert list(tmp_path.iterdir()) == []


def test_a_slow_video_lands(fetch: Fetch, tmp_path: Path) -> None:
    assert whole(tmp_path, fetch({"kind": "slow_body", "seconds": 1.0, "times": None}))


@pytest.mark.parametrize("times", [1, 5])
def test_redirects_are_followed(times: int, fetch: Fetch, tmp_path: Path, vendors: Simulator) -> None:
    # The link itself is signed without the hop, so a redirect to itself with one more parameter is good.
    assert whole(tmp_path, fetch({"kind": "redirect", "times": times}))


def test_a_redirect_loop_is_left(fetch: Fetch, tmp_path: Path, vendors: Simulator) -> None:
    with pytest.raises(UnsafeLink):
        fetch({"kind": "redirect", "times": None})
    assert list(tmp_path.iterdir()) == []
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/v.mp4", "http://u:p@127.0.0.1/v"]
)
def test_a_redirect_to_what_is_no_good_link_is_refused(location: str, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(UnsafeLink):
        fetch({"kind": "redirect", "location": location, "times": None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dead", [403, 404, 410, "html200"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_an_expired_link_is_asked_for_anew(
    dead: int | str, vendor: str, vendors: Simulator, fetch: Fetch, tmp_path: Path
) -> None:
    vendors.options(dead_link=dead, link_seconds=dict.fromkeys(VENDORS, 100.0))
    assert whole(tmp_path, fetch(vendor=vendor, wait_before=200))


@pytest.mark.parametrize(
    "late",
    [*({"kind": "status", "status": status} for status in (401, 403, 404, 410)), {"kind": "html"}],
    ids=lambda late: str(late.get("status", "page")),
)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("expires_in", [None, 3600.0])
def test_a_cdn_that_is_late_by_a_minute_costs_nothing_but_time(
    late: dict[str, Any],
    vendor: str,
    expires_in: float | None,
    fetch: Fetch,
    clock: SimulatorClock,
    tmp_path: Path,
) -> None:
    # Tried after 0, 1, 3, 7, 15, 30 and 60 seconds; that nothing more was paid for is seen to for all tests.
    files = fetch({**late, "times": 6}, vendor=vendor, expires_in=expires_in)
    assert whole(tmp_path, files)
    assert 60 <= sum(clock.slept[-6:]) <= 66


def test_a_link_that_dies_in_the_middle_and_comes_back_goes_on_where_it_stopped(
    fetch: Fetch, tmp_path: Path, vendors: Simulator
) -> None:
    dead = {"kind": "status", "status": 403, "nth": 2, "times": 4}
    assert whole(tmp_path, fetch(dead, {"kind": "truncated", "share": 0.5, "times": 1}))
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 6


@pytest.mark.parametrize(
    ("dead", "not_live"),
    [(403, LinkNotLive), (404, LinkNotLive), (410, LinkNotLive), ("html200", NotAVideo)],
)
@pytest.mark.parametrize(("expires_in", "visits"), [(None, 11), (86_400.0, 11), (100.0, 2)])
@pytest.mark.parametrize("fresh", [True, False])
def test_an_expired_link_that_stays_dead_is_an_error_and_no_file(
    dead: int | str,
    not_live: type[VidgenError],
    expires_in: float | None,
    visits: int,
    fresh: bool,
    vendors: Simulator,
    fetch: Fetch,
    tmp_path: Path,
) -> None:
    vendors.options(dead_link=dead, link_seconds=dict.fromkeys(VENDORS, 100.0), fresh_links=False)
    with pytest.raises(ResultExpired if expires_in == 100 else not_live):
        fetch(wait_before=200, fresh=fresh, expires_in=expires_in)
    assert list(tmp_path.iterdir()) == []
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == visits


def test_links_on_loopback_are_not_fetched_unless_allowed(
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
