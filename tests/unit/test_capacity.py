# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Waiting for capacity: the task is rescheduled, uses up no try, and submits once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    TaskDeferred,
)

from airflow_provider_vidgen import airflow_internals, capacity
from airflow_provider_vidgen.ledger import entry_key
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT, VENDORS
from tests.support.clock import NOW, Clock
from tests.support.state_store import FakeStateStore
from tests.support.task_instance import context, record_of
from tests.support.vendor_replies import AT_CAPACITY, CREATE, STATUS, create_body, finished

Connect = Callable[..., None]
DEFERRABLE = [True, False]


def _operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, "deferrable": True, **fields})


def _mapped(index: int, before: dict[int, str | None] | None = None, **ti: Any) -> dict[str, Any]:
    """Return the context of a mapped instance; the other instances are deferred unless given otherwise."""
    states = {f"t_{number}": (before or {}).get(number, "deferred") for number in range(60)}
    return context(map_index=index, states=states, **ti)


def _wait(run: Callable[[], Any], clock: Clock) -> float:
    with pytest.raises(AirflowRescheduleException) as rescheduled:
        run()
    wait = (rescheduled.value.reschedule_date - clock.now()).total_seconds()
    assert isinstance(wait, float)
    return wait


def _ticket(task: dict[str, Any]) -> dict[str, Any] | None:
    return task["task_state_store"].get(capacity.KEY)


def _posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", DEFERRABLE)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_at_capacity_reschedules_the_task_at_once(
    vendor: str, deferrable: bool, vidgen: Connect, clock: Clock
) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [{**AT_CAPACITY, "headers": {"Retry-After": "40"}}])
        wait = _wait(lambda: _operator(timeout=900, deferrable=deferrable).execute(task), clock)
    assert 40 <= wait <= 48
    assert len(web.request_history) == 1
    assert clock.slept == []
    # The record states that nothing was accepted, whatever happens to the task while it waits.
    assert record_of(task)["phase"] == "not_accepted"
    assert _ticket(task) == {
        "queued_at": NOW.isoformat(),
        "expires_at": (NOW + timedelta(seconds=900)).isoformat(),
        "try_number": 1,
        "refusals": 1,
    }


def test_reason_and_length_of_the_wait_are_logged(
    vidgen: Connect, clock: Clock, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{**AT_CAPACITY, "headers": {"Retry-After": "40"}}])
        wait = _wait(lambda: _operator().execute(context()), clock)
    match = re.search(r"(?m)([^\n]*?); rescheduled, the next check is in (\d+) s", logged())
    assert match is not None
    assert "Apixo answered the submission with HTTP 429" in match[1]
    assert abs(int(match[2]) - wait) <= 1


@pytest.mark.parametrize("deferrable", DEFERRABLE)
def test_refusals_back_off_and_end_in_an_error_after_the_timeout(
    deferrable: bool, vidgen: Connect, clock: Clock
) -> None:
    """Each refusal doubles the wait; after the timeout the last refusal is the task's error."""
    vidgen("apixgo")
    task, waits = context(), []
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], [AT_CAPACITY])
        while clock.now() < NOW + timedelta(seconds=1800):
            waits.append(_wait(lambda: _operator(deferrable=deferrable).execute(task), clock))
            clock.sleep(waits[-1])
        with pytest.raises(AirflowException, match=r"RateLimited: .*Nothing was spent") as raised:
            _operator(deferrable=deferrable).execute(task)
    assert not isinstance(raised.value, AirflowFailException | AirflowRescheduleException)
    assert 5 <= _posts(web) == len(waits) + 1 <= 10
    for expected, wait in zip((20, 40, 80, 160, 300), waits, strict=False):
        assert expected <= wait <= 2 * expected
    # The last submission is at the end of the timeout, not after it.
    assert clock.now() - NOW <= timedelta(seconds=1801)


def test_a_retry_starts_a_new_wait(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], [AT_CAPACITY])
        for _ in range(4):
            clock.sleep(_wait(lambda: _operator().execute(task), clock))
        task["ti"].try_number = 2
        assert _wait(lambda: _operator().execute(task), clock) <= 40
    ticket = _ticket(task)
    assert ticket is not None
    assert (ticket["try_number"], ticket["refusals"]) == (2, 1)
    assert ticket["queued_at"] == clock.now().isoformat()


