# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A link that is not live yet costs time; only one whose time has passed is given up for good."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Callable
from concurrent.futures import wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_landing import FRESH, LINK, Cdn, Reply, broken, cdn, left, rest, whole  # noqa: F401

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    JobNotFound,
    LinkNotLive,
    NotAVideo,
    ResultExpired,
    StatusRefused,
    StatusUnavailable,
    VidgenError,
)
from airflow_provider_vidgen.landing import Landing
from tests.support.accounts import job, settings
from tests.support.clock import NOW, Clock
from tests.support.vendor_replies import MP4

#: What all the waits for one link come to, without and with all that may be added.
LEAST, MOST = 300, 312
LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(seconds=1)


def page() -> Reply:
    return Reply(b"<!DOCTYPE html><title>Sign in</title>")


class Vendor:
    """Gives links anew: in turn, the last answer for ever; an error is raised."""

    def __init__(self, *answers: list[str] | VidgenError, clock: Clock, seconds: float = 0) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []
        self._clock = clock
        self._seconds = seconds

    def __call__(self) -> list[str]:
        self.asked.append(self._clock.now())
        self._clock.time += timedelta(seconds=self._seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, VidgenError):
            raise answer
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def land(cdn: Cdn, clock: Clock, tmp_path: Path) -> Callable[..., dict[str, Any]]:  # noqa: F811
    """Land what the link replies with, one reply after the other."""

    def run(*replies: Any, **more: Any) -> dict[str, Any]:
        cdn.replies[LINK] = list(replies)
        landing = Landing(settings(), sidecar=False, verify=False, sleep=clock.sleep, now=clock.now)
        return landing.land([LINK], f"file://{tmp_path}/v.mp4", **{"job": job(), **more})[0]

    return run


@pytest.mark.parametrize("not_live", [LinkNotLive("x"), page(), Reply()], ids=["dead", "page", "empty"])
@pytest.mark.parametrize("expires_at", [None, LATER])
@pytest.mark.parametrize("can_ask", [True, False])
def test_a_cdn_that_is_late_by_a_minute_costs_nothing_but_time(
    not_live: Any, expires_at: Any, can_ask: bool, land: Callable[..., Any], clock: Clock, tmp_path: Path
) -> None:
    vendor = Vendor([LINK], clock=clock)
    # It is tried after 0, 1, 3, 7, 15, 30 and 60 seconds.
    land(*[not_live] * 6, whole(), expires_at=expires_at, refresh=vendor if can_ask else None)
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert 60 <= sum(clock.slept) <= 66
    assert len(vendor.asked) == (6 if can_ask else 0)


def test_a_link_that_stays_dead_and_whose_time_is_not_known_is_left_to_a_retry(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
    tmp_path: Path,
) -> None:
    vendor = Vendor([LINK], clock=clock)
    with pytest.raises(LinkNotLive) as failure:
        land(LinkNotLive("The link at cdn.example.com is dead (HTTP 404)"), refresh=vendor)
    assert not failure.value.ends_retries
    assert str(failure.value) == (
        "The link at cdn.example.com is dead (HTTP 404). Job: apixgo job task_1. The video was paid for. "
        "A retry asks the vendor for the link again and downloads; no new video is made."
    )
    assert LEAST <= sum(clock.slept) <= MOST
    assert (len(cdn.asked), len(vendor.asked)) == (11, 10)
    assert left(tmp_path) == []


def test_a_page_that_stays_is_left_to_a_retry(land: Callable[..., Any], clock: Clock) -> None:
    with pytest.raises(NotAVideo, match="A retry asks the vendor for a fresh link") as failure:
        land(page(), refresh=Vendor([LINK], clock=clock))
    assert not failure.value.ends_retries
    assert LEAST <= sum(clock.slept) <= MOST


