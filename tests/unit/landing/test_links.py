# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A link that is not live yet is retried; only an expired one is final."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_cdn import (
    FRESH,
    LINK,
    Cdn,
    Land,
    RefreshLinks,
    Reply,
    broken,
    files_in,
    page,
    rest,
    whole,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from airflow_provider_vidgen.errors import (
    DownloadFailed,
    JobNotFound,
    LinkUnavailable,
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

#: Seconds of all waits for one link, without and with the maximum jitter.
LEAST, MOST = 300, 312


LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(seconds=1)


@pytest.mark.parametrize("not_live", [LinkUnavailable("x"), page(), Reply()], ids=["dead", "page", "empty"])
@pytest.mark.parametrize("expires_at", [None, LATER])
@pytest.mark.parametrize("can_ask", [True, False])
def test_a_link_that_becomes_live_within_a_minute_lands(
    not_live: Any, expires_at: Any, can_ask: bool, land: Land, clock: Clock, tmp_path: Path
) -> None:
    vendor = RefreshLinks([LINK], clock=clock)
    # It is tried after 0, 1, 3, 7, 15, 30 and 60 seconds.
    land(*[not_live] * 6, whole(), expires_at=expires_at, refresh=vendor if can_ask else None)
    assert (tmp_path / "v.mp4").read_bytes() == MP4
    assert 60 <= sum(clock.slept) <= 66
    assert len(vendor.calls) == (6 if can_ask else 0)


def test_a_link_that_stays_dead_without_a_known_expiry_is_retryable(
    land: Land,
    cdn: Cdn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    vendor = RefreshLinks([LINK], clock=clock)
    with pytest.raises(LinkUnavailable) as failure:
        land(LinkUnavailable("The link at cdn.example.com is dead (HTTP 404)"), refresh=vendor)
    assert not failure.value.fatal
    assert str(failure.value) == (
        "The link at cdn.example.com is dead (HTTP 404). Job: apixgo job task_1. The video was paid for. "
        "A retry asks the vendor for a fresh link and downloads again; no new video is made."
    )
    assert LEAST <= sum(clock.slept) <= MOST
    assert (len(cdn.requested), len(vendor.calls)) == (11, 10)
    assert files_in(tmp_path) == []


def test_a_link_that_keeps_returning_a_page_is_retryable(land: Land, clock: Clock) -> None:
    with pytest.raises(NotAVideo, match="A retry asks the vendor for a fresh link") as failure:
        land(page(), refresh=RefreshLinks([LINK], clock=clock))
    assert not failure.value.fatal
    assert LEAST <= sum(clock.slept) <= MOST


@pytest.mark.parametrize("dead", [LinkUnavailable("dead"), page()], ids=["dead", "page"])
def test_an_expired_link_is_refreshed_once_before_it_is_final(
    dead: Any,
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [dead]
    vendor = RefreshLinks([FRESH], clock=clock)
    with pytest.raises(ResultExpired, match="asks for a fresh link once more") as failure:
        land(dead, refresh=vendor, expires_at=EARLIER)
    assert failure.value.fatal
    assert "and it expired at 2026-11-20T11:59:59+00:00" in str(failure.value)
    assert cdn.requested == [LINK, FRESH]
    assert len(vendor.calls) == 1
    assert sum(clock.slept) <= 2


def test_an_expired_link_lands_if_the_vendor_returns_a_live_one(
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    assert land(LinkUnavailable("x"), refresh=RefreshLinks([FRESH], clock=clock), expires_at=EARLIER)["bytes"]


def test_a_link_that_expires_meanwhile_is_final_only_after_a_later_refresh(land: Land, clock: Clock) -> None:
    vendor, ends = RefreshLinks([LINK], clock=clock), NOW + timedelta(seconds=40)
    with pytest.raises(ResultExpired):
        land(LinkUnavailable("x"), refresh=vendor, expires_at=ends)
    assert [asked >= ends for asked in vendor.calls] == [False] * 6 + [True]


@pytest.mark.parametrize("trouble", [StatusUnavailable("down"), StatusRefused("no")])
@pytest.mark.parametrize("expires_at", [None, LATER, EARLIER])
def test_a_failed_refresh_does_not_expire_the_link(
    trouble: VidgenError,
    expires_at: Any,
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    assert land(
        LinkUnavailable("x"),
        refresh=RefreshLinks(*[trouble] * 5, [FRESH], clock=clock),
        expires_at=expires_at,
    )
    clock.slept.clear()
    with pytest.raises(type(trouble)):
        land(
            LinkUnavailable("x"), refresh=RefreshLinks(trouble, clock=clock), expires_at=expires_at, job=job()
        )


def test_failed_refreshes_end_with_the_tries_of_the_link(land: Land, clock: Clock) -> None:
    vendor = RefreshLinks(StatusUnavailable("down"), clock=clock, seconds=110)
    with pytest.raises(StatusUnavailable):
        land(LinkUnavailable("x"), refresh=vendor)
    assert len(vendor.calls) == 3


@pytest.mark.parametrize(("expires_at", "error"), [(None, LinkUnavailable), (EARLIER, ResultExpired)])
@pytest.mark.parametrize("fresh", [JobNotFound("x"), [], [FRESH, FRESH]], ids=["unknown", "none", "two"])
def test_a_refresh_without_a_usable_link_leaves_it_dead(
    fresh: Any,
    expires_at: Any,
    error: type[VidgenError],
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    with pytest.raises(error):
        land(LinkUnavailable("x"), refresh=RefreshLinks(fresh, clock=clock), expires_at=expires_at)
    assert set(cdn.requested) == {LINK}


@pytest.mark.parametrize(
    ("of", "next_step"),
    [
        (None, "Fresh links can be requested from the vendor only with video= instead of url=."),
        (job(task_id=""), "The vendor gave this job no id, so no fresh link can be requested."),
        (job(), ""),
    ],
)
@pytest.mark.parametrize("dead", [LinkUnavailable("x"), page()], ids=["dead", "page"])
def test_the_error_promises_no_fresh_link_if_the_vendor_cannot_be_asked(
    of: Any, next_step: str, dead: Any, land: Land
) -> None:
    with pytest.raises((LinkUnavailable, NotAVideo)) as failure:
        land(dead, job=of)
    assert str(failure.value).endswith(
        "The video was paid for. A retry tries the same link again; no new video is made. "
        f"{next_step}".rstrip()
    )


def test_an_expired_link_without_refresh_is_tried_once_more(
    land: Land,
    cdn: Cdn,
) -> None:
    with pytest.raises(ResultExpired):
        land(LinkUnavailable("x"), job=job(task_id=""), expires_at=EARLIER)
    assert cdn.requested == [LINK] * 2


def test_a_file_that_is_too_large_is_not_retried(
    land: Land,
    cdn: Cdn,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.download._MAX_FILE_SIZE", 2000)
    with pytest.raises(NotAVideo, match="larger than 2000"):
        land(Reply(*[MP4] * 50), refresh=RefreshLinks([LINK], clock=clock))
    assert cdn.requested == [LINK]


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_a_link_that_dies_after_broken_downloads_is_refreshed(
    breaks: int,
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    cdn.replies[FRESH] = [whole()]
    land(*[DownloadFailed("x")] * breaks, LinkUnavailable("x"), refresh=RefreshLinks([FRESH], clock=clock))
    assert cdn.requested == [LINK] * (breaks + 1) + [FRESH]


def test_a_download_is_resumed_after_its_link_was_dead_for_a_while(
    land: Land,
    cdn: Cdn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    file = land(broken(), *[LinkUnavailable("x")] * 5, rest(), refresh=RefreshLinks([LINK], clock=clock))
    assert cdn.ranges == [(0, ""), *[(400, '"one"')] * 6]
    assert file["sha256"] == hashlib.sha256(MP4).hexdigest()
    assert files_in(tmp_path) == ["v.mp4"]


def test_a_page_instead_of_the_rest_restarts_the_file(
    land: Land,
    cdn: Cdn,
    tmp_path: Path,
) -> None:
    land(broken(), page(), page(), whole())
    assert [start for start, _ in cdn.ranges] == [0, 400, 0, 0]
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_a_link_that_gains_many_bytes_before_each_failure_is_not_given_up(
    land: Land, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("airflow_provider_vidgen.landing.download._MIN_GAIN", 100)
    steps: list[Any] = [broken()]
    for start in range(400, 1000, 100):
        content_range = f"bytes {start}-{len(MP4) - 1}/{len(MP4)}"
        body = MP4[start : start + 100]
        steps += [LinkUnavailable("x")] * 9
        steps.append(Reply(body, DownloadFailed("x"), status=206, ETag='"one"', Content_Range=content_range))
    land(*steps, rest(1000, body=MP4[1000:]))
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def busy(seconds: float | None) -> DownloadFailed:
    return DownloadFailed("busy", retry_after=seconds)


def test_retry_after_is_honoured(
    land: Land,
    cdn: Cdn,
    clock: Clock,
    tmp_path: Path,
) -> None:
    land(busy(40), busy(40.0), broken(), busy(120), rest())
    assert files_in(tmp_path) == ["v.mp4"]
    assert cdn.ranges[-2:] == [(400, '"one"')] * 2
    assert 200 <= sum(clock.slept) < 210


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 29, 100, 299])
def test_repeated_retry_after_is_given_up_after_minutes(
    seconds: float,
    land: Land,
    cdn: Cdn,
    clock: Clock,
) -> None:
    with pytest.raises(DownloadFailed, match="no new video is made"):
        land(busy(seconds))
    assert 200 <= sum(clock.slept) <= MOST
    assert len(cdn.requested) <= 11


def test_a_retry_after_of_more_than_minutes_is_left_to_the_tasks_retry(land: Land, clock: Clock) -> None:
    with pytest.raises(DownloadFailed):
        land(busy(301))
    assert clock.slept == []
    land(busy(300), whole())


REPLIES: dict[str, Callable[[], Any]] = {
    "dead": lambda: LinkUnavailable("dead"),
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
def test_a_video_is_final_only_after_its_expiry_and_a_later_refresh(
    replies: list[str],
    answers: list[str],
    ends_in: int | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from airflow_provider_vidgen.http import result_links

    clock, results = Clock(), Cdn()
    monkeypatch.setattr(result_links, "open_link", results.open_link)
    results.replies[LINK] = [REPLIES[reply]() for reply in replies]
    vendor = RefreshLinks(*[ANSWERS[answer] for answer in answers], clock=clock)
    ends = None if ends_in is None else NOW + timedelta(seconds=ends_in)
    (tmp_path / "v.mp4").unlink(missing_ok=True)
    landing = Landing(
        settings(), **{"sidecar": False, "verify": False, "sleep": clock.sleep, "now": clock.now}
    )
    error: VidgenError | None = None
    try:
        landing.land([LINK], f"file://{tmp_path}/v.mp4", job=job(), refresh=vendor, expires_at=ends)
    except VidgenError as raised:
        error = raised
    assert files_in(tmp_path) == ([] if error else ["v.mp4"])
    assert error or (tmp_path / "v.mp4").read_bytes() == MP4
    # A link is given up only after minutes, after several broken downloads, or when it has expired.
    assert sum(clock.slept) <= MOST + 4 * 21
    if isinstance(error, ResultExpired):
        calls = [(answers[min(n, len(answers) - 1)], at) for n, at in enumerate(vendor.calls)]
        assert ends is not None
        assert any(answer != "down" and at >= ends for answer, at in calls)
    elif error is not None:
        assert not error.fatal
