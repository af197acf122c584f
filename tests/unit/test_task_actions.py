# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Adopt a job, look for it again, or abandon it: what is written, and what is refused with which sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk import Connection

from airflow_provider_vidgen import clock, task_actions
from airflow_provider_vidgen.airflow_core import CoreTask
from airflow_provider_vidgen.decision import Action, decide
from airflow_provider_vidgen.errors import TaskRef
from airflow_provider_vidgen.ledger import Phase, Record, entry_key
from airflow_provider_vidgen.submission import api_key_hash
from airflow_provider_vidgen.task_actions import ActionRefused
from tests.support.accounts import BASE, KEY, MODEL, connection
from tests.support.core_tasks import FakeRun
from tests.support.ledgers import NOW, record
from tests.support.vendor_replies import STATUS, failed, finished, running, unknown

TASK = TaskRef(dag_id="dag", run_id="run", task_id="make", map_index=-1)
ACTIONS: dict[str, Callable[..., str]] = {
    "adopt": lambda task, **options: task_actions.adopt(task, "task_1", **options),
    "look_again": task_actions.look_again,
    "regenerate": task_actions.regenerate,
}
WITHOUT_JOB = (Phase.SUBMITTING, Phase.UNKNOWN, Phase.NOT_ACCEPTED)
pytestmark = pytest.mark.usefixtures("_now")


@pytest.fixture
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clock, task_actions):
        monkeypatch.setattr(module, "utcnow", lambda: NOW)


def submitted(phase: Phase, vendor: str = "apixo", **fields: Any) -> Record:
    """Return a record of a request that was sent with the connection's key."""
    values = {
        "vendor": vendor,
        "base_url": BASE[vendor],
        "model": MODEL[vendor],
        "api_key_hash": api_key_hash(KEY, "fingerprint"),
        "max_tries": 1,
    }
    return record(phase, **{**values, **fields})


@pytest.fixture
def account(fake_run: FakeRun) -> Callable[..., None]:
    """Set the tasks' connection."""

    def connect(vendor: str = "apixo", **fields: Any) -> None:
        stored = Connection.from_json(connection(vendor, **fields), conn_id="vidgen_default")
        fake_run.connections["vidgen_default"] = stored

    connect()
    return connect


@pytest.fixture
def vendor() -> Any:
    with requests_mock.Mocker() as mocker:
        yield mocker


def refusal(action: str, **options: Any) -> str:
    with pytest.raises(ActionRefused) as refused:
        ACTIONS[action](TASK, **{"clear": False, **options})
    text = str(refused.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def next_action(record: Record | None) -> Action:
    options: dict[str, Any] = {"on_unknown": "fail", "on_clear": "reuse", "key_is_valid": False}
    return decide(record, "fingerprint", cleared=True, **options).action


# --- what all actions refuse ----------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("stored", "state", "message"),
    [
        (None, "failed", "dag run make has not submitted anything. A clear submits"),
        (submitted(Phase.UNKNOWN), "running", "dag run make is running. Wait until it has ended"),
        (submitted(Phase.LOST), "deferred", "dag run make is deferred"),
        ("not a record", "failed", "was not written by this version"),
    ],
)
def test_an_active_task_or_one_without_a_readable_record_is_refused(
    fake_run: FakeRun,
    action: str,
    stored: Any,
    state: str,
    message: str,
) -> None:
    fake_run.add(stored, state=state)
    before = fake_run.stores()
    assert message in refusal(action)
    assert fake_run.stores() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_missing_task_instance_is_refused(fake_run: FakeRun, action: str) -> None:
    assert refusal(action) == "There is no task instance dag run make."
    with pytest.raises(ActionRefused, match="The Dag 'other' has no run 'run'"):
        ACTIONS[action](replace(TASK, dag_id="other"), clear=False)