def test_a_task_that_waited_for_capacity_submits_once(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY, AT_CAPACITY, {"json": create_body("apixo")}])
        web.get(STATUS["apixo"], json=finished("apixo"))
        for _ in range(2):
            clock.sleep(_wait(lambda: _operator().execute(task), clock))
        for _ in range(2):
            assert _operator(deferrable=False).execute(task)["task_id"] == "task_1"
    assert _posts(web) == 3


@pytest.mark.parametrize("retry_after", [3, 599, 7200, 10**9])
def test_retry_after_is_capped_at_ten_minutes(retry_after: int, vidgen: Connect, clock: Clock) -> None:
    vidgen("apixgo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], [{**AT_CAPACITY, "headers": {"Retry-After": str(retry_after)}}])
        wait = _wait(lambda: _operator().execute(context()), clock)
    assert min(retry_after, 600) <= wait <= 600
    assert wait >= 20


def test_no_wait_is_shorter_than_the_minimum_deferral(
    vidgen: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_internals, "minimum_deferral_seconds", lambda: 33.0)
    vidgen("apixgo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], [AT_CAPACITY])
        assert _wait(lambda: _operator(timeout=5).execute(context()), clock) == 33


@pytest.mark.parametrize(("status", "kind"), [(402, AirflowFailException), (503, AirflowException)])
def test_no_other_error_leads_to_a_wait(
    status: int, kind: type[Exception], vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixgo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixgo"], status_code=status, json={"error": {"message": "no"}})
        with pytest.raises(kind) as raised:
            _operator().execute(task)
    assert not isinstance(raised.value, AirflowRescheduleException)
    assert capacity.KEY not in task["task_state_store"]


def test_an_unknown_submission_waits_for_capacity_and_is_resent_with_the_same_key(
    vidgen: Connect, clock: Clock
) -> None:
    """The vendor may have accepted the first request: only the same key avoids a second bill."""
    vidgen("apimart")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(
            CREATE["apimart"], [{"exc": requests.ReadTimeout}, AT_CAPACITY, {"json": create_body("apimart")}]
        )
        web.get(STATUS["apimart"], json=finished("apimart"))
        wait = _wait(lambda: _operator().execute(task), clock)
        assert record_of(task)["phase"] == "unknown"
        clock.sleep(wait)
        assert _operator(deferrable=False).execute(task)["task_id"] == "task_1"
    keys = [sent.headers["Idempotency-Key"] for sent in web.request_history if sent.method == "POST"]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_an_unknown_submission_whose_key_expired_during_the_wait_is_reported(
    vidgen: Connect, clock: Clock
) -> None:
    vidgen("apimart")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, AT_CAPACITY])
        _wait(lambda: _operator(timeout=9000).execute(task), clock)
        clock.sleep(3601)
        with pytest.raises(AirflowFailException, match=r"SubmitOutcomeUnknown: .*Money may have been spent"):
            _operator().execute(task)
    assert _posts(web) == 2


def test_neither_prompt_nor_api_key_is_in_the_ticket_or_the_log(
    vidgen: Connect, clock: Clock, logged: Callable[[], str]
) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{"status_code": 429, "json": {"code": 429, "message": f"no: {PROMPT}"}}])
        _wait(lambda: _operator().execute(task), clock)
    logged_text = json.dumps(_ticket(task)) + logged()
    assert PROMPT not in logged_text
    assert "sk-" not in logged_text


# --- errors while waiting -------------------------------------------------------------------------------


