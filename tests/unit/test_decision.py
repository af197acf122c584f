# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The table in decision.py: what a new try does about the ledger's record of earlier tries."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from airflow_provider_vidgen import decision as decision_module
from airflow_provider_vidgen.decision import Action, Decision, OnClear, OnUnknown, decide
from airflow_provider_vidgen.ledger import Phase, entry_key
from tests.support.ledgers import (
    HOUR,
    NOW,
    decide_in,
    decide_on,
    ledger_on,
    ledger_with,
    record,
    record_intent,
)
from tests.support.state_store import FakeStateStore

#: The table of the module's docstring; the tests below compare the docstring and the code with it.
TABLE = {
    "not_accepted": ("submit", "submit", "submit"),
    "submitting": ("report as unknown (*)", "report as unknown (*)", "submit, log the job left behind"),
    "submitted": ("re-attach", "re-attach", "submit, log the job left behind"),
    "unknown": ("report again (*)", "check, then submit (*)", "submit, log the job left behind"),
    "delivered": ("return the same video", "return it if available (**)", "submit"),
    "failed": ("submit", "check, then submit", "submit"),
    "lost": ("report again", "check, then submit", "submit, log the job left behind"),
    "discarded": ("submit", "submit", "submit"),
}
ACTIONS = {
    "submit": Action.SUBMIT,
    "submit, log the job left behind": Action.SUBMIT,
    "re-attach": Action.REATTACH,
    "check, then submit": Action.CHECK_THEN_SUBMIT,
    "return the same video": Action.RETURN,
    "return it if available": Action.RETURN_OR_SUBMIT,
    "report as unknown": Action.REPORT,
    "report again": Action.REPORT,
}


# --- the table ------------------------------------------------------------------------------------------


def test_the_docstring_has_exactly_this_table() -> None:
    assert decision_module.__doc__ is not None
    documented = {}
    for line in decision_module.__doc__.splitlines():
        name, *cells = [cell for cell in line.split("  ") if cell.strip()] or [""]
        if name.strip() in TABLE:
            documented[name.strip()] = tuple(cell.strip() for cell in cells)
    assert documented == TABLE
    assert set(TABLE) == {str(phase) for phase in Phase}


@pytest.mark.parametrize(
    ("phase", "try_kind", "key_is_valid", "on_unknown", "on_clear", "has_job_id"),
    [
        *itertools.product(
            Phase,
            ("retry", "clear", "changed", "clear, changed"),
            (False, True),
            ("fail", "resubmit"),
            ("reuse", "regenerate"),
            (False, True),
        )
    ],
)
def test_every_case_is_decided_as_in_the_table(
    phase: Phase,
    try_kind: str,
    key_is_valid: bool,
    on_unknown: OnUnknown,
    on_clear: OnClear,
    has_job_id: bool,
) -> None:
    retry, clear, changed = TABLE[phase]
    cell = changed if "changed" in try_kind else clear if try_kind == "clear" else retry
    expected = ACTIONS[cell.removesuffix(" (**)").removesuffix(" (*)")]
    if expected is Action.CHECK_THEN_SUBMIT and not has_job_id:
        expected = Action.SUBMIT  # without a job id there is nothing to check
    if cell.endswith("(*)"):
        if expected is Action.REPORT and on_unknown == "resubmit":
            expected = Action.CHECK_THEN_SUBMIT if has_job_id else Action.SUBMIT
        expected = Action.RESEND if key_is_valid else expected
    if cell.endswith("(**)") and on_clear == "regenerate":
        expected = Action.SUBMIT

    earlier = record(phase, task_id="task_1" if has_job_id else "")
    decision = decide(
        earlier,
        "other" if "changed" in try_kind else "fingerprint",
        cleared="clear" in try_kind,
        key_is_valid=key_is_valid,
        on_unknown=on_unknown,
        on_clear=on_clear,
    )

    assert decision.action is expected
    assert decision.record is earlier
    assert ("left behind" in decision.reason) == cell.endswith("left behind")
    # Every action but REPORT is logged with its reason; REPORT raises an error instead.
    assert bool(decision.reason) == (phase is not Phase.NOT_ACCEPTED and expected is not Action.REPORT)


def test_a_first_try_submits_without_a_reason() -> None:
    assert decide_on(None) == Decision(action=Action.SUBMIT)