@pytest.mark.parametrize("action", ACTIONS)
def test_without_a_map_index_the_instances_without_a_job_are_listed(
    fake_run: FakeRun,
    action: str,
) -> None:
    fake_run.add(submitted(Phase.DELIVERED), map_index=0)
    fake_run.add(submitted(Phase.UNKNOWN), map_index=1, name="red kettle")
    fake_run.add("not a record", map_index=2)
    fake_run.add(submitted(Phase.LOST), map_index=3)
    fake_run.add(submitted(Phase.UNKNOWN), map_index=4, state="running")
    fake_run.add(map_index=5)
    assert refusal(action) == (
        "dag run make is a mapped task: give the map index of one of its instances, 0 to 5. "
        "Those without a job: 1 (red kettle), unknown, sent 2026-11-20T03:00:00+00:00; "
        "3, lost, sent 2026-11-20T03:00:00+00:00."
    )


def test_of_many_instances_without_a_job_ten_are_listed(fake_run: FakeRun) -> None:
    for index in range(12):
        fake_run.add(submitted(Phase.UNKNOWN), map_index=index)
    assert refusal("adopt").endswith("9, unknown, sent 2026-11-20T03:00:00+00:00; and 2 more.")


def test_a_mapped_task_whose_instances_all_have_jobs_says_so(fake_run: FakeRun) -> None:
    fake_run.add(submitted(Phase.DELIVERED), map_index=0)
    assert refusal("adopt").endswith("Each of them has a job or has submitted nothing.")


# --- clear ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_with_clear_clears_the_task_and_says_so(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
) -> None:
    vendor.get(STATUS["apixo"], json=running("apixo"))
    fake_run.add(submitted(Phase.LOST))
    text = ACTIONS[action](TASK, clear=True)
    assert "The task was cleared, with 2 downstream: it " in text
    assert fake_run.cleared == [-1]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ACTIONS)
def test_a_task_that_cannot_be_cleared_keeps_its_record(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
) -> None:
    vendor.get(STATUS["apixo"], json=running("apixo"))
    fake_run.add(submitted(Phase.LOST))
    fake_run.cannot_clear = "a task downstream of it is running"
    before = fake_run.stores()
    assert refusal(action, clear=True).startswith(
        "dag run make cannot be cleared: a task downstream of it is running. Nothing was changed."
    )
    assert fake_run.stores() == before


# --- regenerate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("cleared", [False, True])
def test_regenerate_makes_the_next_try_submit_a_new_job_and_names_the_old_one(
    fake_run: FakeRun,
    phase: Phase,
    cleared: bool,
) -> None:
    fake_run.add(submitted(phase, task_id="task_1"))
    text = ACTIONS["regenerate"](TASK, clear=False)
    newest = fake_run.record()
    next_try = decide(
        newest, "fingerprint", cleared=cleared, key_is_valid=True, on_unknown="fail", on_clear="reuse"
    )
    assert next_try.action is Action.SUBMIT
    assert "task_1" in next_try.reason
    assert text == (
        f"dag run make abandons the apixo job task_1 ({phase}; what it cost stays spent). "
        "Clear the task: it submits a new, paid job."
    )


def test_regenerate_of_a_job_without_an_id_says_so(fake_run: FakeRun) -> None:
    fake_run.add(submitted(Phase.UNKNOWN))
    assert "abandons a job without an id at apixo (unknown;" in ACTIONS["regenerate"](TASK, clear=False)


# --- adopt ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("phase", [*WITHOUT_JOB, Phase.LOST, Phase.FAILED, Phase.DISCARDED])
@pytest.mark.parametrize("reply", [running, finished])
def test_a_clear_re_attaches_to_an_adopted_job_that_the_vendor_has(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    phase: Phase,
    reply: Callable[[str], Any],
) -> None:
    vendor.get(STATUS["apixo"], json=reply("apixo"))
    fake_run.add(submitted(phase, task_id=""))
    text = task_actions.adopt(TASK, " task_1\n", clear=False)
    state = "running" if reply is running else "succeeded"
    assert text == (
        f"dag run make has adopted the apixo job task_1 ({state} at the vendor). "
        "Clear the task: it checks this job and does not pay for another."
    )
    newest = fake_run.record()
    assert newest is not None
    assert (newest.phase, newest.task_id) == (Phase.SUBMITTED, "task_1")
    assert next_action(newest) is Action.REATTACH
    assert [call.method for call in vendor.request_history] == ["GET"]


