# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Running the trigger with scripted replies, and a clock that only sleeping advances."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.client import TriggererClient
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.http import loop_resources as loop_resources_module
from airflow_provider_vidgen.http import triggerer
from airflow_provider_vidgen.http.loop_resources import LoopResources, loop_resources
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.triggers import progress_xcom, video_task
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.http_messages import HttpCall, HttpReply
from tests.support.accounts import KEY, connection, job
from tests.support.clock import NOW, Clock, run_virtually
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.task_instance import task_instance
from tests.support.vendor_replies import LINK, failed, finished, running, status_body, unknown

Reply = HttpReply | BaseException | dict[str, Any]


class Vendor:
    """Returns the replies in order, the last one repeatedly, and records each call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times: list[datetime] = []
        self.replies: list[Reply] = []
        self.calls: list[HttpCall] = []
        self.sessions: set[int] = set()

    def prepare(self, settings: Any, call: HttpCall, job: VideoJob) -> Any:
        return SimpleNamespace(send=partial(self.send, call))

    async def send(self, call: HttpCall, resources: LoopResources) -> HttpReply:
        self.calls.append(call)
        self.times.append(self.clock.now())
        self.sessions.add(id(resources.session))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, HttpReply):
            return reply
        return HttpReply(status=200, content=json.dumps(reply).encode())


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Vendor:
    vendor = Vendor(clock)
    monkeypatch.setattr(triggerer, "PreparedCall", vendor.prepare)
    monkeypatch.setattr(video_task, "utcnow", clock.now)
    monkeypatch.setattr(asyncio, "run", lambda main: run_virtually(main, clock))
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixo"))
    return vendor


def trigger(**changes: Any) -> VideoTaskTrigger:
    return VideoTaskTrigger(
        **{
            "vidgen_conn_id": "vidgen_default",
            "job": job("apixo").to_dict(),
            "submitted_at": NOW.isoformat(),
            "deadline": (NOW + timedelta(minutes=30)).isoformat(),
            "not_before": (NOW + timedelta(seconds=10)).isoformat(),
            "cancel_on_kill": True,
            **changes,
        }
    )


def events(of: VideoTaskTrigger) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in of.run()]

    return asyncio.run(collect())


def reason(of: VideoTaskTrigger) -> str:
    (event,) = events(of)
    assert set(event) == {"v", "reason", "task_id", "message"}
    assert (event["v"], event["task_id"]) == (1, "task_1")
    return str(event["reason"])


@pytest.mark.parametrize("final", [finished("apixo"), failed("apixo", "no", "CONTENT_VIOLATION")])
def test_the_event_about_an_ended_job_does_not_tell_success_from_failure(
    final: dict[str, Any], vendor: Vendor, clock: Clock
) -> None:
    vendor.replies = [running("apixo"), final]
    assert reason(trigger()) == "ended"
    assert [call.method for call in vendor.calls] == ["GET", "GET"]
    assert all(call.body is None for call in vendor.calls)
    assert vendor.times[0] >= NOW + timedelta(seconds=30)


def test_a_running_job_is_reported_at_its_deadline(vendor: Vendor, clock: Clock) -> None:
    vendor.replies = [running("apixo")]
    assert reason(trigger()) == "deadline_exceeded"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(minutes=30)) < timedelta(milliseconds=1)


def test_a_restart_does_not_move_the_deadline(vendor: Vendor, clock: Clock) -> None:
    clock.sleep(1700)
    vendor.replies = [running("apixo")]
    assert reason(trigger()) == "deadline_exceeded"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(minutes=30)) < timedelta(milliseconds=1)


def test_a_restart_after_the_deadline_polls_once_more(vendor: Vendor, clock: Clock) -> None:
    clock.sleep(10_000)
    vendor.replies = [finished("apixo")]
    assert reason(trigger()) == "ended"
    assert len(vendor.calls) == 1


def test_success_without_a_link_is_reported_as_result_missing(vendor: Vendor) -> None:
    vendor.replies = [status_body("apixo", "success")]
    assert reason(trigger()) == "result_missing"


def test_a_job_unknown_to_the_vendor_is_reported_as_job_lost(vendor: Vendor) -> None:
    vendor.replies = [HttpReply(status=404, content=json.dumps(unknown("apixo")["json"]).encode())]
    assert reason(trigger()) == "job_lost"


def test_an_html_404_is_not_reported_as_job_lost(vendor: Vendor) -> None:
    vendor.replies = [HttpReply(status=404, content=b"<html>")]
    assert reason(trigger()) == "vendor_unavailable"


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_api_key_is_reported_as_access_denied(code: int, vendor: Vendor) -> None:
    vendor.replies = [HttpReply(status=code, content=b"{}")]
    assert reason(trigger()) == "access_denied"
    assert len(vendor.calls) == 2


def test_an_unreachable_vendor_is_reported_as_unavailable(vendor: Vendor) -> None:
    vendor.replies = [StatusUnavailable("Apixo did not reply (TimeoutError)")]
    assert reason(trigger(deadline=(NOW + timedelta(days=1)).isoformat())) == "vendor_unavailable"


def test_polling_continues_after_single_failed_checks(vendor: Vendor) -> None:
    html = HttpReply(status=200, content=b"<html>")
    vendor.replies = [
        StatusUnavailable("x"),
        html,
        HttpReply(status=502),
        running("apixo"),
        finished("apixo"),
    ]
    assert reason(trigger()) == "ended"


@pytest.mark.parametrize("error", [RuntimeError(f"at {LINK}"), KeyError(KEY), OSError(LINK)])
def test_an_unexpected_error_becomes_an_event_and_its_message_is_not_logged(
    error: Exception, vendor: Vendor, logged: Callable[[], str]
) -> None:
    vendor.replies = [error]
    assert reason(trigger()) == "trigger_error"
    log = logged()
    assert f"Polling of apixo job task_1 failed: {type(error).__name__}" in log
    assert LINK not in log
    assert KEY not in log


@pytest.mark.parametrize(
    "conn", ['{"conn_type": "vidgen"}', connection("apixgo"), connection("apixo", password="")]
)
def test_an_invalid_connection_becomes_an_event(
    conn: str, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", conn)
    vendor.replies = [finished("apixo")]
    assert reason(trigger()) == "trigger_error"
    assert vendor.calls == []


def test_the_vendors_message_is_not_logged_because_it_may_quote_the_prompt(
    vendor: Vendor, logged: Callable[[], str]
) -> None:
    message_of_vendor = {"code": 401, "message": "no rights for: a lighthouse in a storm"}
    vendor.replies = [HttpReply(status=401, content=json.dumps(message_of_vendor).encode())]
    assert reason(trigger()) == "access_denied"
    log = logged()
    assert "Polling of apixo job task_1 ended: Apixo answered the status check with HTTP 401" in log
    assert "lighthouse" not in log


def test_poll_interval_replaces_the_vendors_schedule(vendor: Vendor) -> None:
    vendor.replies = [*[running("apixo")] * 4, finished("apixo")]
    assert reason(trigger(poll_interval=70.0)) == "ended"
    gaps = [(later - one).total_seconds() for one, later in pairwise(vendor.times)]
    assert len(gaps) == 4
    assert all(63 <= gap <= 77 for gap in gaps)


def test_no_event_is_sent_before_not_before(vendor: Vendor, clock: Clock) -> None:
    vendor.replies = [finished("apixo")]
    not_before = (NOW + timedelta(seconds=45)).isoformat()
    assert reason(trigger(not_before=not_before)) == "ended"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(seconds=45)) < timedelta(milliseconds=1)


def test_no_error_event_is_sent_before_not_before(vendor: Vendor, clock: Clock) -> None:
    vendor.replies = [RuntimeError("x")]
    not_before = (NOW + timedelta(seconds=45)).isoformat()
    assert reason(trigger(not_before=not_before)) == "trigger_error"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(seconds=45)) < timedelta(milliseconds=1)


def test_the_trigger_may_run_twice(vendor: Vendor) -> None:
    vendor.replies = [finished("apixo")]
    same = trigger()
    assert events(same) == events(same)


def test_cancellation_is_not_an_event(vendor: Vendor) -> None:
    vendor.replies = [asyncio.CancelledError()]
    with pytest.raises(asyncio.CancelledError):
        events(trigger())
    assert not loop_resources_module._resources


def test_status_changes_are_logged_without_a_task_instance(vendor: Vendor, logged: Callable[[], str]) -> None:
    vendor.replies = [running("apixo"), finished("apixo")]
    assert reason(trigger()) == "ended"
    log = logged()
    assert "apixo job task_1 is running (" in log
    assert "Progress" not in log


def test_progress_is_pushed_only_when_it_changes(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []

    async def push(ti: Any, key: str, value: Any) -> None:
        assert ti is running_trigger.task_instance
        pushed.append((key, value))

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixgo"))
    steps = ("10%", "10%", "10%", "60%", "60%")
    vendor.replies = [*(running("apixgo", progress=step) for step in steps), finished("apixgo")]
    running_trigger = trigger(job=job("apixgo").to_dict())
    running_trigger.task_instance = task_instance()
    assert reason(running_trigger) == "ended"
    assert pushed == [
        ("progress", {"state": "running", "percent": 10.0}),
        ("progress", {"state": "running", "percent": 60.0}),
        ("progress", {"state": "succeeded", "percent": 100.0}),
    ]


def test_an_outage_is_shown_and_logged(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    shown: list[Any] = []

    async def push(ti: Any, key: str, value: Any) -> None:
        shown.append(value)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)
    unavailable = HttpReply(status=503)
    vendor.replies = [running("apixo"), unavailable, unavailable, running("apixo"), finished("apixo")]
    running_trigger = trigger()
    running_trigger.task_instance = task_instance()
    assert reason(running_trigger) == "ended"
    assert [sorted(value) for value in shown[:3]] == [
        ["percent", "state"],
        ["next_check_at", "not_answering_since", "percent", "state"],
        ["percent", "state"],
    ]
    assert shown[1]["state"] == "running"
    assert shown[1]["not_answering_since"] < shown[1]["next_check_at"]
    assert "not answered since" in logged()


def test_the_last_progress_is_pushed_with_has_ended(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    async def push_progress(ti: Any, status: Any, *, has_ended: bool) -> None:
        ended.append(has_ended)

    monkeypatch.setattr(progress_xcom, "push_progress", push_progress)
    vendor.replies = [running("apixo"), finished("apixo")]
    running_trigger = trigger()
    running_trigger.task_instance = task_instance()
    assert reason(running_trigger) == "ended"
    assert ended == [False, True]


def test_a_check_waits_for_the_rate_limit_until_the_deadline_but_at_least_ten_seconds(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    max_waits: list[float] = []
    original = TriggererClient.status

    async def status(client: TriggererClient, job: Any, **options: float) -> Any:
        max_waits.append(options["max_wait"])
        return await original(client, job, **options)

    monkeypatch.setattr(TriggererClient, "status", status)
    vendor.replies = [finished("apixo")]
    for seconds in (100, 5):
        events(trigger(submitted_at=(NOW - timedelta(hours=1)).isoformat(), deadline=_after(vendor, seconds)))
    assert 80 < max_waits[0] <= 100
    assert max_waits[1] == 10


def _after(vendor: Vendor, seconds: float) -> str:
    return (vendor.clock.now() + timedelta(seconds=seconds)).isoformat()


def test_a_failed_push_of_progress_does_not_end_the_polling(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    async def push(*_: Any) -> None:
        raise RuntimeError(LINK)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)
    vendor.replies = [running("apixo"), finished("apixo")]
    running_trigger = trigger()
    running_trigger.task_instance = task_instance()
    assert reason(running_trigger) == "ended"
    log = logged()
    assert "The progress of task_1 cannot be shown (RuntimeError). The job and its polling are not" in log
    assert LINK not in log


def test_an_unchanged_reply_is_parsed_once(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    original = Apixo.read_status

    def read_status(self: Apixo, job: Any, reply: HttpReply, **options: Any) -> Any:
        parsed.append(reply.content)
        return original(self, job, reply, **options)

    monkeypatch.setattr(Apixo, "read_status", read_status)
    same, other = running("apixo"), running("apixo", createTime=1)
    failed_check = HttpReply(status=502, content=json.dumps(same).encode())
    vendor.replies = [same, same, same, other, other, failed_check, other, finished("apixo")]
    assert reason(trigger()) == "ended"
    assert len(vendor.calls) == 8
    assert len(parsed) == 4


def test_an_unknown_state_is_warned_about_once_and_counts_as_running(
    vendor: Vendor, logged: Callable[[], str]
) -> None:
    unknown_state = status_body("apixo", "daydreaming")
    vendor.replies = [unknown_state, unknown_state, unknown_state, finished("apixo")]
    assert reason(trigger()) == "ended"
    assert logged().count("unknown state 'daydreaming'") == 1


def test_triggers_of_one_loop_share_a_session_until_the_last_one_ends(vendor: Vendor) -> None:
    vendor.replies = [finished("apixo")]

    async def many() -> None:
        async with loop_resources() as resources:
            outer = resources.session
            await asyncio.gather(*(_drain(trigger()) for _ in range(5)))
            assert vendor.sessions == {id(outer)}
            assert not outer.closed
        assert outer.closed

    asyncio.run(many())
    assert not loop_resources_module._resources


async def _drain(of: VideoTaskTrigger) -> None:
    async for _ in of.run():
        pass


def test_each_loop_gets_its_own_session() -> None:
    async def once() -> int:
        async with loop_resources() as first, loop_resources() as second:
            assert first is second
            assert not first.session.trust_env  # a .netrc entry would clash with the key
        assert first.session.closed
        async with loop_resources() as later:
            assert later is not first
            assert not later.session.closed
        return 1

    assert asyncio.run(once()) + asyncio.run(once()) == 2
    assert not loop_resources_module._resources


def test_the_trigger_counts_429s_and_how_late_it_finds_the_video(
    vendor: Vendor, sent_metrics: RecordedMetrics
) -> None:
    done = finished("apixo")
    done["data"]["completeTime"] = int(NOW.timestamp() * 1000)
    vendor.replies = [HttpReply(status=429, content=b'{"code": 429}'), running("apixo"), done]
    assert reason(trigger()) == "ended"
    assert sent_metrics.total("rate_limited", vendor="apixo", request="status") == 1
    assert [seconds for seconds, _ in sent_metrics.of("notice_delay")] == [
        pytest.approx((vendor.times[-1] - NOW).total_seconds(), abs=0.01)
    ]
