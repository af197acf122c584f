# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Records and their entries in the task state store; nothing is submitted if the store cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_vidgen.decision import Action, Decision
from airflow_provider_vidgen.errors import LedgerUnreadable
from airflow_provider_vidgen.ledger import Phase, Record, entry_key
from airflow_provider_vidgen.submission import fingerprint
from tests.support.ledgers import (
    HOUR,
    NOW,
    UnreachableStore,
    decide_in,
    decide_on,
    ledger_on,
    ledger_with,
    record,
    record_intent,
)
from tests.support.state_store import FakeStateStore

# --- writing --------------------------------------------------------------------------------------------


def test_the_record_is_small_and_contains_neither_prompt_nor_api_key() -> None:
    store = FakeStateStore()
    secret = fingerprint({"prompt": "A SECRET PLACE"}, path="/v1", conn_id="c")
    record_intent(ledger_on(store), fingerprint=secret)
    assert len(store[entry_key(1)]) < 1000
    assert "SECRET" not in store[entry_key(1)]
    assert store.get(entry_key(1))["v"] == 1
    assert store.get(entry_key(1))["phase"] == "submitting"
    assert store.get(entry_key(1))["submitted_at"] == "2026-11-20T03:00:00+00:00"


@pytest.mark.parametrize("phase", Phase)
def test_a_record_is_read_back_as_it_was_written(phase: Phase) -> None:
    written = record(
        phase,
        result_urls=("https://cdn.example.com/a.mp4",),
        expires_at=(NOW + HOUR).isoformat(),
        files=({"path": "s3://b/a.mp4", "bytes": 7, "sha256": "0f"},),
    )
    assert ledger_with(written).read() == written


def test_nothing_is_submitted_when_the_intent_cannot_be_written() -> None:
    with pytest.raises(LedgerUnreadable, match=r"intent to submit cannot be recorded \(ConnectionError\)"):
        record_intent(ledger_on(UnreachableStore()))


@given(writes=st.lists(st.sampled_from(list(Phase)), min_size=1, max_size=70))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_newest_entry_counts_and_is_found_with_few_reads(writes: list[Phase]) -> None:
    reads = []

    class CountingStore(FakeStateStore):
        def get(self, key: str, default: Any = None) -> Any:
            reads.append(key)
            return super().get(key, default)

    store = CountingStore()
    for phase in writes:
        ledger = ledger_on(store)
        ledger.transition(record(phase, task_id="task_1"), phase)
        reads.clear()
        newest = ledger_on(store).read()
        assert newest is not None
        assert newest.phase is phase
        assert len(reads) <= 2 * len(store).bit_length() + 1
    assert len(store) == len(writes)


def test_a_write_that_the_server_executes_late_changes_nothing() -> None:
    """Airflow's client abandons a write and repeats it; the first one may be executed after others."""
    store = FakeStateStore()
    ledger = ledger_on(store)
    intent = record_intent(ledger)
    late = dict(store)
    submitted = ledger.transition(intent, Phase.SUBMITTED, task_id="task_1")
    store.update(late)
    assert ledger_on(store).read() == submitted
    assert decide_in(ledger_on(store)).action is Action.REATTACH


def test_a_failed_write_is_repeated_under_the_same_number() -> None:
    store = FakeStateStore()
    ledger = ledger_on(store)
    intent = record_intent(ledger)
    failures = [True]

    def write(key: str, value: Any) -> None:
        if failures.pop() if failures else False:
            raise ConnectionError("the API server is unreachable")
        FakeStateStore.set(store, key, value)

    store.set = write  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        ledger.transition(intent, Phase.SUBMITTED, task_id="task_1")
    ledger.transition(intent, Phase.SUBMITTED, task_id="task_1")
    assert sorted(store) == [entry_key(1), entry_key(2)]


def test_a_resend_keeps_the_first_send_time_of_the_idempotency_key() -> None:
    first = record(Phase.UNKNOWN)
    ledger = ledger_with(first, now=NOW + HOUR / 2)
    again = record_intent(ledger, resent=first)
    assert (again.idempotency_key, again.idempotency_key_sent_at) == (
        first.idempotency_key,
        first.idempotency_key_sent_at,
    )
    assert again.submitted_at == (NOW + HOUR / 2).isoformat()