@pytest.mark.usefixtures("account")
def test_an_adopted_job_inherits_nothing_from_the_previous_job_and_has_the_current_key(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
) -> None:
    vendor.get(STATUS["apixo"], json=running("apixo"))
    previous = submitted(
        Phase.LOST,
        task_id="task_0",
        api_key_hash="another key's",
        expires_at=NOW.isoformat(),
        result_urls=("https://cdn.example.com/a.mp4",),
        files=({"path": "a.mp4", "bytes": 1, "sha256": "0f"},),
    )
    fake_run.add(previous)
    ACTIONS["adopt"](TASK, clear=False)
    newest = fake_run.record()
    assert newest is not None
    assert (newest.task_id, newest.expires_at, newest.result_urls, newest.files) == ("task_1", "", (), ())
    assert newest.api_key_hash == api_key_hash(KEY, "fingerprint")


def test_adopt_changes_only_the_given_map_index(
    fake_run: FakeRun,
    account: object,
    vendor: requests_mock.Mocker,
) -> None:
    vendor.get(STATUS["apixo"], json=running("apixo"))
    for index in range(3):
        fake_run.add(submitted(Phase.UNKNOWN), map_index=index)
    text = task_actions.adopt(replace(TASK, map_index=1), "task_1", clear=True)
    assert text.startswith("dag run make[1] has adopted")
    records = [fake_run.record(index) for index in range(3)]
    assert [record and record.phase for record in records] == [
        Phase.UNKNOWN,
        Phase.SUBMITTED,
        Phase.UNKNOWN,
    ]
    assert fake_run.cleared == [1]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("phase", "job_id", "message"),
    [
        (
            Phase.SUBMITTED,
            "task_1",
            "already has the apixo job task_0 (submitted). Nothing was changed. To abandon",
        ),
        (Phase.DELIVERED, "task_1", "already has the apixo job task_0 (delivered)"),
        (Phase.DELIVERED, "task_0", "has delivered the video of the job task_0. Nothing was changed."),
        (Phase.UNKNOWN, "  ", "There is no job id. Nothing was changed."),
    ],
)
def test_adopt_does_not_replace_a_job(
    fake_run: FakeRun,
    phase: Phase,
    job_id: str,
    message: str,
    check: bool,
) -> None:
    fake_run.add(submitted(phase, task_id="task_0"))
    before = fake_run.stores()
    with pytest.raises(ActionRefused, match=re.escape(message)):
        task_actions.adopt(TASK, job_id, clear=True, check=check)
    assert fake_run.stores() == before
    assert fake_run.cleared == []


def test_adopt_without_a_check_needs_neither_the_connection_nor_the_vendor(fake_run: FakeRun) -> None:
    fake_run.add(submitted(Phase.UNKNOWN))
    text = task_actions.adopt(TASK, "task_1", clear=False, check=False)
    assert "job task_1 (not checked with the vendor). Clear the task: it checks this job" in text
    newest = fake_run.record()
    assert newest is not None
    assert (newest.phase, newest.task_id) == (Phase.SUBMITTED, "task_1")


def test_adopting_the_same_job_again_changes_nothing(fake_run: FakeRun) -> None:
    fake_run.add(submitted(Phase.SUBMITTED))
    before = fake_run.stores()
    text = task_actions.adopt(TASK, "task_1", clear=True, check=False)
    assert "has adopted the apixo job task_1" in text
    assert fake_run.stores() == before
    assert fake_run.cleared == [-1]


# --- the vendor's answer --------------------------------------------------------------------------------