@pytest.mark.parametrize("dead", [LinkNotLive("dead"), page()], ids=["dead", "page"])
def test_a_dead_link_whose_time_has_passed_is_asked_for_once_more(
    dead: Any,
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [dead]
    vendor = Vendor([FRESH], clock=clock)
    with pytest.raises(ResultExpired, match="asks for a live link once more") as failure:
        land(dead, refresh=vendor, expires_at=EARLIER)
    assert failure.value.ends_retries
    assert "and its time has passed (2026-11-20T11:59:59+00:00)" in str(failure.value)
    assert cdn.asked == [LINK, FRESH]
    assert len(vendor.asked) == 1
    assert sum(clock.slept) <= 2


def test_a_link_whose_time_has_passed_lands_if_the_vendor_gives_a_good_one(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    assert land(LinkNotLive("x"), refresh=Vendor([FRESH], clock=clock), expires_at=EARLIER)["bytes"]


def test_a_time_that_passes_meanwhile_counts_only_once_the_vendor_was_asked_after_it(
    land: Callable[..., Any], clock: Clock
) -> None:
    vendor, ends = Vendor([LINK], clock=clock), NOW + timedelta(seconds=40)
    with pytest.raises(ResultExpired):
        land(LinkNotLive("x"), refresh=vendor, expires_at=ends)
    assert [asked >= ends for asked in vendor.asked] == [False] * 6 + [True]


@pytest.mark.parametrize("trouble", [StatusUnavailable("down"), StatusRefused("no")])
@pytest.mark.parametrize("expires_at", [None, LATER, EARLIER])
def test_a_vendor_that_cannot_be_asked_says_nothing_about_the_link(
    trouble: VidgenError,
    expires_at: Any,
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    assert land(LinkNotLive("x"), refresh=Vendor(*[trouble] * 5, [FRESH], clock=clock), expires_at=expires_at)
    clock.slept.clear()
    with pytest.raises(type(trouble)):
        land(LinkNotLive("x"), refresh=Vendor(trouble, clock=clock), expires_at=expires_at, job=job())


def test_a_vendor_that_cannot_be_asked_is_not_asked_for_longer_than_the_link_is_tried(
    land: Callable[..., Any], clock: Clock
) -> None:
    vendor = Vendor(StatusUnavailable("down"), clock=clock, seconds=110)
    with pytest.raises(StatusUnavailable):
        land(LinkNotLive("x"), refresh=vendor)
    assert len(vendor.asked) == 3


@pytest.mark.parametrize(("expires_at", "error"), [(None, LinkNotLive), (EARLIER, ResultExpired)])
@pytest.mark.parametrize("fresh", [JobNotFound("x"), [], [FRESH, FRESH]], ids=["unknown", "none", "two"])
def test_a_vendor_without_a_link_in_place_leaves_it_dead(
    fresh: Any,
    expires_at: Any,
    error: type[VidgenError],
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    with pytest.raises(error):
        land(LinkNotLive("x"), refresh=Vendor(fresh, clock=clock), expires_at=expires_at)
    assert set(cdn.asked) == {LINK}


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (None, "The vendor can be asked for a fresh link only with video= instead of url=."),
        (job(task_id=""), "The vendor gave this job no id, so it cannot be asked for a fresh link."),
        (job(), ""),
    ],
)
@pytest.mark.parametrize("dead", [LinkNotLive("x"), page()], ids=["dead", "page"])
def test_without_a_vendor_to_ask_no_fresh_link_is_promised(
    of: Any, told: str, dead: Any, land: Callable[..., Any]
) -> None:
    with pytest.raises((LinkNotLive, NotAVideo)) as failure:
        land(dead, job=of)
    assert str(failure.value).endswith(
        f"The video was paid for. A retry tries the same link again; no new video is made. {told}".rstrip()
    )


def test_without_a_vendor_to_ask_a_link_whose_time_has_passed_is_tried_once_more(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
) -> None:
    with pytest.raises(ResultExpired):
        land(LinkNotLive("x"), job=job(task_id=""), expires_at=EARLIER)
    assert cdn.asked == [LINK] * 2


def test_a_file_that_is_too_large_is_not_fetched_for_minutes(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.fetching._LARGEST", 2000)
    with pytest.raises(NotAVideo, match="larger than 2000"):
        land(Reply(*[MP4] * 50), refresh=Vendor([LINK], clock=clock))
    assert cdn.asked == [LINK]


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_a_link_that_dies_after_broken_downloads_is_asked_for_anew(
    breaks: int,
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    land(*[DownloadFailed("x")] * breaks, LinkNotLive("x"), refresh=Vendor([FRESH], clock=clock))
    assert cdn.asked == [LINK] * (breaks + 1) + [FRESH]


def test_a_link_that_dies_in_the_middle_and_comes_back_goes_on_where_it_stopped(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
    tmp_path: Path,
) -> None:
    file = land(broken(), *[LinkNotLive("x")] * 5, rest(), refresh=Vendor([LINK], clock=clock))
    assert cdn.ranges == [(0, ""), *[(400, '"one"')] * 6]
    assert file["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert left(tmp_path) == ["v.mp4"]


def test_a_page_in_the_middle_begins_the_file_again(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
) -> None:
    land(broken(), page(), page(), whole())
    assert [start for start, _ in cdn.ranges] == [0, 400, 0, 0]
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_link_that_brings_much_each_time_before_it_dies_is_not_given_up(
    land: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.fetching._WORTH", 100)
    steps: list[Any] = [broken()]
    for start in range(400, 1000, 100):
        told = f"bytes {start}-{len(MP4) - 1}/{len(MP4)}"
        body = MP4[start : start + 100]
        steps += [LinkNotLive("x")] * 9
        steps.append(Reply(body, DownloadFailed("x"), status=206, ETag='"one"', Content_Range=told))
    land(*steps, rest(1000, body=MP4[1000:]))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


# --- several files of one job ----------------------------------------------------------------------------


def landing_of(clock: Clock, **how: Any) -> Landing:
    return Landing(settings(), **{"sidecar": False, "verify": False, "sleep": clock.sleep, **how})


def test_one_file_lands_while_the_other_is_not_live_yet(cdn: Cdn, clock: Clock, tmp_path: Path) -> None:  # noqa: F811
    cdn.replies = {LINK: [whole()], FRESH: [*[LinkNotLive("x")] * 6, whole(MP4 + b"2")]}
    vendor = Vendor([LINK, FRESH], clock=clock)
    files = landing_of(clock).land([LINK, FRESH], f"file://{tmp_path}/", job=job(), refresh=vendor)
    assert [file["bytes"] for file in files] == [len(MP4), len(MP4) + 1]
    assert cdn.asked.count(LINK) == 1


@pytest.mark.parametrize(("expires_at", "error"), [(None, LinkNotLive), (EARLIER, ResultExpired)])
def test_the_files_beside_a_dead_one_stay_and_are_not_fetched_again(
    expires_at: Any,
    error: type[VidgenError],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
    tmp_path: Path,
) -> None:
    cdn.replies = {LINK: [whole()], FRESH: [LinkNotLive("x")]}
    run = landing_of(clock, sidecar=True)
    for _ in range(2):
        with pytest.raises(error):
            run.land([LINK, FRESH], f"file://{tmp_path}/", job=job(), expires_at=expires_at)
    assert left(tmp_path) == ["task_1-0.mp4", "task_1-0.mp4.json"]
    assert cdn.asked.count(LINK) == 1


def test_files_that_wait_for_their_links_keep_no_other_from_landing(cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    links = [f"{LINK}&n={number}" for number in range(6)]
    asked_last = threading.Event()

    class Last(Reply):
        def opened(self) -> Reply:
            asked_last.set()
            return super().opened()

    last = Last(MP4)
    asked_last.clear()
    cdn.replies = {link: [LinkNotLive("x"), whole(MP4 + link.encode())] for link in links[:5]}
    cdn.replies[links[5]] = [last]

    def sleep(_: float) -> None:
        assert asked_last.wait(30), "the last file has to wait until the others are given up"

    landing = Landing(settings(), sidecar=False, verify=False, sleep=sleep)
    assert len(landing.land(links, f"file://{tmp_path}/", job=job())) == 6


def test_several_dead_links_are_asked_for_once(cdn: Cdn, tmp_path: Path, clock: Clock) -> None:  # noqa: F811
    old, new = [f"{LINK}&n={n}" for n in range(3)], [f"{FRESH}?n={n}" for n in range(3)]
    cdn.replies = {link: [LinkNotLive("x")] for link in old} | {link: [whole()] for link in new}
    vendor = Vendor(new, clock=clock)
    landing_of(clock, sleep=lambda _: None).land(old, f"file://{tmp_path}/", job=job(), refresh=vendor)
    assert len(vendor.asked) == 1
    assert len(left(tmp_path)) == 3


# --- a task that is stopped ------------------------------------------------------------------------------


def test_an_execution_timeout_ends_the_wait_for_a_link_at_once(cdn: Cdn, tmp_path: Path) -> None:  # noqa: F811
    def out_of_time(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    cdn.replies = {LINK: [LinkNotLive("x")]}
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(AirflowTaskTimeout):
            Landing(settings()).land([LINK], f"file://{tmp_path}/v.mp4", job=job())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(cdn.asked) == 1
    assert left(tmp_path) == []


def test_an_execution_timeout_ends_the_waits_for_several_links_at_once(
    cdn: Cdn,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = [LINK, FRESH, f"{LINK}&n=2"]
    cdn.replies = {LINK: [LinkNotLive("x")], FRESH: [page()], links[2]: [LinkNotLive("x")]}
    asked = threading.Semaphore(0)

    def refresh() -> list[str]:
        asked.release()
        return links

    def out_of_time(futures: Any, timeout: float | None = None) -> Any:
        if timeout is not None:
            return wait(futures, timeout)
        for _ in links:
            assert asked.acquire(timeout=30)
        raise AirflowTaskTimeout("Timeout")

    monkeypatch.setattr("airflow_provider_vidgen.landing.room.wait", out_of_time)
    landing = Landing(settings())
    with pytest.raises(AirflowTaskTimeout):
        landing.land(links, f"file://{tmp_path}/", job=job(), refresh=refresh)
    assert sorted(cdn.asked) == sorted(links)
    assert left(tmp_path) == []


def busy(seconds: float | None) -> DownloadFailed:
    return DownloadFailed("busy", retry_after=seconds)


def test_a_store_of_results_that_asks_to_wait_is_waited_for(
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
    tmp_path: Path,
) -> None:
    land(busy(40), busy(40.0), broken(), busy(120), rest())
    assert left(tmp_path) == ["v.mp4"]
    assert cdn.ranges[-2:] == [(400, '"one"')] * 2
    assert 200 <= sum(clock.slept) < 210


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 29, 100, 299])
def test_a_store_of_results_that_always_asks_to_wait_is_given_up_after_minutes(
    seconds: float,
    land: Callable[..., Any],
    cdn: Cdn,  # noqa: F811
    clock: Clock,
) -> None:
    with pytest.raises(DownloadFailed, match="no new video is made"):
        land(busy(seconds))
    assert 200 <= sum(clock.slept) <= MOST
    assert len(cdn.asked) <= 11


def test_a_store_of_results_that_asks_for_more_than_minutes_is_left_to_the_next_try(
    land: Callable[..., Any], clock: Clock
) -> None:
    with pytest.raises(DownloadFailed):
        land(busy(301))
    assert clock.slept == []
    land(busy(300), whole())


# --- any course ------------------------------------------------------------------------------------------

REPLIES: dict[str, Callable[[], Any]] = {
    "dead": lambda: LinkNotLive("dead"),
    "page": page,
    "broken": broken,
    "down": lambda: DownloadFailed("down"),
    "busy": lambda: busy(50),
    "whole": whole,
}
ANSWERS: dict[str, Any] = {
    "same": [LINK],
    "none": [],
    "gone": JobNotFound("x"),
    "down": StatusUnavailable("x"),
}


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    replies=st.lists(st.sampled_from(sorted(REPLIES)), min_size=1, max_size=25),
    answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=15),
    ends_in=st.none() | st.integers(-10, 400),
)
def test_a_video_is_given_up_for_good_only_after_its_time_and_a_look_at_the_vendor(
    replies: list[str],
    answers: list[str],
    ends_in: int | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from airflow_provider_vidgen.transport import download

    clock, results = Clock(), Cdn()
    monkeypatch.setattr(download, "open_link", results.open_link)
    results.replies[LINK] = [REPLIES[reply]() for reply in replies]
    vendor = Vendor(*[ANSWERS[answer] for answer in answers], clock=clock)
    ends = None if ends_in is None else NOW + timedelta(seconds=ends_in)
    (tmp_path / "v.mp4").unlink(missing_ok=True)
    landing = landing_of(clock, now=clock.now)
    error: VidgenError | None = None
    try:
        landing.land([LINK], f"file://{tmp_path}/v.mp4", job=job(), refresh=vendor, expires_at=ends)
    except VidgenError as raised:
        error = raised
    assert left(tmp_path) == ([] if error else ["v.mp4"])
    assert error or (tmp_path / "v.mp4").read_bytes() == MP4
    # Whatever was given up was tried for minutes, broke off often, or has expired.
    assert sum(clock.slept) <= MOST + 4 * 21
    if isinstance(error, ResultExpired):
        told = [(answers[min(n, len(answers) - 1)], asked) for n, asked in enumerate(vendor.asked)]
        assert ends is not None
        assert any(answer != "down" and asked >= ends for answer, asked in told)
    elif error is not None:
        assert not error.ends_retries