def test_a_resend_is_recorded_with_the_current_api_key() -> None:
    ledger = ledger_with(record(Phase.UNKNOWN))
    resent = record_intent(ledger, resent=record(Phase.UNKNOWN), api_key_hash="current")
    assert resent.api_key_hash == "current"


def test_a_transition_keeps_all_other_fields() -> None:
    ledger = ledger_with(record())
    newest = ledger.read()
    assert newest is not None
    assert ledger.transition(newest, Phase.LOST) == record(Phase.LOST)


# --- reading --------------------------------------------------------------------------------------------


def test_an_unreachable_store_is_not_treated_as_empty() -> None:
    with pytest.raises(LedgerUnreadable, match=r"cannot be read \(ConnectionError\)"):
        decide_in(ledger_on(UnreachableStore()), on_unknown="resubmit", key_window=HOUR)


VALID = record().to_json()


@pytest.mark.parametrize(
    "value",
    [
        {**VALID, "v": 2},
        {**VALID, "v": "1"},
        {**VALID, "v": True},
        {name: field for name, field in VALID.items() if name != "v"},
        {name: field for name, field in VALID.items() if name != "fingerprint"},
        {name: field for name, field in VALID.items() if name != "phase"},
        {**VALID, "phase": "paid"},
        {**VALID, "phase": None},
        {**VALID, "phase": ["not_accepted"]},
        {**VALID, "max_tries": "2"},
        {**VALID, "max_tries": True},
        {**VALID, "task_id": 7},
        {**VALID, "task_id": ""},
        {**VALID, "submitted_at": "yesterday"},
        {**VALID, "submitted_at": "2026-11-20T03:00:00"},
        {**VALID, "submitted_at": "9999-12-31T23:59:59+00:00"},
        {**VALID, "idempotency_key_sent_at": None},
        {**VALID, "result_urls": "https://cdn.example.com/a.mp4"},
        {**VALID, "result_urls": [1]},
        {**VALID, "expires_at": "tomorrow"},
        {**VALID, "expires_at": None},
        {**VALID, "api_key_hash": 7},
        {**VALID, "files": {"path": "a", "sha256": "b"}},
        {**VALID, "files": None},
        {**VALID, "files": {}},
        {**VALID, "files": ["a.mp4"]},
        {**VALID, "files": [{"path": "a.mp4"}]},
        "not_accepted",
        ["v", 1],
        0,
        False,
        {},
    ],
)
def test_an_unparsable_record_fails_the_try(value: Any) -> None:
    with pytest.raises(
        LedgerUnreadable, match=r"'vidgen_submission_1' .*; look for a job in the vendor's console before"
    ):
        decide_in(ledger_with(value), on_unknown="resubmit", key_window=HOUR)


def test_an_unknown_field_is_ignored() -> None:
    assert decide_on({**VALID, "colour": "blue"}).action is Action.REATTACH


@pytest.mark.parametrize("field", ["api_key_hash", "expires_at", "result_urls", "files"])
def test_a_record_without_an_optional_field_is_read(field: str) -> None:
    earlier = {name: value for name, value in VALID.items() if name != field}
    assert decide_on(earlier).action is Action.REATTACH


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
_almost_records = st.fixed_dictionaries(
    {},
    optional={
        name: st.just(value)
        | (st.sampled_from([str(phase) for phase in Phase]) if name == "phase" else _json)
        for name, value in VALID.items()
    },
)


@given(value=_json | _almost_records, max_tries=st.integers(), has_keys=st.booleans(), changed=st.booleans())
@example(value={**VALID, "max_tries": 10**400}, max_tries=2, has_keys=True, changed=False)
@example(value={**VALID, "model": "m" * 5_000_000}, max_tries=2, has_keys=True, changed=False)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_json_in_the_store_gives_a_decision_or_is_unreadable(
    value: Any, max_tries: int, has_keys: bool, changed: bool
) -> None:
    ledger = ledger_with(value, max_tries=max_tries)
    try:
        decision = decide_in(
            ledger, "other" if changed else "fingerprint", key_window=HOUR if has_keys else None
        )
    except LedgerUnreadable:
        return
    if value is None:
        assert decision == Decision(action=Action.SUBMIT)
    else:
        # Only a valid record leads to a decision.
        assert decision.record == Record.from_json(value)