_MISMATCH = "must be https://api.apixo.ai, where the job was submitted"
NO_ANSWER = [
    (unknown("apixo"), "Apixo does not know the job task_1 with the API key of 'vidgen_default'. "),
    (
        {"json": failed("apixo", "no", "CONTENT_VIOLATION")},
        "The Apixo job task_1 has ended without a video (c",
    ),
    ({"status_code": 401, "json": {"code": 401}}, "Correct the API key of the connection 'vidgen_default'"),
    (
        {"exc": requests.ConnectionError},
        "Apixo did not answer (ConnectionError). Nothing was changed. Try again",
    ),
    ({"status_code": 502}, "Try again when the vendor answers."),
]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ["adopt", "look_again"])
@pytest.mark.parametrize(("reply", "message"), NO_ANSWER)
def test_a_job_that_the_vendor_does_not_have_is_refused_and_nothing_is_written(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
    reply: Any,
    message: str,
) -> None:
    vendor.get(STATUS["apixo"], **reply)
    fake_run.add(submitted(Phase.LOST))
    before = fake_run.stores()
    text = refusal(action, clear=True)
    assert message in text
    assert "Nothing was changed" in text
    assert fake_run.stores() == before
    assert fake_run.cleared == []
    # A person waits, so it is asked once.
    assert len(vendor.request_history) == 1


@pytest.mark.parametrize("action", ["adopt", "look_again"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "https://other.example.com"}, _MISMATCH),
        ({"conn_type": "http"}, "conn_type='http': must be 'vidgen'"),
        ({"password": ""}, "password=empty: must be the API key. Nothing was changed."),
    ],
)
def test_an_unusable_connection_is_refused(
    fake_run: FakeRun,
    account: Callable[..., None],
    action: str,
    fields: Any,
    message: str,
) -> None:
    account(**fields)
    fake_run.add(submitted(Phase.LOST))
    assert message in refusal(action)


@pytest.mark.parametrize("action", ["adopt", "look_again"])
@pytest.mark.parametrize("conn_id", ["only_on_workers", ""])
def test_a_connection_that_is_not_known_here_is_refused(
    fake_run: FakeRun,
    action: str,
    conn_id: str,
) -> None:
    fake_run.add(submitted(Phase.LOST))
    fake_run.conn_id = conn_id
    text = refusal(action)
    assert ("'only_on_workers' is not defined here" if conn_id else "is not known any more") in text
    assert (
        "--no-check"
        if action == "adopt"
        else "a clear of the task, which checks the job and pays for another only"
    ) in text


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ["adopt", "look_again"])
def test_a_job_of_another_account_is_named_as_the_possible_reason(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
) -> None:
    vendor.get(STATUS["apixo"], **unknown("apixo"))
    fake_run.add(submitted(Phase.LOST, api_key_hash="another key's"))
    assert "which is not the key that the task submitted with" in refusal(action)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ["adopt", "look_again"])
def test_a_record_that_changes_while_the_vendor_is_asked_is_left_as_it_is(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
) -> None:
    fake_run.add(submitted(Phase.LOST))
    newer = submitted(Phase.SUBMITTED, task_id="task_9").to_json()

    def answer(request: Any, context: Any) -> Any:
        fake_run.tasks[0].store.set(entry_key(2), newer)
        return running("apixo")

    vendor.get(STATUS["apixo"], json=answer)
    assert "was changed while the vendor was asked. Nothing was changed." in refusal(action, clear=True)
    newest = fake_run.record()
    assert newest is not None
    assert newest.task_id == "task_9"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("action", ["adopt", "look_again"])
def test_a_task_that_starts_while_the_vendor_is_asked_is_left_as_it_is(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    action: str,
) -> None:
    fake_run.add(submitted(Phase.LOST))

    def answer(request: Any, context: Any) -> Any:
        fake_run.tasks[0] = CoreTask(**{**vars(fake_run.tasks[0]), "state": "queued"})
        return running("apixo")

    vendor.get(STATUS["apixo"], json=answer)
    before = fake_run.stores()
    assert "is queued" in refusal(action)
    assert fake_run.stores() == before


# --- look again -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("phase", [Phase.UNKNOWN, Phase.LOST, Phase.FAILED, Phase.SUBMITTED])
def test_a_job_that_lives_after_all_is_re_attached_by_the_next_try(
    fake_run: FakeRun,
    vendor: requests_mock.Mocker,
    phase: Phase,
) -> None:
    vendor.get(STATUS["apixo"], json=running("apixo"))
    fake_run.add(submitted(phase, task_id="task_1"))
    before = fake_run.stores()
    assert ACTIONS["look_again"](TASK, clear=False) == (
        "The apixo job task_1 of dag run make is running. "
        "Clear the task: it checks this job and does not pay for another."
    )
    newest = fake_run.record()
    assert newest is not None
    assert newest.phase is Phase.SUBMITTED
    assert next_action(newest) is Action.REATTACH
    assert (fake_run.stores() == before) is (phase is Phase.SUBMITTED)
    assert [call.method for call in vendor.request_history] == ["GET"]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.UNKNOWN])
