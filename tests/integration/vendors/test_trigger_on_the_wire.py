# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger in a real event loop, on real sockets: looks only, one session, and no key for anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.transport import shared
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
    """A trigger whose sleeping pushes the vendors' clock on, without holding up the loop."""

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
        )

    return make


async def only_event(of: VideoTaskTrigger) -> dict[str, Any]:
    (event,) = [event async for event in of.run()]
    return dict(event.payload)


def reason(of: VideoTaskTrigger) -> str:
    return str(asyncio.run(only_event(of))["reason"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_is_watched_to_its_end_with_looks_only(
    vendor: str, vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account(vendor))
    assert reason(trigger(submission.job)) == "ended"
    assert posts(vendors) == billed(vendors) == 1
    looks = vendors.requests()[1:]
    assert {(visit.method, visit.authorization, visit.body) for visit in looks} == {("GET", "good", "")}
    assert not shared._shared


def test_a_netrc_entry_neither_replaces_the_key_nor_stops_the_watch(
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
    assert reason(trigger(submission.job)) == "ended"
    assert {visit.authorization for visit in vendors.requests()} == {"good"}


def test_the_proxy_of_the_environment_is_used_as_on_workers(
    vendors: Simulator, account: MakeAccount, trigger: MakeTrigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = submit(account("apixo"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert reason(trigger(submission.job, seconds=120)) == "deadline"
    assert len(vendors.requests()) == 1
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert reason(trigger(submission.job)) == "ended"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "close"},
        {"kind": "hang"},
        {"kind": "truncated"},
        {"kind": "chunked_cut"},
        {"kind": "html"},
        {"kind": "empty"},
        {"kind": "redirect", "location": "http://127.0.0.1:9/"},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "status", "status": 502},
    ],
)
def test_single_failed_checks_are_overcome(
    fault: dict[str, Any], vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account("apixo", extra={"timeout": 0.4}))
    vendors.fault(**fault, route="status", times=2)
    assert reason(trigger(submission.job)) == "ended"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "status", "status": 401}, "refused"),
        ({"kind": "status", "status": 404, "body": {"code": 404, "message": "Task not found"}}, "lost"),
        ({"kind": "status", "status": 404, "body": "<html>404 Not Found</html>"}, "deadline"),
        ({"kind": "status", "status": 502}, "deadline"),
    ],
)
def test_lasting_trouble_is_told_apart(
    fault: dict[str, Any], told: str, vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    submission = submit(account("apixo"))
    vendors.fault(**fault, route="status", times=None)
    assert reason(trigger(submission.job, seconds=600)) == told
    assert posts(vendors) == 1


def test_a_stuck_job_is_reported_at_its_deadline(account: MakeAccount, trigger: MakeTrigger) -> None:
    assert reason(trigger(submit(account("apixgo"), "a cat [sim:stuck]").job, seconds=120)) == "deadline"


def test_the_same_trigger_in_two_triggerers_does_no_harm(
    vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    same = trigger(submit(account("apixo")).job)
    assert reason(same) == reason(same) == "ended"
    assert posts(vendors) == billed(vendors) == 1


def test_many_triggers_share_one_session_and_leave_none(
    vendors: Simulator, account: MakeAccount, trigger: MakeTrigger
) -> None:
    hook = account("apixgo")
    triggers = [trigger(submit(hook, f"cat {number}").job) for number in range(20)]

    async def watch() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*map(only_event, triggers)))

    events = asyncio.run(watch())
    assert {event["reason"] for event in events} == {"ended"}
    assert len({event["task_id"] for event in events}) == 20
    assert posts(vendors) == 20
    assert not shared._shared


def test_a_cancelled_trigger_ends_at_once_and_gives_its_session_back(
    account: MakeAccount, trigger: MakeTrigger, vendors: Simulator
) -> None:
    submission = submit(account("apixo"))
    vendors.fault("hang", route="status", times=None)

    async def cancel() -> None:
        watching = asyncio.create_task(only_event(trigger(submission.job)))
        while not any(visit.method == "GET" for visit in await asyncio.to_thread(vendors.requests)):
            pass
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(cancel())
    assert not shared._shared
