# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A task that resumes after its trigger's event: the vendor's status decides, not the event."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_vidgen.ledger import entry_key
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.triggers.events import Reason
from tests.support.accounts import KEY, PROMPT
from tests.support.clock import NOW, Clock
from tests.support.task_instance import context, record_of
from tests.support.vendor_replies import (
    CREATE,
    LINK,
    MP4,
    STATUS,
    create_body,
    failed,
    finished,
    running,
    status_body,
    unknown,
)

Deferred = tuple[dict[str, Any], VideoGenerationOperator, dict[str, Any]]


def event(reason: str = "ended", **changes: Any) -> dict[str, Any]:
    return {"v": 1, "reason": reason, "task_id": "task_1", "message": "", **changes}


UNUSABLE_EVENTS: dict[str, Any] = {
    "nothing": None,
    "text": "ended",
    "a list": [],
    "an empty object": {},
    "another version": event(v=99),
    "no version": {"reason": "ended", "task_id": "task_1"},
    "another job": event(task_id="task_2"),
    "an unknown reason": event("no_such_reason"),
    "no reason": {"v": 1, "task_id": "task_1"},
    "a reason of another type": event(reason=7),  # type: ignore[arg-type]
}


@pytest.fixture
def deferred(vidgen: Callable[..., None]) -> Callable[..., Deferred]:
    """Return a task that has submitted its job and is deferred."""

    def submit(vendor: str = "apixo", **fields: Any) -> Deferred:
        vidgen(vendor, extra={"allow_private_urls": True})
        task = context()
        operator = VideoGenerationOperator(
            **{"task_id": "t", "prompt": PROMPT, "deferrable": True, "timeout": 900, **fields}
        )
        with requests_mock.Mocker() as web:
            web.post(CREATE[vendor], json=create_body(vendor))
            with pytest.raises(TaskDeferred) as raised:
                operator.execute(task)
        return task, operator, raised.value.kwargs or {}

    return submit


def resume(deferral: Deferred, *replies: Any, event: Any, vendor: str = "apixo") -> Any:
    """Resume with these status replies; there is no reply to a submission, so one would fail the test."""
    task, operator, kwargs = deferral
    with requests_mock.Mocker() as web:
        web.get(STATUS[vendor], [r if "exc" in r or "status_code" in r else {"json": r} for r in replies])
        web.get(LINK, content=MP4)
        return operator.execute_complete(task, event=event, **kwargs)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_video_is_a_success_whatever_the_event_reports(
    reason: str, deferred: Callable[..., Deferred]
) -> None:
    deferral = deferred()
    result = resume(deferral, finished("apixo"), event=event(reason))
    assert result["result_urls"] == [LINK]
    assert deferral[0]["ti"].xcom["result_urls"] == [LINK]
    assert record_of(deferral[0])["phase"] == "delivered"


@pytest.mark.parametrize("case", UNUSABLE_EVENTS)
def test_an_unusable_event_leads_to_a_status_check(
    case: str, deferred: Callable[..., Deferred], logged: Callable[[], str]
) -> None:
    assert resume(deferred(), finished("apixo"), event=UNUSABLE_EVENTS[case])["state"] == "succeeded"
    message = re.search(r"(\S[^\n]{10,}); checking the job", logged())
    assert message is not None
    assert "event" in message[1]


@pytest.mark.parametrize("case", ["ended", *UNUSABLE_EVENTS])
def test_no_event_turns_a_running_job_into_a_success(case: str, deferred: Callable[..., Deferred]) -> None:
    deferral = deferred()
    with pytest.raises(TaskDeferred) as again:
        resume(deferral, running("apixo"), event=UNUSABLE_EVENTS.get(case, event()))
    assert again.value.kwargs == deferral[2]
    assert again.value.method_name == "execute_complete"
    assert "result_urls" not in deferral[0]["ti"].xcom


@pytest.mark.parametrize("case", ["ended", *UNUSABLE_EVENTS])
def test_success_without_a_link_is_never_a_result(case: str, deferred: Callable[..., Deferred]) -> None:
    with pytest.raises(TaskDeferred):
        resume(deferred(), status_body("apixo", "success"), event=UNUSABLE_EVENTS.get(case, event()))


def test_a_result_without_a_link_is_reported_as_paid(deferred: Callable[..., Deferred]) -> None:
    with pytest.raises(AirflowFailException, match=r"without a usable link.*apixo job task_1.*paid for"):
        resume(deferred(), status_body("apixo", "success"), event=event("result_missing"))


