# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Faults of status checks: a failed check is not a failed job."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.errors import DeadlineExceeded, JobLost, StatusRefused, StatusUnavailable
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, posts, submit, wait

FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"kind": "reset"},
    "closed": {"kind": "close"},
    "no answer": {"kind": "hang"},
    "cut JSON": {"kind": "truncated"},
    "cut chunk": {"kind": "chunked_truncated"},
    "too short": {"kind": "content_length_too_long"},
    "empty": {"kind": "empty_body"},
    "HTML": {"kind": "html"},
    "redirect": {"kind": "redirect", "location": "http://127.0.0.1:9/"},
    **{str(code): {"kind": "status", "status": code} for code in (400, 408, 425, 429, 500, 502, 503, 504)},
    "404": {"kind": "status", "status": 404, "body": {"code": 404}},
    "500 in the body": {"kind": "status", "status": 200, "body": {"code": 500, "message": "x"}},
    "no data": {"kind": "status", "status": 200, "body": {"code": 200, "data": None}},
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("case", FAULTS)
def test_failed_status_checks_never_lose_the_job(
    case: str, vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    vendors.fault(**FAULTS[case], vendor=vendor, route="status", times=2)
    hook = account(vendor, extra={"timeout": 0.4})
    submission = submit(hook)
    assert wait(hook, clock, submission).has_video
    assert posts(vendors) == billed(vendors) == 1


@pytest.mark.parametrize("code", [401, 403])
def test_one_refused_check_is_repeated_and_two_fail_the_try(
    code: int, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account("apixo")
    submission = submit(hook)
    vendors.fault("status", status=code, body={"code": code}, route="status", times=1)
    assert wait(hook, clock, submission).has_video
    vendors.fault("status", status=code, body={"code": code}, route="status", times=None)
    with pytest.raises(StatusRefused, match="checks the same job"):
        wait(hook, clock, submission)
    assert billed(vendors) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_unknown_job_counts_as_lost_only_after_a_minute(
    vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    submission = submit(hook)
    vendors.reset()
    started = clock.now()
    with pytest.raises(JobLost):
        hook.wait(submission.job, submitted_at=started)
    assert (clock.now() - started).total_seconds() >= 60
    assert posts(vendors) == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stuck_job_is_left_at_the_deadline_and_reattached_later(
    vendor: str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account(vendor)
    submission = submit(hook, "a cat [sim:stuck]")
    with pytest.raises(DeadlineExceeded, match=submission.job.task_id):
        wait(hook, clock, submission, timeout=120)
    vendors.end_job(submission.job.task_id)
    assert wait(hook, clock, submission, timeout=120).has_video
    assert posts(vendors) == billed(vendors) == 1


def test_a_vendor_that_is_down_for_long_fails_the_try(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock
) -> None:
    hook = account("apixo")
    submission = submit(hook)
    vendors.fault("status", status=502, route="status", times=None)
    with pytest.raises(StatusUnavailable, match=submission.job.task_id):
        wait(hook, clock, submission, timeout=86_400)
    vendors.clear_faults()
    assert wait(hook, clock, submission).has_video
    assert posts(vendors) == 1
