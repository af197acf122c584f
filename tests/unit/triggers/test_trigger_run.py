# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger at work: the vendor's answers are scripted, and time passes only by sleeping."""

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
from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.transport import aio
from airflow_provider_vidgen.transport import shared as shared_module
from airflow_provider_vidgen.transport.client import TriggererClient
from airflow_provider_vidgen.transport.shared import shared
from airflow_provider_vidgen.triggers import progress, video_task
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from airflow_provider_vidgen.vendors.apixo import Apixo
from airflow_provider_vidgen.vendors.exchange import HttpCall, HttpReply
from tests.support.accounts import KEY, connection, job
from tests.support.clock import NOW, Clock, run_virtually
from tests.support.task_instance import task_instance
from tests.support.vendor_replies import LINK, failed, finished, running, status_body, unknown

Answer = HttpReply | BaseException | dict[str, Any]


class Vendor:
    """Answers in order, the last answer for ever; notes each call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times: list[datetime] = []
        self.answers: list[Answer] = []
        self.calls: list[HttpCall] = []
        self.sessions: set[int] = set()

    def prepare(self, settings: Any, call: HttpCall) -> Any:
        return SimpleNamespace(send=partial(self.send, call), over_tls=False)

    async def send(self, call: HttpCall, session: Any, tls: None) -> HttpReply:
        self.calls.append(call)
        self.times.append(self.clock.now())
        self.sessions.add(id(session))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, HttpReply):
            return answer
        return HttpReply(status=200, content=json.dumps(answer).encode())


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Vendor:
    vendor = Vendor(clock)
    monkeypatch.setattr(aio, "FreeCall", vendor.prepare)
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


@pytest.mark.parametrize("last", [finished("apixo"), failed("apixo", "no", "CONTENT_VIOLATION")])
def test_a_job_that_ended_is_reported_as_ended_and_no_more_is_said(
    last: dict[str, Any], vendor: Vendor, clock: Clock
) -> None:
    vendor.answers = [running("apixo"), last]
    assert reason(trigger()) == "ended"
    assert [call.method for call in vendor.calls] == ["GET", "GET"]
    assert all(call.body is None for call in vendor.calls)
    assert vendor.times[0] >= NOW + timedelta(seconds=30)


def test_a_job_that_does_not_end_is_reported_at_its_deadline(vendor: Vendor, clock: Clock) -> None:
    vendor.answers = [running("apixo")]
    assert reason(trigger()) == "deadline"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(minutes=30)) < timedelta(milliseconds=1)


def test_a_restart_does_not_move_the_deadline(vendor: Vendor, clock: Clock) -> None:
    clock.sleep(1700)
    vendor.answers = [running("apixo")]
    assert reason(trigger()) == "deadline"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(minutes=30)) < timedelta(milliseconds=1)


def test_a_restart_after_the_deadline_looks_once_more(vendor: Vendor, clock: Clock) -> None:
    clock.sleep(10_000)
    vendor.answers = [finished("apixo")]
    assert reason(trigger()) == "ended"
    assert len(vendor.calls) == 1


def test_a_finished_job_without_a_link_is_reported(vendor: Vendor) -> None:
    vendor.answers = [status_body("apixo", "success")]
    assert reason(trigger()) == "result_missing"


def test_a_job_that_is_not_known_is_reported_as_lost(vendor: Vendor) -> None:
    vendor.answers = [HttpReply(status=404, content=json.dumps(unknown("apixo")["json"]).encode())]
    assert reason(trigger()) == "lost"


def test_a_host_that_knows_no_such_page_loses_no_job(vendor: Vendor) -> None:
    vendor.answers = [HttpReply(status=404, content=b"<html>")]
    assert reason(trigger()) == "unavailable"


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_reported(code: int, vendor: Vendor) -> None:
    vendor.answers = [HttpReply(status=code, content=b"{}")]
    assert reason(trigger()) == "refused"
    assert len(vendor.calls) == 2


def test_a_vendor_out_of_reach_is_reported(vendor: Vendor) -> None:
    vendor.answers = [StatusUnavailable("Apixo did not answer (TimeoutError)")]
    assert reason(trigger(deadline=(NOW + timedelta(days=1)).isoformat())) == "unavailable"


def test_single_failed_checks_are_overcome(vendor: Vendor) -> None:
    html = HttpReply(status=200, content=b"<html>")
    vendor.answers = [
        StatusUnavailable("x"),
        html,
        HttpReply(status=502),
        running("apixo"),
        finished("apixo"),
    ]
    assert reason(trigger()) == "ended"


@pytest.mark.parametrize("error", [RuntimeError(f"at {LINK}"), KeyError(KEY), OSError(LINK)])
def test_an_unexpected_error_becomes_an_event_and_its_text_is_not_logged(
    error: Exception, vendor: Vendor, logged: Callable[[], str]
) -> None:
    vendor.answers = [error]
    assert reason(trigger()) == "trouble"
    told = logged()
    assert f"apixo job task_1 cannot be watched: {type(error).__name__}" in told
    assert LINK not in told
    assert KEY not in told


@pytest.mark.parametrize(
    "conn", ['{"conn_type": "vidgen"}', connection("apixgo"), connection("apixo", password="")]
)
def test_a_connection_that_cannot_be_used_becomes_an_event(
    conn: str, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", conn)
    vendor.answers = [finished("apixo")]
    assert reason(trigger()) == "trouble"
    assert vendor.calls == []


def test_what_a_vendor_says_is_not_logged_for_it_may_repeat_the_prompt(
    vendor: Vendor, logged: Callable[[], str]
) -> None:
    words = {"code": 401, "message": "no rights for: a lighthouse in a storm"}
    vendor.answers = [HttpReply(status=401, content=json.dumps(words).encode())]
    assert reason(trigger()) == "refused"
    told = logged()
    assert "apixo job task_1 cannot be watched on: Apixo answered the status check with HTTP 401" in told
    assert "lighthouse" not in told


def test_the_tasks_own_interval_is_kept(vendor: Vendor) -> None:
    vendor.answers = [*[running("apixo")] * 4, finished("apixo")]
    assert reason(trigger(poll_interval=70.0)) == "ended"
    gaps = [(later - one).total_seconds() for one, later in pairwise(vendor.times)]
    assert len(gaps) == 4
    assert all(63 <= gap <= 77 for gap in gaps)


def test_no_event_comes_before_its_time(vendor: Vendor, clock: Clock) -> None:
    vendor.answers = [finished("apixo")]
    soon = (NOW + timedelta(seconds=45)).isoformat()
    assert reason(trigger(not_before=soon)) == "ended"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(seconds=45)) < timedelta(milliseconds=1)


def test_an_error_event_does_not_come_early_either(vendor: Vendor, clock: Clock) -> None:
    vendor.answers = [RuntimeError("x")]
    soon = (NOW + timedelta(seconds=45)).isoformat()
    assert reason(trigger(not_before=soon)) == "trouble"
    assert timedelta(0) <= clock.now() - (NOW + timedelta(seconds=45)) < timedelta(milliseconds=1)


def test_it_may_run_twice(vendor: Vendor) -> None:
    vendor.answers = [finished("apixo")]
    same = trigger()
    assert events(same) == events(same)


def test_cancellation_is_not_an_event(vendor: Vendor) -> None:
    vendor.answers = [asyncio.CancelledError()]
    with pytest.raises(asyncio.CancelledError):
        events(trigger())
    assert not shared_module._shared


def test_news_is_logged_also_where_there_is_no_task_to_show_it_on(
    vendor: Vendor, logged: Callable[[], str]
) -> None:
    vendor.answers = [running("apixo"), finished("apixo")]
    assert reason(trigger()) == "ended"
    told = logged()
    assert "apixo job task_1 is running (" in told
    assert "Progress" not in told


def test_progress_is_pushed_when_it_changes_and_only_then(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[Any] = []

    async def push(ti: Any, key: str, value: Any) -> None:
        assert ti is watching.task_instance
        pushed.append((key, value))

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)
    monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection("apixgo"))
    steps = ("10%", "10%", "10%", "60%", "60%")
    vendor.answers = [*(running("apixgo", progress=step) for step in steps), finished("apixgo")]
    watching = trigger(job=job("apixgo").to_dict())
    watching.task_instance = task_instance()
    assert reason(watching) == "ended"
    assert pushed == [
        ("progress", {"state": "running", "progress": 10.0}),
        ("progress", {"state": "running", "progress": 60.0}),
        ("progress", {"state": "succeeded", "progress": 100.0}),
    ]


def test_a_task_whose_job_has_ended_is_woken_rather_than_shown(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []

    async def show(ti: Any, status_body: Any, *, has_ended: bool) -> None:
        ended.append(has_ended)

    monkeypatch.setattr(progress, "show", show)
    vendor.answers = [running("apixo"), finished("apixo")]
    watching = trigger()
    watching.task_instance = task_instance()
    assert reason(watching) == "ended"
    assert ended == [False, True]


def test_a_check_waits_for_its_turn_until_the_deadline_and_ten_seconds_at_least(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []
    ask = TriggererClient.status

    async def status_body(client: TriggererClient, job: Any, **options: float) -> Any:
        patience.append(options["patience"])
        return await ask(client, job, **options)

    monkeypatch.setattr(TriggererClient, "status", status_body)
    vendor.answers = [finished("apixo")]
    for seconds in (100, 5):
        events(trigger(submitted_at=(NOW - timedelta(hours=1)).isoformat(), deadline=_after(vendor, seconds)))
    assert 80 < patience[0] <= 100
    assert patience[1] == 10


def _after(vendor: Vendor, seconds: float) -> str:
    return (vendor.clock.now() + timedelta(seconds=seconds)).isoformat()


def test_progress_that_cannot_be_shown_does_not_end_the_watch(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    async def push(*_: Any) -> None:
        raise RuntimeError(LINK)

    monkeypatch.setattr(airflow_internals, "push_xcom_from_trigger", push)
    vendor.answers = [running("apixo"), finished("apixo")]
    watching = trigger()
    watching.task_instance = task_instance()
    assert reason(watching) == "ended"
    told = logged()
    assert "Progress cannot be shown: RuntimeError" in told
    assert LINK not in told


def test_the_same_words_are_read_once_and_others_are_read(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    real = Apixo.read_status

    def read_status(self: Apixo, job: Any, reply: HttpReply, **how: Any) -> Any:
        read.append(reply.content)
        return real(self, job, reply, **how)

    monkeypatch.setattr(Apixo, "read_status", read_status)
    same, other = running("apixo"), running("apixo", createTime=1)
    failed_check = HttpReply(status=502, content=json.dumps(same).encode())
    vendor.answers = [same, same, same, other, other, failed_check, other, finished("apixo")]
    assert reason(trigger()) == "ended"
    assert len(vendor.calls) == 8
    assert len(read) == 4


def test_an_unknown_word_is_warned_of_once_and_waited_on(vendor: Vendor, logged: Callable[[], str]) -> None:
    odd = status_body("apixo", "daydreaming")
    vendor.answers = [odd, odd, odd, finished("apixo")]
    assert reason(trigger()) == "ended"
    assert logged().count("unknown state 'daydreaming'") == 1


def test_triggers_of_one_loop_share_a_session_that_goes_with_the_last(vendor: Vendor) -> None:
    vendor.answers = [finished("apixo")]

    async def many() -> None:
        async with shared() as ours:
            outer = ours.session
            await asyncio.gather(*(_drain(trigger()) for _ in range(5)))
            assert vendor.sessions == {id(outer)}
            assert not outer.closed
        assert outer.closed

    asyncio.run(many())
    assert not shared_module._shared


async def _drain(of: VideoTaskTrigger) -> None:
    async for _ in of.run():
        pass


def test_a_new_loop_gets_a_session_of_its_own() -> None:
    async def once() -> int:
        async with shared() as first, shared() as second:
            assert first is second
            assert not first.session.trust_env  # a .netrc entry would clash with the key
        assert first.session.closed
        async with shared() as later:
            assert later is not first
            assert not later.session.closed
        return 1

    assert asyncio.run(once()) + asyncio.run(once()) == 2
    assert not shared_module._shared