@pytest.mark.parametrize(
    ("phase", "job_left_behind"),
    [
        (Phase.SUBMITTED, "the job task_1"),
        (Phase.LOST, "the job task_1"),
        (Phase.SUBMITTING, "a job of unknown id"),
    ],
)
def test_a_changed_request_names_the_job_it_leaves_behind(phase: Phase, job_left_behind: str) -> None:
    decision = decide_in(ledger_with(record(phase)), "other")
    assert decision.action is Action.SUBMIT
    assert decision.reason == (
        "The request has changed since the last try, so a new job is submitted; "
        f"{job_left_behind} at apimart is left behind and may be billed"
    )


def test_the_reason_about_an_unknown_submission_states_the_risk_of_a_second_bill() -> None:
    unknown = "The outcome of an earlier submission is unknown; "
    earlier = record(Phase.UNKNOWN)
    assert decide_on(earlier, key_window=HOUR).reason == (
        unknown + "the same request is sent again with the same idempotency key"
    )
    assert decide_in(ledger_with(earlier), on_unknown="resubmit").reason == (
        unknown + "a new job is submitted, as on_unknown_submit='resubmit' asks, and both may be billed"
    )


# --- idempotency keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "window", "action"),
    [
        (timedelta(0), HOUR, Action.RESEND),
        (timedelta(minutes=59), HOUR, Action.RESEND),
        (HOUR, HOUR, Action.REPORT),
        (timedelta(days=3), HOUR, Action.REPORT),
        (timedelta(0), None, Action.REPORT),
        (timedelta(minutes=-5), HOUR, Action.RESEND),
        (timedelta(minutes=-5, seconds=-1), HOUR, Action.REPORT),
    ],
)
@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.UNKNOWN])
def test_an_idempotency_key_is_valid_only_within_the_vendors_window(
    phase: Phase, age: timedelta, window: timedelta | None, action: Action
) -> None:
    assert decide_on(record(phase), now=NOW + age, key_window=window).action is action


def test_a_submission_without_an_idempotency_key_is_never_resent() -> None:
    ledger = ledger_with()
    record_intent(ledger, supports_keys=False)
    assert decide_in(ledger, key_window=HOUR).action is Action.REPORT


@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.UNKNOWN])
def test_an_idempotency_key_is_invalid_with_another_api_key(phase: Phase) -> None:
    assert decide_on(record(phase), key_window=HOUR).action is Action.RESEND
    assert (
        decide_on(record(phase), key_window=HOUR, api_key_hash="hash-of-another-key").action is Action.REPORT
    )
    assert decide_on(record(phase, api_key_hash=""), key_window=HOUR).action is Action.REPORT


# --- a clear --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "retry", "clear"),
    [
        (Phase.UNKNOWN, Action.REPORT, Action.SUBMIT),
        (Phase.DELIVERED, Action.RETURN, Action.RETURN_OR_SUBMIT),
        (Phase.LOST, Action.REPORT, Action.CHECK_THEN_SUBMIT),
        (Phase.FAILED, Action.SUBMIT, Action.CHECK_THEN_SUBMIT),
    ],
)
@pytest.mark.parametrize("max_tries", [1, 3])
def test_a_clear_is_recognised_by_a_changed_max_tries(
    phase: Phase, retry: Action, clear: Action, max_tries: int
) -> None:
    assert decide_on(record(phase), max_tries=2).action is retry
    assert decide_on(record(phase), max_tries=max_tries).action is clear


def test_a_clear_of_a_running_task_is_consumed_when_its_job_is_delivered() -> None:
    store = FakeStateStore()
    store.set(entry_key(1), record(Phase.SUBMITTED, max_tries=2).to_json())
    cleared = ledger_on(store, max_tries=3)
    decision = decide_in(cleared)
    assert decision.action is Action.REATTACH
    assert decision.record is not None
    cleared.transition(decision.record, Phase.DELIVERED)
    assert decide_in(ledger_on(store, max_tries=3)).action is Action.RETURN
    assert decide_in(ledger_on(store, max_tries=4)).action is Action.RETURN_OR_SUBMIT


def test_a_clear_after_a_killed_submission_reports_it_and_the_next_clear_submits() -> None:
    store = FakeStateStore()
    store.set(entry_key(1), record(Phase.SUBMITTING, max_tries=2).to_json())
    for max_tries, action in ((3, Action.REPORT), (3, Action.REPORT), (4, Action.SUBMIT)):
        ledger = ledger_on(store, max_tries=max_tries)
        decision = decide_in(ledger)
        assert decision.action is action
        if action is Action.REPORT and decision.record is not None:
            ledger.transition(decision.record, Phase.UNKNOWN)
