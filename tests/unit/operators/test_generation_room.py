# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A vendor that has no room is not an error: the task waits for it, submits nothing twice, loses no try."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from fakes import CREATE, NOW, PROMPT, STATUS, VENDORS, Clock, context, created, finished, job

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.vendor_room import VendorRoomTrigger
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger

Connect = Callable[..., None]
FULL = {"status_code": 429, "json": {"code": 429, "message": "too many"}}
ROOM = {"v": 1, "reason": "room", "task_id": "", "message": ""}


def _operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, "deferrable": True, **fields})


def _deferred(run: Callable[[], Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        run()
    return deferred.value


def _phase(task: dict[str, Any]) -> str:
    return str(task["task_state_store"].get("vidgen")["phase"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_full_vendor_frees_the_worker_at_once(vendor: str, vidgen: Connect, clock: Clock) -> None:
    vidgen(vendor)
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [{**FULL, "headers": {"Retry-After": "40"}}])
        left = _deferred(lambda: _operator(timeout=900).execute(task))
    trigger = left.trigger
    assert isinstance(trigger, VendorRoomTrigger)
    assert (trigger.refused_at, trigger.retry_after) == (NOW.isoformat(), 40.0)
    assert trigger.not_before == (NOW + timedelta(seconds=10)).isoformat()
    until = (NOW + timedelta(seconds=900)).isoformat()
    assert left.kwargs == {"since": NOW.isoformat(), "until": until}
    assert left.kwargs == {name: getattr(trigger, name) for name in left.kwargs}
    assert type(left.timeout) is timedelta
    assert left.timeout > timedelta(seconds=900)
    assert len(web.request_history) == 1
    assert clock.slept == []
    # Whatever happens to the task while it waits, the record says that nothing was taken.
    assert _phase(task) == "fresh"


@pytest.mark.parametrize("event", [ROOM, {"v": 1, "reason": "no_room"}, None, {"v": 9}])
def test_a_task_that_is_called_submits_whatever_the_event_says(event: Any, vidgen: Connect) -> None:
    vidgen("apixo")
    task = context()
    waiting = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=900)).isoformat()}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        left = _deferred(lambda: _operator().resume_in_line(task, event, **waiting))
    assert isinstance(left.trigger, VideoTaskTrigger)
    assert len(web.request_history) == 1
    assert _phase(task) == "submitted"


def test_a_task_that_is_called_too_early_keeps_its_place(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context(map_index=40)
    waiting = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=900)).isoformat()}
    clock.sleep(300)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [FULL])
        left = _deferred(lambda: _operator().resume_in_line(task, ROOM, **waiting))
    assert isinstance(left.trigger, VendorRoomTrigger)
    assert left.kwargs == waiting
    assert left.trigger.refused_at == clock.now().isoformat()


def test_who_finds_no_room_to_the_end_has_paid_nothing_and_a_retry_helps(
    vidgen: Connect, clock: Clock
) -> None:
    vidgen("apixo")
    waiting = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=900)).isoformat()}
    clock.sleep(900)
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [FULL])
        with pytest.raises(AirflowException, match=r"RateLimited: .*Nothing was spent") as caught:
            _operator().resume_in_line(context(), ROOM, **waiting)
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    ("vendor", "extra", "index", "lines_up"),
    [
        ("apixo", {}, 9, False),
        ("apixo", {}, 10, True),
        ("apixo", {}, -1, False),
        ("apixo", {"max_concurrent": 30}, 10, False),
        ("apixo", {"max_concurrent": 2}, 2, True),
        ("apixgo", {}, 500, False),
        ("apixgo", {"max_concurrent": 3}, 3, True),
    ],
)
def test_of_a_mapped_task_as_many_submit_at_once_as_the_account_may_have_jobs(
    vendor: str, extra: dict[str, Any], index: int, lines_up: bool, vidgen: Connect
) -> None:
    vidgen(vendor, extra=extra)
    task = context(map_index=index)
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=created(vendor))
        left = _deferred(lambda: _operator().execute(task))
    assert isinstance(left.trigger, VendorRoomTrigger) is lines_up
    assert len(web.request_history) == (0 if lines_up else 1)
    if lines_up:
        assert left.trigger.refused_at == ""
        assert "vidgen" not in task["task_state_store"]


