# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger's payloads: what a trigger is built from, and what it says to the task it wakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vidgen.triggers.events import Reason, make_event, read_event
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from tests.support.accounts import KEY, PROMPT, job
from tests.support.clock import NOW
from tests.support.vendor_replies import LINK

#: What version 0.1.0 has left in the databases of its users. Never change it, only add to it.
WRITTEN_BY_0_1_0: dict[str, Any] = {
    "vidgen_conn_id": "vidgen_default",
    "job": {
        "vendor": "apixo",
        "base_url": "https://api.apixo.ai",
        "model": "grok-video",
        "task_id": "task_1",
    },
    "submitted_at": "2026-11-20T12:00:00+00:00",
    "deadline": "2026-11-20T12:30:00+00:00",
    "not_before": "2026-11-20T12:00:10+00:00",
    "poll_interval": None,
}
EVENT_OF_0_1_0 = {"v": 1, "reason": "ended", "task_id": "task_1", "message": "The job has ended"}


def test_a_trigger_of_version_0_1_0_can_still_be_built() -> None:
    trigger = VideoTaskTrigger(**WRITTEN_BY_0_1_0)
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_vidgen.triggers.video_task.VideoTaskTrigger"
    assert WRITTEN_BY_0_1_0.items() <= kwargs.items()


def test_an_event_of_version_0_1_0_can_still_be_read() -> None:
    assert read_event(EVENT_OF_0_1_0, job("apixo")) == (Reason.ENDED, "")


def test_a_trigger_goes_through_json_and_back() -> None:
    _, kwargs = VideoTaskTrigger(**{**WRITTEN_BY_0_1_0, "poll_interval": 2.5}).serialize()
    _, again = VideoTaskTrigger(**json.loads(json.dumps(kwargs))).serialize()
    assert again == kwargs


def test_a_job_of_a_later_version_may_know_more() -> None:
    more = {**WRITTEN_BY_0_1_0["job"], "region": "eu"}
    assert VideoTaskTrigger(**{**WRITTEN_BY_0_1_0, "job": more}).job["task_id"] == "task_1"


def test_nothing_secret_is_in_the_kwargs_the_repr_or_the_event() -> None:
    trigger = VideoTaskTrigger(**WRITTEN_BY_0_1_0)
    shown = [repr(trigger), json.dumps(trigger.serialize())]
    shown += [json.dumps(make_event(reason, job("apixo"))) for reason in Reason]
    for text in shown:
        assert not any(secret in text for secret in (KEY, PROMPT, LINK, "sig=", "Bearer"))


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_read_back(reason: Reason) -> None:
    event = make_event(reason, job("apixo"))
    assert set(event) == {"v", "reason", "task_id", "message"}
    assert read_event(json.loads(json.dumps(event)), job("apixo")) == (reason, "")


def test_the_moments_are_absolute() -> None:
    trigger = VideoTaskTrigger(**WRITTEN_BY_0_1_0)
    assert trigger.submitted_at == NOW.isoformat()
    assert trigger.deadline.endswith("+00:00")
    assert trigger.not_before.endswith("+00:00")
