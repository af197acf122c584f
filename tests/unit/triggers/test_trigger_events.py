# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The serialized forms of the trigger: its kwargs, and the event that wakes the task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vidgen.triggers.events import Reason, make_event, read_event
from airflow_provider_vidgen.triggers.video_task import VideoTaskTrigger
from tests.support.accounts import KEY, PROMPT, job
from tests.support.clock import NOW
from tests.support.vendor_replies import LINK

#: Stored in the databases of users of version 0.1.0. Never change it, only add to it.
KWARGS_OF_0_1_0: dict[str, Any] = {
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
    "cancel_on_kill": True,
    "poll_interval": None,
}
EVENT_OF_0_1_0 = {"v": 1, "reason": "ended", "task_id": "task_1", "message": "The job has ended"}


def test_the_kwargs_of_version_0_1_0_can_be_deserialized() -> None:
    trigger = VideoTaskTrigger(**KWARGS_OF_0_1_0)
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_vidgen.triggers.video_task.VideoTaskTrigger"
    assert KWARGS_OF_0_1_0.items() <= kwargs.items()


def test_an_event_of_version_0_1_0_can_be_read() -> None:
    assert read_event(EVENT_OF_0_1_0, job("apixo")) == (Reason.ENDED, "")


def test_a_trigger_survives_json_serialization() -> None:
    _, kwargs = VideoTaskTrigger(**{**KWARGS_OF_0_1_0, "poll_interval": 2.5}).serialize()
    _, roundtrip = VideoTaskTrigger(**json.loads(json.dumps(kwargs))).serialize()
    assert roundtrip == kwargs


def test_unknown_keys_of_a_later_versions_job_are_accepted() -> None:
    extended_job = {**KWARGS_OF_0_1_0["job"], "region": "eu"}
    assert VideoTaskTrigger(**{**KWARGS_OF_0_1_0, "job": extended_job}).job["task_id"] == "task_1"


def test_kwargs_repr_and_events_contain_no_secrets() -> None:
    trigger = VideoTaskTrigger(**KWARGS_OF_0_1_0)
    texts = [repr(trigger), json.dumps(trigger.serialize())]
    texts += [json.dumps(make_event(reason, job("apixo"))) for reason in Reason]
    for text in texts:
        assert not any(secret in text for secret in (KEY, PROMPT, LINK, "sig=", "Bearer"))


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_survives_serialization(reason: Reason) -> None:
    event = make_event(reason, job("apixo"))
    assert set(event) == {"v", "reason", "task_id", "message"}
    assert read_event(json.loads(json.dumps(event)), job("apixo")) == (reason, "")


def test_times_are_absolute() -> None:
    trigger = VideoTaskTrigger(**KWARGS_OF_0_1_0)
    assert trigger.submitted_at == NOW.isoformat()
    assert trigger.deadline.endswith("+00:00")
    assert trigger.not_before.endswith("+00:00")
