# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger in a real event loop on real sockets: GETs only, one session, and the key only for the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_vidgen.http import loop_resources
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.triggers import video_task
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, posts, submit

MakeTrigger = Callable[..., VideoTaskTrigger]


@pytest.fixture
def trigger(
    clock: SimulatorClock, vendors: Simulator, account: MakeAccount, monkeypatch: pytest.MonkeyPatch
) -> MakeTrigger:
    """A trigger whose sleep advances the vendors' clock without blocking the event loop."""

    async def sleep(seconds: float) -> None:
        await asyncio.to_thread(clock.sleep, seconds)

    monkeypatch.setattr(video_task, "utcnow", clock.now)
    monkeypatch.setattr(video_task, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))

    def make(job: VideoJob, *, seconds: float = 1800) -> VideoTaskTrigger:
        now = clock.now()
        return VideoTaskTrigger(
            vidgen_conn_id="vidgen_default",
            job=job.to_dict(),
            submitted_at=now.isoformat(),
            deadline=(now + timedelta(seconds=seconds)).isoformat(),
            not_before=(now + timedelta(seconds=10)).isoformat(),
            cancel_on_kill=True,
        )

    return make


async def single_event(video_trigger: VideoTaskTrigger) -> dict[str, Any]:
    (event,) = [event async for event in video_trigger.run()]
    return dict(event.payload)


def run_reason(video_trigger: VideoTaskTrigger) -> str:
    return str(asyncio.run(single_event(video_trigger))["reason"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_is_polled_to_its_end_with_gets_only(
    vendor: str, vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account(vendor))
    assert run_reason(trigger(submission.job)) == "ended"
    assert posts(vendors) == billed(vendors) == 1
    checks = vendors.requests()[1:]
    assert {(visit.method, visit.authorization, visit.body) for visit in checks} == {("GET", "good", "")}
    assert not loop_resources._resources


def test_a_netrc_entry_neither_replaces_the_key_nor_stops_polling(
    vendors: Simulator,
    account: MakeAccount,
    trigger: MakeTrigger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    submission = submit(account("apixo"))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert run_reason(trigger(submission.job)) == "ended"
    assert {visit.authorization for visit in vendors.requests()} == {"good"}


def test_the_proxy_of_the_environment_is_used_as_on_workers(
    vendors: Simulator, account: MakeAccount, trigger: MakeTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = submit(account("apixo"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no server listens there
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert run_reason(trigger(submission.job, seconds=120)) == "deadline_exceeded"
    assert len(vendors.requests()) == 1
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert run_reason(trigger(submission.job)) == "ended"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "close"},
        {"kind": "hang"},
        {"kind": "truncated"},
        {"kind": "chunked_truncated"},
        {"kind": "html"},
        {"kind": "empty_body"},
        {"kind": "redirect", "location": "http://127.0.0.1:9/"},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "status", "status": 502},
    ],
)
def test_single_failed_checks_are_retried(
    fault: dict[str, Any], vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account("apixo", extra={"timeout": 0.4}))
    vendors.fault(**fault, route="status", times=2)
    assert run_reason(trigger(submission.job)) == "ended"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 401}, "access_denied"),
        ({"kind": "status", "status": 404, "body": {"code": 404, "message": "Task not found"}}, "job_lost"),
        ({"kind": "status", "status": 404, "body": "<html>404 Not Found</html>"}, "deadline_exceeded"),
        ({"kind": "status", "status": 502}, "deadline_exceeded"),
    ],
)
def test_lasting_faults_have_their_own_reasons(
    fault: dict[str, Any], expected: str, vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account("apixo"))
    vendors.fault(**fault, route="status", times=None)
    assert run_reason(trigger(submission.job, seconds=600)) == expected
    assert posts(vendors) == 1


def test_a_stuck_job_ends_polling_at_its_deadline(account: MakeAccount, trigger: MakeTrigger) -> None:
    assert (
        run_reason(trigger(submit(account("apixgo"), "a cat [sim:stuck]").job, seconds=120))
        == "deadline_exceeded"
    )


def test_a_trigger_may_run_twice(vendors: Simulator, account: MakeAccount, trigger: MakeTrigger) -> None:
    video_trigger = trigger(submit(account("apixo")).job)
    assert run_reason(video_trigger) == run_reason(video_trigger) == "ended"
    assert posts(vendors) == billed(vendors) == 1


def test_many_triggers_share_one_session_and_leave_none(
    vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    hook = account("apixgo")
    triggers = [trigger(submit(hook, f"cat {number}").job) for number in range(20)]

    async def gather_events() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*map(single_event, triggers)))

    events = asyncio.run(gather_events())
    assert {event["reason"] for event in events} == {"ended"}
    assert len({event["task_id"] for event in events}) == 20
    assert posts(vendors) == 20
    assert not loop_resources._resources


def test_a_cancelled_trigger_stops_at_once_and_releases_its_session(
    account: MakeAccount, trigger: MakeTrigger, vendors: Simulator
) -> None:
    submission = submit(account("apixo"))
    vendors.fault("hang", route="status", times=None)

    async def cancel() -> None:
        task = asyncio.create_task(single_event(trigger(submission.job)))
        while not any(visit.method == "GET" for visit in await asyncio.to_thread(vendors.requests)):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert not loop_resources._resources