def test_a_task_that_has_a_job_already_asks_about_it_and_does_not_line_up(vidgen: Connect) -> None:
    vidgen("apixo")
    task = context(map_index=40)
    waiting = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=900)).isoformat()}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=created("apixo"))
        _deferred(lambda: _operator().resume_in_line(task, ROOM, **waiting))
        web.get(STATUS["apixo"], json=finished("apixo"))
        result = _operator().execute(task)
    assert result["task_id"] == "task_1"
    assert sum(sent.method == "POST" for sent in web.request_history) == 1


def test_a_line_is_no_place_for_a_target_that_is_taken(vidgen: Connect, tmp_path: Any) -> None:
    vidgen("apixo")
    (tmp_path / "v.mp4").write_bytes(b"x")
    path = f"file://{tmp_path}/v.mp4"
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", prompt=PROMPT).expand(output_path=[path] * 41)
    with pytest.raises(AirflowFailException, match="output_path"):
        _operator(output_path=path).execute({**context(map_index=40, task_id="t"), "dag": dag})


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_blocking_task_waits_for_room_on_its_worker(vendor: str, vidgen: Connect, clock: Clock) -> None:
    vidgen(vendor)
    task = context(map_index=40)
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], [*[FULL] * 6, {"json": created(vendor)}])
        web.get(STATUS[vendor], json=finished(vendor))
        result = _operator(deferrable=False).execute(task)
    assert result["task_id"] == "task_1"
    posted = [sent for sent in web.request_history if sent.method == "POST"]
    assert len(posted) == 7
    assert clock.slept[:5] == sorted(clock.slept[:5])


def test_a_blocking_task_waits_no_longer_than_its_timeout(vidgen: Connect, clock: Clock) -> None:
    vidgen("apixo")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [FULL])
        with pytest.raises(AirflowException, match="RateLimited"):
            _operator(deferrable=False, timeout=300).execute(task)
    assert timedelta(seconds=200) < clock.now() - NOW <= timedelta(seconds=300)
    assert _phase(task) == "fresh"


def test_an_open_submission_waits_for_room_too_and_goes_out_again_under_its_key(
    vidgen: Connect, clock: Clock
) -> None:
    """The vendor may have taken the first one: only the same key keeps the second from being billed."""
    vidgen("apimart")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, FULL, {"json": created("apimart")}])
        left = _deferred(lambda: _operator().execute(task))
        assert isinstance(left.trigger, VendorRoomTrigger)
        assert _phase(task) == "unknown"
        clock.sleep(60)
        left = _deferred(lambda: _operator().resume_in_line(task, ROOM, **(left.kwargs or {})))
    assert isinstance(left.trigger, VideoTaskTrigger)
    assert left.trigger.job == job("apimart").to_dict()
    keys = [sent.headers["Idempotency-Key"] for sent in web.request_history]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_an_open_submission_whose_key_is_forgotten_by_then_is_reported(vidgen: Connect, clock: Clock) -> None:
    vidgen("apimart")
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], [{"exc": requests.ReadTimeout}, FULL])
        left = _deferred(lambda: _operator(timeout=9000).execute(task))
        clock.sleep(3601)
        with pytest.raises(AirflowFailException, match=r"SubmitOutcomeUnknown: .*Money may have been spent"):
            _operator().resume_in_line(task, ROOM, **(left.kwargs or {}))
    assert len(web.request_history) == 2


def test_neither_prompt_nor_key_is_in_what_is_deferred(vidgen: Connect) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], [{"status_code": 429, "json": {"code": 429, "message": f"no: {PROMPT}"}}])
        left = _deferred(lambda: _operator().execute(context()))
    shown = json.dumps([left.trigger.serialize(), left.kwargs])
    assert PROMPT not in shown
    assert "sk-" not in shown