def test_a_submission_without_a_job_id_is_to_be_looked_for_in_the_console(
    fake_run: FakeRun,
    phase: Phase,
) -> None:
    fake_run.add(submitted(phase, idempotency_key=""))
    before = fake_run.stores()
    assert refusal("look_again", clear=True) == (
        "apixo was sent the request of dag run make at 2026-11-20T03:00:00+00:00 and no job id is known, "
        "so the vendor cannot be asked about it. Nothing was changed. If the vendor's console shows the "
        "job, run `airflow vidgen adopt dag run make --job-id JOB_ID`. If it does not, a clear of the task "
        "submits a new, paid job."
    )
    assert fake_run.stores() == before
    assert fake_run.cleared == []


def test_a_valid_idempotency_key_makes_a_clear_free_of_a_second_bill(
    fake_run: FakeRun,
    account: Callable[..., None],
) -> None:
    account("apimart")
    fake_run.add(submitted(Phase.UNKNOWN, "apimart", idempotency_key="vidgen-1"))
    text = refusal("look_again", clear=True)
    assert (
        "a clear of the task sends the same request with the same idempotency key, which is not billed"
        in text
    )
    assert fake_run.cleared == []


@pytest.mark.parametrize("conn_id", ["only_on_workers", ""])
def test_where_the_connection_is_not_known_no_key_is_promised(fake_run: FakeRun, conn_id: str) -> None:
    fake_run.add(submitted(Phase.UNKNOWN, "apimart", idempotency_key="vidgen-1"))
    fake_run.conn_id = conn_id
    text = refusal("look_again")
    assert text.endswith("If it does not, a clear of the task submits a new, paid job.")


@pytest.mark.usefixtures("account")
def test_a_key_at_a_vendor_that_has_no_keys_is_not_valid(fake_run: FakeRun) -> None:
    fake_run.add(submitted(Phase.UNKNOWN, idempotency_key="vidgen-1"))
    assert "a clear of the task submits a new, paid job" in refusal("look_again")


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key_hash": "another key's"},
        {"idempotency_key_sent_at": (NOW - timedelta(days=30)).isoformat()},
    ],
)
def test_an_invalid_idempotency_key_promises_nothing(
    fake_run: FakeRun,
    account: Callable[..., None],
    fields: Any,
) -> None:
    account("apimart")
    fake_run.add(submitted(Phase.UNKNOWN, "apimart", idempotency_key="vidgen-1", **fields))
    assert "a clear of the task submits a new, paid job" in refusal("look_again")


@pytest.mark.parametrize(
    ("phase", "task_id", "message"),
    [
        (Phase.DELIVERED, "task_1", "has delivered the video of the job task_1. Nothing was changed."),
        (Phase.NOT_ACCEPTED, "", "has no job: apixo accepted none. Nothing was changed. A clear submits"),
        (
            Phase.DISCARDED,
            "task_1",
            "was abandoned by `airflow vidgen regenerate`. To go back to it, run `airfl",
        ),
        (Phase.DISCARDED, "", "The job of dag run make was abandoned by `airflow vidgen regenerate`."),
        (Phase.FAILED, "", "made by a synchronous endpoint of apixo and has no id. Nothing was changed."),
    ],
)
def test_where_no_job_is_missing_nothing_is_looked_for(
    fake_run: FakeRun,
    phase: Phase,
    task_id: str,
    message: str,
) -> None:
    fake_run.add(submitted(phase, task_id=task_id))
    before = fake_run.stores()
    assert message in refusal("look_again", clear=True)
    assert fake_run.stores() == before
    assert fake_run.cleared == []