def test_an_unreadable_connection_ends_the_wait_after_one_submission(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        clock.sleep(_wait(lambda: _operator().execute(task), clock))
        for _ in range(30):
            with pytest.raises(AirflowException) as raised:
                _operator(vidgen_conn_id="gone").execute(task)
            assert not isinstance(raised.value, AirflowRescheduleException)
    assert _posts(web) == 1


class _FailingTicketStore(FakeStateStore):
    """A task state store whose reads or writes of the ticket fail."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__()
        self.reads = reads

    def get(self, key: str, default: Any = None) -> Any:
        if key == capacity.KEY and self.reads:
            raise ConnectionError("the API server is unreachable")
        return super().get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if key == capacity.KEY:
            raise ConnectionError("the API server is unreachable")
        super().set(key, value, retention=retention)


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("index", [-1, 40])
def test_a_ticket_that_cannot_be_read_or_written_fails_the_try(
    reads: bool, index: int, vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixo")
    task = _mapped(index) | {"task_state_store": _FailingTicketStore(reads=reads)}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        with pytest.raises((AirflowException, ConnectionError)) as raised:
            _operator().execute(task)
    assert not isinstance(raised.value, AirflowRescheduleException | AirflowFailException)
    if reads:
        assert "The queue ticket of the wait for capacity cannot be read (ConnectionError)" in str(
            raised.value
        )
    assert _posts(web) == (1 if index < 0 else 0)


@pytest.mark.parametrize(
    "stored",
    [
        "text",
        {},
        {"queued_at": "x"},
        {"queued_at": "x", "expires_at": "never", "try_number": 1},
        {"queued_at": "x", "expires_at": 3, "try_number": 1},
        {"queued_at": NOW.isoformat(), "expires_at": NOW.isoformat(), "try_number": 1, "refusals": "many"},
        {"queued_at": "x", "expires_at": NOW.isoformat(), "try_number": 1, "refusals": -1},
        {"queued_at": NOW.isoformat(), "expires_at": NOW.isoformat(), "try_number": 1, "v": 2},
        {"queued_at": NOW.isoformat(), "expires_at": NOW.isoformat(), "try_number": 7},
    ],
)
def test_an_unusable_ticket_is_replaced(stored: Any, vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    task["task_state_store"].set(capacity.KEY, stored)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        _wait(lambda: _operator().execute(task), clock)
    ticket = _ticket(task)
    assert ticket is not None
    assert (ticket["queued_at"], ticket["refusals"]) == (NOW.isoformat(), 1)


# --- the queue of a mapped task -------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", DEFERRABLE)
@pytest.mark.parametrize(
    ("vendor", "extra", "index", "has_to_wait"),
    [
        ("apixo", {}, 9, False),
        ("apixo", {}, 10, True),
        ("apixo", {}, -1, False),
        ("apixo", {}, None, False),
        ("apixo", {"max_concurrent": 30}, 10, False),
        ("apixo", {"max_concurrent": 2}, 2, True),
        ("apixgo", {}, 50, False),
        ("apixgo", {"max_concurrent": 3}, 3, True),
    ],
)
def test_in_a_mapped_task_only_the_first_max_concurrent_instances_submit(
    vendor: str,
    extra: dict[str, Any],
    index: int,
    has_to_wait: bool,
    deferrable: bool,
    vidgen: Connect,
    clock: Clock,
) -> None:
    vidgen(vendor, extra=extra)
    task = _mapped(index)
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        web.get(STATUS[vendor], json=finished(vendor))
        if has_to_wait:
            assert _wait(lambda: _operator(deferrable=deferrable).execute(task), clock) >= 15
        else:
            with suppress(TaskDeferred):
                _operator(deferrable=deferrable).execute(task)
    assert _posts(web) == (0 if has_to_wait else 1)
    assert (_ticket(task) is not None) is has_to_wait
    assert (entry_key(1) in task["task_state_store"]) is not has_to_wait


@pytest.mark.parametrize(
    ("state", "may_submit"),
    [
        ("success", True),
        ("failed", True),
        ("skipped", True),
        ("upstream_failed", True),
        ("removed", True),
        ("up_for_retry", False),
        ("up_for_reschedule", False),
        ("deferred", False),
        ("running", False),
        (None, False),
    ],
)
def test_an_instance_waits_for_unfinished_instances_with_a_lower_map_index(
    state: str | None, may_submit: bool, vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        if may_submit:
            _operator(deferrable=False).execute(_mapped(10, {4: state}))
        else:
            _wait(lambda: _operator().execute(_mapped(10, {4: state})), clock)
    assert _posts(web) == may_submit


def test_finished_instances_with_a_higher_map_index_free_no_slot(vidgen: Connect, clock: Clock) -> None:
    """They may have failed before they had a job; if they counted, one job too many would run."""
    vidgen("apixo")
    with requests_mock.Mocker():
        _wait(lambda: _operator().execute(_mapped(10, dict.fromkeys(range(11, 60), "failed"))), clock)


def test_an_instance_far_back_in_the_queue_reads_only_a_count(vidgen: Connect, clock: Clock) -> None:
    def fail(**_: Any) -> None:
        raise AssertionError

    vidgen("apixo")
    with requests_mock.Mocker():
        _wait(lambda: _operator().execute(_mapped(20, {4: "success"}, get_task_states=fail)), clock)


def test_the_place_in_the_queue_is_logged(vidgen: Connect, clock: Clock, logged: Callable[[], str]) -> None:
    vidgen("apixo")
    logged()
    with requests_mock.Mocker():
        wait = _wait(lambda: _operator().execute(_mapped(40)), clock)
    line = "40 instances of this task come first and the account runs 10 jobs at a time"
    assert f"{line}; rescheduled, the next check is in {wait:.0f} s" in logged()


def test_if_the_instances_cannot_be_counted_the_task_submits(
    vidgen: Connect, clock: Clock, logged: Callable[[], str]
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("404")

    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        _wait(lambda: _operator().execute(context(map_index=40, get_ti_count=fail)), clock)
    assert _posts(web) == 1
    assert "could not be counted (RuntimeError)" in logged()


def test_after_the_timeout_the_task_submits(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = _mapped(40)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [AT_CAPACITY])
        while clock.now() < NOW + timedelta(seconds=900):
            clock.sleep(_wait(lambda: _operator(timeout=900).execute(task), clock))
            assert _posts(web) == 0
        with pytest.raises(AirflowException, match="RateLimited"):
            _operator(timeout=900).execute(task)
    assert _posts(web) == 1
    assert clock.now() - NOW < timedelta(seconds=911)


def test_a_task_with_a_job_re_attaches_without_waiting_for_capacity(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = _mapped(40, dict.fromkeys(range(40), "success"))
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json={"code": 200, "data": {"taskId": "task_1", "state": "processing"}})
        with pytest.raises(TaskDeferred):
            _operator().execute(task)
        task["ti"].states = dict.fromkeys(task["ti"].states, "deferred")
        with pytest.raises(TaskDeferred):
            _operator().execute(task)
    assert _posts(web) == 1


def test_an_unusable_target_is_reported_before_the_wait_for_capacity(vidgen: Connect, tmp_path: Any) -> None:
    vidgen("apixo")
    (tmp_path / "v.mp4").write_bytes(b"x")
    path = f"file://{tmp_path}/v.mp4"
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", prompt=PROMPT).expand(output_path=[path] * 41)
    with pytest.raises(AirflowFailException, match="output_path"):
        _operator(output_path=path).execute({**_mapped(40), "dag": dag})


# --- lengths of the waits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "limit", "shortest"),
    [(1, 10, 15), (5, 10, 15), (10, 10, 30), (40, 10, 120), (190, 10, 570), (2000, 5, 600), (1, 1, 30)],
)
def test_the_wait_grows_with_the_place_in_the_queue(ahead: int, limit: int, shortest: float) -> None:
    for _ in range(50):
        assert shortest <= capacity.wait_in_queue(ahead, limit) <= min(1.2 * shortest, 600)


@pytest.mark.parametrize(("refusals", "shortest"), [(1, 20), (2, 40), (4, 160), (5, 300), (10**6, 300)])
def test_the_wait_doubles_with_each_refusal(refusals: int, shortest: float) -> None:
    waits = {capacity.wait_after_refusal(refusals, None) for _ in range(50)}
    assert all(shortest <= wait <= 2 * shortest for wait in waits)
    # Submissions that were refused together are not repeated together.
    assert len(waits) == 50
