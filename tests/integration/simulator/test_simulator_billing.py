# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The billing ledger, the request log, and APIMart's idempotency keys."""

from __future__ import annotations

import pytest
import requests
from simulator_calls import (
    AUTH_HEADER,
    CREATE_PATHS,
    TIMEOUT,
    create_job,
    get_status,
    post_create,
    request_body,
    result_link,
    vendor_state,
)

from airflow_provider_vidgen.simulator import Simulator, request_hash


def bill_states(sim: Simulator) -> list[str]:
    return [entry.state for entry in sim.ledger().entries]


def test_a_job_is_reserved_at_acceptance_and_settled_at_success(sim: Simulator) -> None:
    create_job(sim, "apimodels")
    entry = sim.ledger().entries[0]
    assert (entry.vendor, entry.state, entry.amount, entry.currency) == ("apimodels", "reserved", 0.08, "USD")
    # Without a status check: a vendor bills an ended job anyway.
    sim.advance(20)
    settled = sim.ledger().entries[0]
    assert (settled.state, settled.updated_at) == ("settled", entry.updated_at + 20)


def test_a_failed_or_cancelled_job_is_refunded_and_a_stuck_one_stays_reserved(sim: Simulator) -> None:
    for directive in ("[sim:fail=X]", "[sim:cancel]", "[sim:stuck]"):
        create_job(sim, "apimart", request_body("apimart", directive))
    sim.advance(10_000)
    assert bill_states(sim) == ["refunded", "refunded", "reserved"]


def test_the_ledger_counts_how_often_each_request_was_accepted(sim: Simulator) -> None:
    body = b'{"model": "grok-image-video", "prompt": "a cat"}'
    for _ in range(2):
        requests.post(
            sim.base_url("apixgo") + CREATE_PATHS["apixgo"], data=body, headers=AUTH_HEADER, timeout=TIMEOUT
        )
    hashed = request_hash("/apixgo" + CREATE_PATHS["apixgo"], body)
    assert sim.ledger().accepted_by_hash == {hashed: 2}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_no_api_key_is_stored(sim: Simulator, name: str) -> None:
    post_create(sim, "apixo", headers={name: "Bearer sim-very-secret"})
    for path in ("ledger", "requests", "jobs"):
        assert "very-secret" not in requests.get(f"{sim.url}/__sim/{path}", timeout=TIMEOUT).text
    assert len(sim.ledger().entries[0].key_fingerprint) == 12


def test_the_request_log_has_each_request_and_its_status(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo")
    get_status(sim, "apixo", task_id, headers={})
    first, second = sim.requests()
    assert (first.seq, first.vendor, first.host, first.method) == (1, "apixo", "api", "POST")
    assert first.path == "/apixo/api/v1/generateTask/grok-video"
    assert (first.authorization, first.status) == ("good", 200)
    assert (second.authorization, second.status) == ("none", 401)
    assert second.query == {"taskId": task_id}


def test_a_request_to_an_unknown_path_is_logged(sim: Simulator) -> None:
    requests.get(sim.base_url("apimart") + "/v2/else", timeout=TIMEOUT)
    assert (sim.requests()[0].path, sim.requests()[0].status) == ("/apimart/v2/else", 404)


def test_apimart_replays_a_repeated_idempotency_key_without_a_second_bill(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    first = post_create(sim, "apimart", headers=headers)
    again = post_create(sim, "apimart", headers=headers)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_apimart_rejects_an_idempotency_key_used_for_a_different_request(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    post_create(sim, "apimart", headers=headers)
    assert post_create(sim, "apimart", request_body("apimart", "a dog"), headers=headers).status_code == 409
    assert len(sim.ledger().entries) == 1


def test_idempotency_keys_are_per_api_key_and_validated(sim: Simulator) -> None:
    post_create(sim, "apimart", headers={**AUTH_HEADER, "Idempotency-Key": "one"})
    other = {"Authorization": "Bearer sim-other", "Idempotency-Key": "one"}
    assert "Idempotency-Replayed" not in post_create(sim, "apimart", headers=other).headers
    assert post_create(sim, "apimart", headers={**AUTH_HEADER, "Idempotency-Key": "a b"}).status_code == 400


def test_a_rejected_request_does_not_use_up_its_idempotency_key(sim: Simulator) -> None:
    headers = {**AUTH_HEADER, "Idempotency-Key": "one"}
    assert post_create(sim, "apimart", {}, headers=headers).status_code == 400
    assert post_create(sim, "apimart", headers=headers).status_code == 200


def test_other_vendors_bill_a_repeated_idempotency_key_twice(sim: Simulator) -> None:
    for _ in range(2):
        post_create(sim, "apixgo", headers={**AUTH_HEADER, "Idempotency-Key": "one"})
    assert len(sim.ledger().entries) == 2


def test_reset_clears_everything_but_the_clock(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart")
    sim.options(apimart_create_format="list")
    sim.fault("reset", route="create", times=None)
    before = sim.now()
    sim.reset()
    assert (sim.jobs(), sim.ledger().entries, sim.requests()) == ([], [], [])
    assert get_status(sim, "apimart", task_id).status_code == 404
    assert isinstance(post_create(sim, "apimart").json()["data"], dict)
    assert sim.now() == before


def test_a_running_job_can_be_scripted(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo")
    sim.advance(10)
    view = sim.script_job(task_id, outcome="failed", fail_code="NSFW_DETECTED", job_seconds=10)
    assert view.state == "failed"
    assert vendor_state(sim, "apixo", task_id) == "failed"
    assert bill_states(sim) == ["refunded"]


def test_a_stuck_job_can_be_failed_at_once(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart", request_body("apimart", "[sim:stuck]"))
    sim.advance(7.3)
    assert sim.end_job(task_id, "failed", fail_message="No capacity").state == "failed"
    assert get_status(sim, "apimart", task_id).json()["data"]["error"]["message"] == "No capacity"
    assert bill_states(sim) == ["refunded"]


def test_an_ended_job_cannot_be_ended_again_and_keeps_its_bill(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart")
    sim.advance(20)
    with pytest.raises(ValueError, match="has ended"):
        sim.end_job(task_id, "failed")
    assert bill_states(sim) == ["settled"]


def test_a_stuck_job_can_be_completed(sim: Simulator) -> None:
    task_id = create_job(sim, "apixo", request_body("apixo", "[sim:stuck]"))
    sim.advance(100)
    assert vendor_state(sim, "apixo", task_id) == "processing"
    sim.script_job(task_id, stuck=False)
    assert result_link(sim, "apixo", task_id)
    assert bill_states(sim) == ["settled"]