@pytest.mark.parametrize(
    ("vendor_message", "code", "exception_type"),
    [("no", "CONTENT_VIOLATION", AirflowFailException), ("oops", "GENERATION_FAILED", AirflowException)],
)
def test_the_error_class_of_a_failed_job_follows_from_the_current_status(
    vendor_message: str, code: str, exception_type: type[Exception], deferred: Callable[..., Deferred]
) -> None:
    deferral = deferred()
    with pytest.raises(AirflowException) as failure:
        resume(deferral, failed("apixo", vendor_message, code), event=event())
    assert type(failure.value) is exception_type
    assert record_of(deferral[0])["phase"] == "failed"


def test_a_second_resume_returns_the_same_result(deferred: Callable[..., Deferred]) -> None:
    deferral = deferred()
    assert resume(deferral, finished("apixo"), event=event()) == resume(
        deferral, finished("apixo"), event=event()
    )


@pytest.mark.parametrize(
    "unavailable",
    [{"exc": requests.ConnectTimeout}, {"status_code": 502}, {"status_code": 200, "text": "<html>"}],
)
def test_a_resumed_task_defers_again_while_the_vendor_is_unavailable(
    unavailable: dict[str, Any], deferred: Callable[..., Deferred]
) -> None:
    deferral = deferred()
    with pytest.raises(TaskDeferred) as again:
        resume(deferral, unavailable, event=event())
    assert again.value.kwargs == deferral[2]


def test_a_vendor_that_trigger_and_worker_cannot_reach_fails_the_try(
    deferred: Callable[..., Deferred],
) -> None:
    with pytest.raises(
        AirflowException, match=r"StatusUnavailable.*apixo job task_1.*checks the same job"
    ) as failure:
        resume(deferred(), {"exc": requests.ConnectTimeout}, event=event("vendor_unavailable"))
    assert not isinstance(failure.value, AirflowFailException)


def test_a_failed_status_check_at_the_deadline_fails_the_try(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(901)
    with pytest.raises(
        AirflowException, match="DeadlineExceeded: The status check at the deadline, 2026-11-20T12:15:00"
    ):
        resume(deferral, {"exc": requests.ConnectTimeout}, event=event())


def test_the_reason_for_another_deferral_is_logged(
    deferred: Callable[..., Deferred], logged: Callable[[], str]
) -> None:
    deferral = deferred()
    logged()
    for reply, message in (
        (running("apixo"), "apixo job task_1 is still running; deferring again"),
        ({"status_code": 502}, "The status of apixo job task_1 is not available now; deferring again"),
    ):
        with pytest.raises(TaskDeferred):
            resume(deferral, reply, event=event())
        assert message in logged()


def test_the_deadline_is_exceeded_exactly_at_its_time(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(900)
    with pytest.raises(AirflowException, match="DeadlineExceeded"):
        resume(deferral, running("apixo"), event=event())


@pytest.mark.parametrize("reason", ["deadline_exceeded", "ended", "trigger_error"])
def test_the_deadline_is_checked_against_the_clock_and_the_job_stays_attached(
    reason: str, deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(901)
    with pytest.raises(
        AirflowException, match=r"DeadlineExceeded: The job was still.*2026-11-20T12:15:00\+00:00.*task_1"
    ) as failure:
        resume(deferral, running("apixo"), event=event(reason))
    assert not isinstance(failure.value, AirflowFailException)
    assert record_of(deferral[0])["phase"] == "submitted"


@pytest.mark.parametrize("cancel", [False, True])
def test_cancel_on_kill_is_passed_to_the_trigger(cancel: bool, deferred: Callable[..., Deferred]) -> None:
    with pytest.raises(TaskDeferred) as again:
        resume(deferred(cancel_on_kill=cancel), running("apixo"), event=event())
    assert again.value.trigger.cancel_on_kill is cancel


def test_an_error_of_the_trigger_is_reported_with_the_job(deferred: Callable[..., Deferred]) -> None:
    with pytest.raises(AirflowException, match=r"TriggerError: The trigger failed.*task_1"):
        resume(deferred(), running("apixo"), event=event("trigger_error"))


def test_a_deadline_event_before_the_deadline_defers_again(deferred: Callable[..., Deferred]) -> None:
    with pytest.raises(TaskDeferred) as again:
        resume(deferred(), running("apixo"), event=event("deadline_exceeded"))
    assert again.value.kwargs is not None
    assert again.value.kwargs["deadline"] == (NOW + timedelta(seconds=900)).isoformat()


def test_a_video_that_is_ready_after_the_deadline_is_delivered(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(10_000)
    assert resume(deferral, finished("apixo"), event=event("deadline_exceeded"))["state"] == "succeeded"


def test_a_job_is_lost_only_if_trigger_and_worker_do_not_find_it(deferred: Callable[..., Deferred]) -> None:
    deferral = deferred("apixgo")
    missing = unknown("apixgo")
    with pytest.raises(TaskDeferred):
        resume(deferral, missing, event=event(), vendor="apixgo")
    with pytest.raises(TaskDeferred):
        resume(deferral, running("apixgo"), event=event("job_lost"), vendor="apixgo")
    with pytest.raises(AirflowFailException, match=r"JobLost: The vendor does not .*task_not_exist.* task_1"):
        resume(deferral, missing, event=event("job_lost"), vendor="apixgo")
    assert record_of(deferral[0])["phase"] == "lost"


def test_a_lost_job_is_reported_with_the_vendors_code_and_message(deferred: Callable[..., Deferred]) -> None:
    deferral = deferred("apimart")
    with pytest.raises(AirflowFailException) as failure:
        resume(deferral, unknown("apimart"), event=event("job_lost"), vendor="apimart")
    assert '"404 not found"' in str(failure.value)


def test_a_resume_without_arguments_uses_the_reason_of_the_event(
    deferred: Callable[..., Deferred],
) -> None:
    task, operator, _ = deferred()
    with pytest.raises(AirflowFailException, match="without a usable link"):
        resume((task, operator, {}), status_body("apixo", "success"), event=event("result_missing"))


def test_a_job_not_found_at_the_deadline_stays_attached(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(901)
    with pytest.raises(
        AirflowException, match="DeadlineExceeded: The status check at the deadline, 2026-11-20T12:15:00"
    ):
        resume(deferral, unknown("apixo"), event=event())
    assert record_of(deferral[0])["phase"] == "submitted"


@pytest.mark.parametrize("code", [401, 403])
def test_an_api_key_refused_on_trigger_and_worker_fails_the_try_and_keeps_the_job(
    code: int, deferred: Callable[..., Deferred]
) -> None:
    deferral = deferred()
    refused = {"status_code": code, "json": {"code": code}}
    with pytest.raises(TaskDeferred):
        resume(deferral, refused, event=event())
    with pytest.raises(AirflowException, match=r"StatusRefused.*checks the same job") as failure:
        resume(deferral, refused, event=event("access_denied"))
    assert not isinstance(failure.value, AirflowFailException)
    assert record_of(deferral[0])["phase"] == "submitted"


def test_an_api_key_refused_at_the_deadline_fails_the_try(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred()
    clock.sleep(901)
    with pytest.raises(AirflowException, match=r"DeadlineExceeded.*HTTP 401"):
        resume(deferral, {"status_code": 401, "json": {"code": 401}}, event=event())


@pytest.mark.parametrize("reason", [*list(Reason), "nonsense"])
def test_a_resume_without_arguments_continues_from_the_record(
    reason: str, deferred: Callable[..., Deferred]
) -> None:
    """As in ``dag.test()`` and ``airflow dags test``."""
    task, operator, _ = deferred()
    assert resume((task, operator, {}), finished("apixo"), event=event(reason))["task_id"] == "task_1"


def test_a_resume_without_arguments_keeps_the_deadline(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    task, operator, kwargs = deferred()
    clock.sleep(100)
    with pytest.raises(TaskDeferred) as again:
        resume((task, operator, {}), running("apixo"), event=event())
    assert again.value.kwargs == kwargs
    clock.sleep(801)
    with pytest.raises(AirflowException, match="DeadlineExceeded"):
        resume((task, operator, {}), running("apixo"), event=event())


def test_a_resume_without_a_record_sends_no_request(
    deferred: Callable[..., Deferred],
) -> None:
    task, operator, _ = deferred()
    task["task_state_store"].clear()
    with (
        requests_mock.Mocker() as web,
        pytest.raises(
            AirflowException, match="LedgerUnreadable: The task was resumed, and its ledger has no job"
        ),
    ):
        operator.execute_complete(task, event=event())
    assert web.request_history == []


def test_job_not_found_with_another_api_key_is_reported_as_a_changed_account(
    deferred: Callable[..., Deferred], vidgen: Callable[..., None]
) -> None:
    deferral = deferred("apixgo")
    vidgen("apixgo", password="k3y-of-another-account")
    missing = unknown("apixgo")
    with pytest.raises(AirflowFailException, match=r"AccountChanged.*apixgo job task_1"):
        resume(deferral, missing, event=event("job_lost"), vendor="apixgo")
    assert record_of(deferral[0])["phase"] == "submitted"


def test_a_changed_base_url_is_reported_and_the_job_stays_attached(
    deferred: Callable[..., Deferred], vidgen: Callable[..., None]
) -> None:
    deferral = deferred("apixgo")
    vidgen("apixgo", host="https://staging.example.com")
    with pytest.raises(AirflowException, match=r"https://staging.*https://img") as failure:
        resume(
            deferral, {"status_code": 404, "text": "<html>"}, event=event("trigger_error"), vendor="apixgo"
        )
    assert not isinstance(failure.value, AirflowFailException)
    assert record_of(deferral[0])["phase"] == "submitted"


def test_a_job_without_a_link_is_lost_only_after_its_links_have_expired(
    deferred: Callable[..., Deferred], clock: Clock
) -> None:
    deferral = deferred("apixgo", timeout=90_000)
    no_link = status_body("apixgo", "SUCCESS", result_url="")
    for seconds, message, phase in ((0, "ResultMissing", "submitted"), (3500, "ResultMissing", "submitted")):
        clock.sleep(seconds)
        with pytest.raises(AirflowFailException, match=message):
            resume(deferral, no_link, event=event("result_missing"), vendor="apixgo")
        assert record_of(deferral[0])["phase"] == phase
    clock.sleep(200)
    with pytest.raises(AirflowFailException, match="ResultExpired") as failure:
        resume(deferral, no_link, event=event("result_missing"), vendor="apixgo")
    assert "apixgo job task_1" in str(failure.value)
    assert "The vendor gives no link, and the job's links expired at" in str(failure.value)
    assert record_of(deferral[0])["phase"] == "lost"


def test_the_resumed_worker_lands_the_file(deferred: Callable[..., Deferred], tmp_path: Path) -> None:
    result = resume(deferred(output_path=f"file://{tmp_path}/"), finished("apixo"), event=event())
    assert (tmp_path / "task_1-0.mp4").read_bytes() == MP4
    assert result["files"][0]["bytes"] == len(MP4)


def test_the_record_of_a_later_job_is_not_changed(deferred: Callable[..., Deferred]) -> None:
    task, operator, kwargs = deferred()
    record = record_of(task)
    task["task_state_store"].set(entry_key(3), {**record, "task_id": "task_2"})
    resume((task, operator, kwargs), finished("apixo"), event=event())
    assert record_of(task)["phase"] == "submitted"


@pytest.mark.parametrize("prompt", [PROMPT, PROMPT + " of " + "waves " * 200])
def test_prompt_api_key_and_link_are_in_no_error_and_no_log(
    prompt: str, deferred: Callable[..., Deferred], logged: Callable[[], str]
) -> None:
    deferral = deferred(prompt=prompt)
    vendor_message = f"cannot make '{prompt}' for {KEY}, see {LINK}"
    with pytest.raises(AirflowException) as failure:
        resume(deferral, failed("apixo", vendor_message, "GENERATION_FAILED"), event=event())
    unavailable_reply = {"status_code": 503, "json": {"code": 503, "message": vendor_message}}
    with pytest.raises(TaskDeferred) as again:
        resume(deferral, unavailable_reply, event=event())
    with pytest.raises(AirflowException) as unavailable:
        resume(deferral, unavailable_reply, event=event("vendor_unavailable"))
    cause = failure.value.__context__
    texts = [str(failure.value), str(cause), repr(cause), str(unavailable.value), repr(again.value.trigger)]
    texts += [json.dumps(again.value.trigger.serialize()), logged(), str(deferral[0]["task_state_store"])]
    for text in texts:
        for secret in (prompt, PROMPT, KEY, LINK, "s3cret-signature"):
            assert secret not in text
    assert "cannot make '" in str(failure.value)


def test_the_result_and_the_sidecar_have_the_documented_price_of_a_vendor_that_reports_no_cost(
    deferred: Callable[..., Deferred], tmp_path: Path
) -> None:
    deferral = deferred("apimodels", output_path=f"file://{tmp_path}/")
    result = resume(deferral, finished("apimodels"), event=event(), vendor="apimodels")
    assert result["cost"] == {"amount": 0.08, "currency": "USD", "basis": "estimated", "as_of": "2026-11-20"}
    (sidecar,) = tmp_path.glob("*.json")
    assert json.loads(sidecar.read_text())["cost"] == result["cost"]


def test_the_result_has_the_cost_that_the_vendor_reports(deferred: Callable[..., Deferred]) -> None:
    reply = finished("apimart")
    reply["data"]["cost"] = "0.042"
    result = resume(deferred("apimart"), reply, event=event(), vendor="apimart")
    assert result["cost"] == {"amount": 0.042, "currency": "USD", "basis": "reported"}
